"""The generator and the baselines as one kind of object: candidate spectra for the same galaxies.

The names are those in tables, figures and files.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

GENERATED = "generated"
REGRESSION = "regression + residuals"
CONSTANT = "constant"
CLIMATOLOGY = "climatology"
PHOTOMETRY = "neighbours in photometry"
SHIFTED = "neighbours in photometry and redshift"
TEMPLATES = "template fit"
EMBEDDING = "neighbours in embedding"
RETRIEVAL = "cross-modal retrieval"
TRUE_SPECTRA = "true spectra"  # not a method: the truth, measured with fitted redshifts

Spectra = Callable[[np.ndarray], np.ndarray]  # rows (b,) of a survey → spectra (b, n)


@dataclass(frozen=True)
class Method:
    """One way to get P candidate spectra for each of N images.

    Args:
        name: one of those above.
        read: reads the candidates (b, P, n) of a slice of the galaxies, in the order in which they
            are measured.
        ranked: whether the candidates have an order.
        spread: whether the candidates of a galaxy differ.
        rows: (N, P) rows of the survey, where the candidates are training spectra.
        order: (N, P) positions of the candidates as read, best first; None if they are read in
            their order, or have none.
        version: identifies spectra that the method makes itself, for the cache of measurements.
        redshift: (N, P) of the candidates as read, where they have one: samples of the redshift,
            and the frame from which a candidate is shifted to the rest frame.
    """

    name: str
    read: Callable[[slice], np.ndarray]
    ranked: bool = False
    spread: bool = True
    rows: np.ndarray | None = None
    order: np.ndarray | None = None
    version: str = ""
    redshift: np.ndarray | None = None

    def candidates(self, part: slice) -> np.ndarray:
        """The candidates (b, P, n) of a slice of the galaxies, best first if ranked."""
        flux = self.read(part)
        if self.order is None:
            return flux
        return np.take_along_axis(flux, self.order[part, :, None], axis=1)

    def redshift_of(self, part: slice) -> np.ndarray:
        """The redshifts (b, P) of a slice of the galaxies, in the order of `candidates`."""
        if self.order is None:
            return self.redshift[part]
        return np.take_along_axis(self.redshift[part], self.order[part], axis=1)
