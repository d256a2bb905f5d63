"""Scores of the climatology: of the training spectra as candidates for every galaxy.

R fixed spectra stand for the distribution of all, so that the unit of score ratios has no sampling
error: CRPS and energy score of `metrics`, whose second terms do not depend on the truth and are
computed once.
"""

from __future__ import annotations

import numpy as np

from utils.evaluation.metrics import coarse, pairwise_difference, pairwise_distance

SPECTRA = 1024  # R, or all training spectra, if they are fewer


class Climatology:
    """The reference spectra and what their scores have in common.

    Args:
        flux: (R, n) training spectra.
        wavelength_angstrom: (n,).
    """

    def __init__(self, flux: np.ndarray, wavelength_angstrom: np.ndarray):
        self.flux, self.wavelength = flux, wavelength_angstrom
        self.coarse = coarse(wavelength_angstrom, flux)
        self.spread = pairwise_difference(flux[None])[0]  # (n,)
        self.distances = [pairwise_distance(x[None])[0] for x in (flux, self.coarse)]

    def scores(self, truth: np.ndarray) -> dict[str, np.ndarray]:
        """`crps`, `energy` and `energy_100` (N,) for true spectra (N, n)."""
        broad = coarse(self.wavelength, truth)
        found = [self._scores(row, low) for row, low in zip(truth, broad, strict=True)]
        names = ("crps", "energy", "energy_100")
        return dict(zip(names, np.array(found).T, strict=True))

    def _scores(self, truth: np.ndarray, low: np.ndarray) -> tuple[float, float, float]:
        error = np.abs(self.flux - truth)
        crps = np.mean(error.mean(axis=0, dtype=np.float64) - self.spread)
        fine = np.sqrt(np.einsum("rn,rn->r", error, error) / error.shape[1]).mean()
        broad = np.sqrt(((self.coarse - low) ** 2).mean(axis=1)).mean()
        return crps, fine - self.distances[0], broad - self.distances[1]
