"""Spectra on one rest-frame grid, so that spectra at a given redshift compare pixel by pixel.

A spectrum of redshift z is interpolated linearly at λ (1 + z) for every rest wavelength λ of the
grid, and divided by its median over `WINDOW_ANGSTROM` in the observed frame of the galaxy that it
is compared with, as survey spectra are. The spectrum of a training galaxy is so shifted from its
redshift to that of another galaxy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from datasets.spectra import Preparation

WINDOW_ANGSTROM = Preparation().window_angstrom  # of the normalisation
STEP_ANGSTROM = 1.0


@dataclass(frozen=True)
class RestFrame:
    """A rest-frame grid inside the coverage of all spectra at all their redshifts.

    Args:
        observed_angstrom: (n,) rising wavelengths of the spectra.
        angstrom: (m,) of the grid.
    """

    observed_angstrom: np.ndarray
    angstrom: np.ndarray

    @classmethod
    def covering(cls, observed_angstrom: np.ndarray, redshift: np.ndarray) -> RestFrame:
        """The grid that spectra of all of the redshifts (any shape) cover."""
        start = np.ceil(observed_angstrom[0] / (1 + np.min(redshift)))
        stop = np.floor(observed_angstrom[-1] / (1 + np.max(redshift)))
        return cls(observed_angstrom, np.arange(start, stop + 1, STEP_ANGSTROM))

    def shift(self, flux: np.ndarray, redshift: np.ndarray, target: Sequence[float]) -> np.ndarray:
        """Spectra at rest, normalised.

        Args:
            flux: (b, …, n) observed-frame spectra.
            redshift: (b, …) at which each of them is.
            target: (b,) redshifts of the galaxies that they are compared with.

        Returns:
            (b, …, m) float32.
        """
        rows = zip(flux.reshape(-1, flux.shape[-1]), redshift.ravel(), strict=True)
        rest = np.stack(
            [np.interp(self.angstrom * (1 + z), self.observed_angstrom, row) for row, z in rows]
        )
        rest = rest.reshape(*redshift.shape, len(self.angstrom))
        for galaxy, z in zip(rest, target, strict=True):  # views: divided in place
            observed = self.angstrom * (1 + z)
            inside = (observed >= WINDOW_ANGSTROM[0]) & (observed < WINDOW_ANGSTROM[1])
            level = np.median(galaxy[..., inside], axis=-1, keepdims=True)
            galaxy /= np.where(level > 0, level, 1.0)
        return rest.astype(np.float32)

    def unshift(self, rest: np.ndarray, redshift: float) -> np.ndarray:
        """A rest-frame spectrum (m,) at a redshift, (n,); the ends continue where it ends."""
        wavelength = self.observed_angstrom / (1 + redshift)
        return np.interp(wavelength, self.angstrom, rest).astype(np.float32)
