"""Candidate spectra as arrays: what comes out of the networks."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Candidates:
    """Candidate spectra of B galaxies, best first.

    Args:
        flux: (B, P, n) float32, linear, divided by the normalisation.
        scores: (B, P) float32, cosine similarity to the image.
        numbers: (B, P) int64, the numbers by which the candidates were sampled, 0 to P - 1: with
            the seed and the galaxy's key they identify a candidate.
        redshift, snr: (B, P) float32 of each candidate; NaN for a network without a prior.
        wavelength_angstrom: (n,) float64, vacuum, observed frame.
        image_p_value: (B,) float32, how many training-like images are at least as unusual as the
            image (`models.novelty`); NaN for a network without that test.
        image_flag: (B,) bool, where that is so few that the image is unlike the training's.
        redshift_pdf: (B, bins) float32, probability of each bin given the image, or None.
        redshift_edges: (bins + 1,) float32, or None.
    """

    flux: np.ndarray
    scores: np.ndarray
    numbers: np.ndarray
    redshift: np.ndarray
    snr: np.ndarray
    wavelength_angstrom: np.ndarray
    image_p_value: np.ndarray
    image_flag: np.ndarray
    redshift_pdf: np.ndarray | None
    redshift_edges: np.ndarray | None

    def of_galaxy(self, number: int) -> Candidates:
        """Those of one galaxy alone, B = 1."""
        shared = ("wavelength_angstrom", "redshift_edges")
        own = {
            name: values[number : number + 1]
            for name, values in vars(self).items()
            if name not in shared and values is not None
        }
        return replace(self, **own)
