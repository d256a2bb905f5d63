"""What is asked of candidates: which spectra are compared, in which frame.

Two questions are kept apart, because the first hides the second: lines are narrower than the
redshift is certain, so that most of the error of a spectrum whose redshift is not given is that of
the place of its lines.

* `OBSERVED`: the spectrum as a survey would observe it, redshift unknown; observed frame.
* `REST`: the spectrum at the galaxy's catalogue redshift, in the rest frame.

The third, the redshift alone, is that of `redshift_scores`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from utils.evaluation.climatology import Climatology
from utils.evaluation.method import Method
from utils.evaluation.rest_frame import RestFrame

REDSHIFT, REST, OBSERVED = QUESTIONS = ("redshift", "rest", "observed")
WINDOWS_ANGSTROM = {  # in which calibration is also shown
    OBSERVED: ((4000.0, 5000.0), (5000.0, 6000.0), (6000.0, 7000.0), (7000.0, 8500.0)),
    REST: ((3800.0, 4500.0), (4500.0, 5500.0), (5500.0, 6500.0), (6500.0, 7500.0)),
}


@dataclass(frozen=True)
class Question:
    """Truth and candidates of N galaxies on the same n pixels.

    Args:
        name: `OBSERVED` or `REST`.
        wavelength_angstrom: (n,).
        count: number of galaxies N.
        truth: reads the true spectra (b, n) of a slice of the galaxies.
        candidates: reads a method's candidates (b, P, n) of a slice, best first if ranked.
        climatology: training spectra on the same pixels.
    """

    name: str
    wavelength_angstrom: np.ndarray
    count: int
    truth: Callable[[slice], np.ndarray]
    candidates: Callable[[Method, slice], np.ndarray]
    climatology: Climatology

    def windows(self) -> dict[str, np.ndarray]:
        """Masks (n,) by name, of the windows that have pixels."""
        masks = {
            f"{low:.0f}–{high:.0f} Å": (self.wavelength_angstrom >= low)
            & (self.wavelength_angstrom < high)
            for low, high in WINDOWS_ANGSTROM[self.name]
        }
        return {name: mask for name, mask in masks.items() if mask.any()}


def observed_question(
    wavelength_angstrom: np.ndarray,
    count: int,
    truth: Callable[[slice], np.ndarray],
    training: np.ndarray,
) -> Question:
    """Spectra as they are.

    Args:
        wavelength_angstrom: (n,).
        count: number of galaxies.
        truth: reads the true spectra (b, n) of a slice.
        training: (R, n) spectra of the climatology.
    """
    climatology = Climatology(training, wavelength_angstrom)
    read = Method.candidates
    return Question(OBSERVED, wavelength_angstrom, count, truth, read, climatology)


def rest_question(
    frame: RestFrame,
    redshift: np.ndarray,
    truth: Callable[[slice], np.ndarray],
    training: tuple[np.ndarray, np.ndarray],
) -> Question:
    """Spectra shifted to the rest frame, each from its own redshift.

    Args:
        frame: the rest-frame grid.
        redshift: (N,) of the galaxies.
        truth: reads the true spectra (b, n), observed frame.
        training: spectra (R, n) and redshifts (R,) of the climatology. Each is normalised as for
            the median redshift of the galaxies.
    """

    def true(part: slice) -> np.ndarray:
        return frame.shift(truth(part), redshift[part], redshift[part])

    def candidates(method: Method, part: slice) -> np.ndarray:
        return frame.shift(method.candidates(part), method.redshift_of(part), redshift[part])

    flux, own = training
    typical = np.array([np.median(redshift)])
    rest = frame.shift(flux[None], own[None], typical)[0]
    climatology = Climatology(rest, frame.angstrom)
    return Question(REST, frame.angstrom, len(redshift), true, candidates, climatology)
