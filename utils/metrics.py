r"""Figures that judge candidate spectra against the true one.

Notation: galaxy g has P candidates :math:`x_p` and the truth :math:`y`, both linear flux divided by
the normalisation, on the same pixels. All figures are means over pixels, then over galaxies.

* MSE of a point estimate, and its ratio to the constant predictor (the training mean).
* CRPS of the candidates as an empirical distribution (Gneiting & Raftery 2007, eq. 21, in the fair
  form of Ferro 2014): :math:`\frac1P\sum|x_p-y| - \frac1{2P(P-1)}\sum_{p,q}|x_p-x_q|`.
* Coverage: how often the truth falls between the k-th and the (P+1-k)-th order statistic; a
  calibrated ensemble has (P+1-2k)/(P+1), k = 1 + the members left out at either end.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


def mean_squared_error(estimate: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Mean over pixels of the squared error, per galaxy.

    Args:
        estimate, truth: (N, n) flux.

    Returns:
        (N,) float64.
    """
    return np.mean((estimate - truth).astype(np.float64) ** 2, axis=-1)


def crps(candidates: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Fair continuous ranked probability score, mean over pixels, per galaxy.

    Args:
        candidates: (N, P, n) flux, P >= 2.
        truth: (N, n) flux.

    Returns:
        (N,) float64, in the units of the flux.
    """
    count = candidates.shape[1]
    ordered = np.sort(candidates, axis=1)
    skill = np.mean(np.abs(ordered - truth[:, None]), axis=1)
    # sum over pairs |x_p - x_q| = 2 sum_p (2p - P - 1) x_(p), p = 1 … P
    weights = (2 * np.arange(1, count + 1) - count - 1) / (count * (count - 1))
    spread = np.einsum("p,gpn->gn", weights.astype(ordered.dtype), ordered)
    return np.mean((skill - spread).astype(np.float64), axis=-1)


def nominal_coverage(count: int, discard: int) -> float:
    """Coverage of a calibrated ensemble's interval that leaves out `discard` of `count` members
    at either end: 11/17 = 0.647 for 16 candidates without the lowest two and the highest two."""
    return (count - 1 - 2 * discard) / (count + 1)


def one_sigma_discard(count: int) -> int:
    """Members to leave out at either end for the interval whose nominal coverage is nearest to
    the 68 % of one standard deviation."""
    return min(range((count + 1) // 2), key=lambda k: abs(nominal_coverage(count, k) - 0.683))


def coverage(candidates: np.ndarray, truth: np.ndarray, discard: int) -> np.ndarray:
    """Share of pixels whose truth lies within the candidates' interval, per galaxy.

    Args:
        candidates: (N, P, n) flux.
        truth: (N, n) flux.
        discard: Candidates left out at either end, 0 <= discard < P / 2.

    Returns:
        (N,) float64.
    """
    count = candidates.shape[1]
    ordered = np.sort(candidates, axis=1)
    inside = (truth >= ordered[:, discard]) & (truth <= ordered[:, count - 1 - discard])
    return inside.mean(axis=-1)


@dataclass(frozen=True)
class Estimates:
    """Point estimates and figures of one set of candidates, per galaxy.

    Args:
        mse_mean: MSE of the mean of all candidates.
        mse_best: MSE of the candidate that the ranking puts first.
        mse_oracle: MSE of the candidate that is nearest to the truth (a bound, not a method).
        mse_median: MSE of the per-pixel median.
        crps: Continuous ranked probability score.
        coverage: Coverage of the interval without the lowest and highest `discard`.
    """

    mse_mean: np.ndarray
    mse_best: np.ndarray
    mse_oracle: np.ndarray
    mse_median: np.ndarray
    crps: np.ndarray
    coverage: np.ndarray


def judge(candidates: np.ndarray, truth: np.ndarray, best: np.ndarray, discard: int) -> Estimates:
    """All figures of candidates.

    Args:
        candidates: (N, P, n) flux.
        truth: (N, n) flux.
        best: (N,) number of the candidate that the ranking puts first.
        discard: As in `coverage`.
    """
    each = np.stack(
        [mean_squared_error(candidates[:, p], truth) for p in range(candidates.shape[1])]
    )
    return Estimates(
        mse_mean=mean_squared_error(candidates.mean(axis=1), truth),
        mse_best=each[best, np.arange(len(truth))],
        mse_oracle=each.min(axis=0),
        mse_median=mean_squared_error(np.median(candidates, axis=1), truth),
        crps=crps(candidates, truth),
        coverage=coverage(candidates, truth, discard),
    )
