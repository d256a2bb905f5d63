"""Bootstrap over galaxies: how far a figure would change with other galaxies of the same kind.

Galaxies are drawn with replacement (Efron 1979); all methods get the same draws, so that
differences between them are paired.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

DRAWS = 500
INTERVAL_PERCENTILES = (2.5, 97.5)
VALUES_AT_ONCE = 4_000_000  # resampled values held at a time


def bootstrap(
    statistic: Callable[..., np.ndarray], *columns: np.ndarray, draws: int = DRAWS, seed: int = 0
) -> np.ndarray:
    """A statistic of resampled galaxies.

    Args:
        statistic: of arrays (..., N), over their last axis.
        columns: (N,) each, resampled together.
        draws: number of resamplings.
        seed: of the draws; equal seeds and N give equal galaxies.

    Returns:
        (draws,); NaN throughout without galaxies.
    """
    count = len(columns[0])
    if count == 0:
        return np.full(draws, np.nan)
    generator = np.random.default_rng(seed)
    block = max(1, VALUES_AT_ONCE // count)
    parts = []
    for start in range(0, draws, block):
        rows = generator.integers(count, size=(min(block, draws - start), count))
        parts.append(statistic(*(column[rows] for column in columns)))
    return np.concatenate(parts)


def with_error(statistic: Callable[..., np.ndarray], *columns: np.ndarray) -> dict[str, float]:
    """The statistic of `columns` as `value`, and as `error` its bootstrap standard deviation."""
    if len(columns[0]) == 0:
        return {"value": np.nan, "error": np.nan}
    error = np.std(bootstrap(statistic, *columns))
    return {"value": float(statistic(*columns)), "error": float(error)}


def with_interval(statistic: Callable[..., np.ndarray], *columns: np.ndarray) -> dict[str, float]:
    """The statistic as `value`, with the ends `low` and `high` of its 95 % bootstrap interval."""
    low, high = np.percentile(bootstrap(statistic, *columns), INTERVAL_PERCENTILES)
    return {"value": float(statistic(*columns)), "low": float(low), "high": float(high)}


def mean(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis."""
    return values.mean(axis=-1)


def median(values: np.ndarray) -> np.ndarray:
    """Median over the last axis."""
    return np.median(values, axis=-1)


def scatter(values: np.ndarray) -> np.ndarray:
    """1.4826 times the median absolute deviation: σ of a normal distribution, blind to outliers."""
    middle = np.median(values, axis=-1, keepdims=True)
    return 1.4826 * np.median(np.abs(values - middle), axis=-1)


def correlation(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Pearson's correlation over the last axis; NaN without variance."""
    x, y = (a - a.mean(axis=-1, keepdims=True) for a in (x, y))
    with np.errstate(invalid="ignore", divide="ignore"):
        return (x * y).mean(-1) / np.sqrt((x**2).mean(-1) * (y**2).mean(-1))
