r"""p(z | image) as a histogram, from draws of the parameter diffusion.

The density is a Gaussian kernel density of the draws with Silverman's bandwidth,

.. math:: h = 0.9 \min(\sigma, \mathrm{IQR}/1.34)\, P^{-1/5}

(Silverman 1986, eq. 3.31), integrated over bins of equal width between the lowest and the highest
redshift of the training galaxies.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

DRAWS = 64  # of a galaxy, at least; the first ones are its candidates'
BINS = 100
SMALLEST_BANDWIDTH = 1e-3  # draws that agree better are not believed


def silverman_bandwidth(draws: np.ndarray) -> np.ndarray:
    """h (N,) of draws (N, P), at least `SMALLEST_BANDWIDTH`."""
    quartiles = np.percentile(draws, (25, 75), axis=1)
    width = np.minimum(draws.std(axis=1, ddof=1), np.diff(quartiles, axis=0)[0] / 1.34)
    return np.maximum(0.9 * width * draws.shape[1] ** -0.2, SMALLEST_BANDWIDTH)


def redshift_pdf(draws: np.ndarray, lowest: float, highest: float) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (N, BINS), of unit sum, and edges (BINS + 1,), from draws (N, P)."""
    edges = np.linspace(lowest, highest, BINS + 1)
    width = silverman_bandwidth(draws)[:, None]
    cumulative = np.stack([ndtr((edge - draws) / width).mean(axis=1) for edge in edges], axis=1)
    probability = np.diff(cumulative, axis=1)
    probability /= probability.sum(axis=1, keepdims=True)
    return probability.astype(np.float32), edges.astype(np.float32)
