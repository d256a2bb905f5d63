r"""Calibration: whether the truth scatters about the mean of the candidates as they do.

If the truth y and its P candidates are exchangeable, the number r of candidates below y is uniform
on 0 … P, and the probability integral transform (PIT; Dawid 1984)

.. math:: u = (r + v) / (P + 1),\qquad v \sim U(0, 1)

is exactly uniform for any P. Instead of sampling v, we spread a galaxy's unit mass evenly over the
interval [r, r + 1] / (P + 1), or over a longer one if candidates equal the truth. The PIT histogram
follows from the distribution F of that mass, and so does the coverage of the central interval of
nominal coverage c,

.. math:: C(c) = F(\tfrac{1 + c}{2}) - F(\tfrac{1 - c}{2}) .

TARP (Lemos et al. 2023, ICML, arXiv 2302.03026) tests many dimensions at once: with a reference
point θ sampled independently of the truth, the number of candidates that are nearer to θ than the
truth is again uniform; its F is the "expected coverage probability".
"""

from __future__ import annotations

import numpy as np

LEVELS = (0.50, 0.68, 0.95)  # nominal coverage of central intervals


def pit_intervals(candidates: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The interval over which the unit PIT mass of each galaxy is spread.

    Args:
        candidates: (N, P); NaNs do not count.
        truth: (N,).

    Returns:
        (N, 2) lower and upper end, 0 … 1; NaN where the truth or all candidates are NaN.
    """
    count = np.isfinite(candidates).sum(axis=1)
    with np.errstate(invalid="ignore"):
        below = (candidates < truth[:, None]).sum(axis=1)
        not_above = (candidates <= truth[:, None]).sum(axis=1)
    ends = np.stack([below, not_above + 1], axis=1) / (count + 1)[:, None]
    return np.where((np.isfinite(truth) & (count > 0))[:, None], ends, np.nan)


def pit_histogram(intervals: np.ndarray, bins: int) -> np.ndarray:
    """Share of the PIT mass in `bins` equal bins, (..., bins), of intervals (N, ..., 2)."""
    low, high = intervals[..., :1], intervals[..., 1:]
    edges = np.linspace(0, 1, bins + 1)
    cumulative = np.nanmean(np.clip((edges - low) / (high - low), 0, 1), axis=0)
    return np.diff(cumulative, axis=-1)


def rank_shares(candidates: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """PIT histogram of each galaxy's own pixels.

    Args:
        candidates: (N, P, n).
        truth: (N, n).

    Returns:
        (N, P + 1) shares of the pixels by the number of candidates below the truth; a pixel that
        equals one of them counts half on either side.
    """
    count = candidates.shape[1]
    offset = np.arange(len(truth))[:, None] * (count + 1)
    total = np.zeros(len(truth) * (count + 1))
    for compare in (np.less, np.less_equal):
        rank = sum(compare(candidate, truth) for candidate in candidates.swapaxes(0, 1))
        total += 0.5 * np.bincount((rank + offset).ravel(), minlength=total.size)
    return total.reshape(len(truth), count + 1) / truth.shape[1]


def coverage(shares: np.ndarray, level: float) -> np.ndarray:
    """Share of truths inside the central interval of nominal coverage `level`.

    Args:
        shares: (..., bins) PIT histogram, of unit sum.
        level: 0 … 1.

    Returns:
        (...).
    """
    bins = shares.shape[-1]
    edges = np.arange(bins + 1) / bins
    low, high = (1 - level) / 2, (1 + level) / 2
    inside = np.clip(np.minimum(edges[1:], high) - np.maximum(edges[:-1], low), 0, None) * bins
    return shares @ inside


def coverage_of(intervals: np.ndarray, level: float) -> np.ndarray:
    """Share (N,) of the PIT mass of each galaxy, of intervals (N, 2), inside the central interval
    of nominal coverage `level`: the mean is the coverage."""
    low, high = (1 - level) / 2, (1 + level) / 2
    inside = np.minimum(intervals[:, 1], high) - np.maximum(intervals[:, 0], low)
    return np.clip(inside, 0, None) / (intervals[:, 1] - intervals[:, 0])


def tarp_intervals(candidates: np.ndarray, truth: np.ndarray, references: np.ndarray) -> np.ndarray:
    """PIT intervals of the distance to reference points.

    Args:
        candidates: (N, P, d) in units in which the dimensions are comparable.
        truth: (N, d).
        references: (N, R, d), independent of the truth.

    Returns:
        (N, R, 2), for `pit_histogram`.
    """
    intervals = []
    for reference in references.swapaxes(0, 1):
        distances = np.linalg.norm(candidates - reference[:, None], axis=-1)
        own = np.linalg.norm(truth - reference, axis=-1)
        intervals.append(pit_intervals(distances, own))
    return np.stack(intervals, axis=1)


def expected_coverage(intervals: np.ndarray, bins: int) -> np.ndarray:
    """Expected coverage probability (bins + 1,) at the credibilities k / bins, of TARP intervals
    (N, R, 2): the diagonal if calibrated."""
    flat = intervals.reshape(-1, 2)
    return np.concatenate([[0.0], np.cumsum(pit_histogram(flat, bins))])


def tarp_distance(curve: np.ndarray) -> float:
    """Largest distance of an expected coverage curve from the diagonal."""
    return float(np.abs(curve - np.linspace(0, 1, len(curve))).max())


class SpreadSkill:
    """Root mean square error of the candidates' mean in bins of their spread.

    Exchangeable candidates have E[(mean − y)²] = (1 + 1/P) σ², with σ² their unbiased variance
    (Fortin et al. 2014); the bins are bins of this predicted error. Blocks of galaxies add up.
    """

    edges = np.geomspace(1e-3, 10.0, 41)

    def __init__(self) -> None:
        self.count, self.predicted, self.squared = np.zeros((3, len(self.edges) + 1))

    def add(self, candidates: np.ndarray, truth: np.ndarray) -> None:
        """Add galaxies: candidates (N, P, n), P >= 2, and truth (N, n)."""
        count = candidates.shape[1]
        predicted = (1 + 1 / count) * candidates.var(axis=1, ddof=1)
        squared = (candidates.mean(axis=1) - truth) ** 2
        place = np.searchsorted(self.edges, np.sqrt(predicted)).ravel()
        for total, values in (
            (self.count, None), (self.predicted, predicted), (self.squared, squared)
        ):  # fmt: skip
            weights = None if values is None else values.ravel()
            total += np.bincount(place, weights, minlength=len(total))

    def curve(self) -> dict[str, list[float]]:
        """Predicted and actual root mean square error in each bin that holds 1e-4 of the pixels."""
        used = self.count > 1e-4 * self.count.sum()
        return {
            "predicted": np.sqrt(self.predicted[used] / self.count[used]).tolist(),
            "actual": np.sqrt(self.squared[used] / self.count[used]).tolist(),
            "share": (self.count[used] / self.count.sum()).tolist(),
        }

    def ratio(self) -> float:
        """Predicted over actual root mean square error of all pixels: 1 if calibrated."""
        return float(np.sqrt(self.predicted.sum() / self.squared.sum()))
