"""Bootstrap over galaxies: how far a metric would change with other galaxies of the same kind.

Galaxies are resampled with replacement (Efron 1979) by `scipy.stats.bootstrap`. Equal numbers of
galaxies get equal resamplings, whatever the method, so that differences are paired.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
from scipy.stats import DegenerateDataWarning, bootstrap

RESAMPLINGS = 500
VALUES_AT_ONCE = 4_000_000  # resampled values held at a time

Statistic = Callable[..., np.ndarray]  # of arrays (..., N), with the keyword `axis`


def with_error(statistic: Statistic, *columns: np.ndarray) -> dict[str, float]:
    """A statistic with its bootstrap standard error.

    Args:
        statistic: of arrays (..., N) over `axis`, such as `np.median`.
        columns: (N,) each, resampled together.

    Returns:
        `value`, NaN without galaxies, and `error`, NaN with fewer than two.
    """
    value, found = _bootstrap(statistic, columns)
    return {"value": value, "error": float(found.standard_error) if found else np.nan}


def mean_with_error(values: np.ndarray) -> dict[str, float]:
    """The mean over galaxies (N,) as `value`, with its standard error σ/√N as `error`."""
    count = len(values)
    error = float(np.std(values, ddof=1) / np.sqrt(count)) if count > 1 else np.nan
    return {"value": float(np.mean(values)) if count else np.nan, "error": error}


def ratio_with_error(values: np.ndarray, unit: np.ndarray) -> dict[str, float]:
    """The mean of `values` (N,) over that of `unit` (N,), for the same galaxies.

    The error is that of a ratio r of paired means to first order, σ(values − r unit)/(√N ⟨unit⟩).
    """
    ratio = float(np.mean(values) / np.mean(unit))
    residual = mean_with_error((values - ratio * unit) / np.mean(unit))
    return {"value": ratio, "error": residual["error"]}


def with_interval(statistic: Statistic, *columns: np.ndarray) -> dict[str, float]:
    """A statistic as `value`, with the ends `low` and `high` of its 95 % bootstrap interval.

    Arguments and missing values are those of `with_error`.
    """
    value, found = _bootstrap(statistic, columns)
    low, high = found.confidence_interval if found else (np.nan, np.nan)
    return {"value": value, "low": float(low), "high": float(high)}


def _bootstrap(statistic: Statistic, columns: tuple[np.ndarray, ...]) -> tuple[float, object]:
    """The statistic, and scipy's bootstrap of it where there are enough galaxies."""
    count = len(columns[0])
    if count < 2:
        return float(statistic(*columns, axis=-1)) if count else np.nan, None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateDataWarning)  # the statistic may be NaN
        found = bootstrap(
            columns,
            statistic,
            n_resamples=RESAMPLINGS,
            batch=max(1, VALUES_AT_ONCE // count),
            vectorized=True,
            paired=True,
            method="percentile",
            rng=np.random.default_rng(0),
        )
    return float(statistic(*columns, axis=-1)), found


def mean_difference(values: np.ndarray, reference: np.ndarray, axis: int = -1) -> np.ndarray:
    """Mean of `values` minus that of `reference`."""
    return (values - reference).mean(axis=axis)


def correlation(x: np.ndarray, y: np.ndarray, axis: int = -1) -> np.ndarray:
    """Pearson's correlation; NaN without variance."""
    x, y = (a - a.mean(axis=axis, keepdims=True) for a in (x, y))
    with np.errstate(invalid="ignore", divide="ignore"):
        return (x * y).mean(axis) / np.sqrt((x**2).mean(axis) * (y**2).mean(axis))
