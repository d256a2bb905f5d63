r"""Scores of the redshift alone: p(z | image) against the catalogue's redshift.

The samples are the candidates' redshifts. Their CRPS is that of `metrics`; the logarithmic score is
−ln p(z) of a Gaussian kernel density of the samples (`utils.generation.redshift_pdf`), the same for
every method. Where a generator reports p(z | image) as a histogram, that has its own logarithmic
score and PIT.
"""

from __future__ import annotations

import numpy as np
from astropy.stats import mad_std
from scipy.special import logsumexp

from utils.evaluation.bootstrap import mean_with_error, with_error
from utils.evaluation.calibration import coverage_of, pit_intervals
from utils.evaluation.derived_quantities import OUTLIER_DZ
from utils.evaluation.markdown import rows_of
from utils.evaluation.metrics import crps
from utils.generation.redshift_pdf import silverman_bandwidth

SMALLEST_DENSITY = 1e-3  # of a reported histogram: a truth outside it is not infinitely wrong


def log_score(samples: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """−ln p(z) (N,) of the kernel density of samples (N, P) at the truth (N,)."""
    count = samples.shape[1]
    width = silverman_bandwidth(samples)[:, None]
    exponents = -0.5 * ((samples - truth[:, None]) / width) ** 2
    density = logsumexp(exponents, axis=1) - np.log(count * np.sqrt(2 * np.pi) * width[:, 0])
    return -density


def histogram_scores(
    probability: np.ndarray, edges: np.ndarray, truth: np.ndarray
) -> dict[str, np.ndarray]:
    """Scores of reported histograms.

    Args:
        probability: (N, bins), of unit sum.
        edges: (bins + 1,), rising.
        truth: (N,).

    Returns:
        (N,) each: `log_score_pdf`, −ln of the density in the truth's bin, and `pit_pdf`, the
        probability below the truth.
    """
    place = np.clip(np.searchsorted(edges, truth, side="right") - 1, 0, len(edges) - 2)
    rows, widths = np.arange(len(truth)), np.diff(edges)
    inside = (truth >= edges[0]) & (truth <= edges[-1])
    density = np.where(inside, probability[rows, place] / np.maximum(widths[place], 1e-9), 0.0)
    cumulative = np.concatenate([np.zeros((len(truth), 1)), probability.cumsum(axis=1)], axis=1)
    fraction = np.clip((truth - edges[place]) / np.maximum(widths[place], 1e-9), 0, 1)
    pit = cumulative[rows, place] + fraction * probability[rows, place]
    return {"log_score_pdf": -np.log(np.maximum(density, SMALLEST_DENSITY)), "pit_pdf": pit}


def redshift_scores(samples: np.ndarray, truth: np.ndarray) -> dict[str, np.ndarray]:
    """Scores (N,) of redshift samples (N, P): `crps`, `log_score`, `error` (of the median, over
    1 + z), and the coverage of central intervals where samples differ."""
    scores = {
        "crps": crps(samples[..., None], truth[:, None]),
        "error": (np.median(samples, axis=1) - truth) / (1 + truth),
    }
    if np.ptp(samples, axis=1).max() > 0:
        intervals = pit_intervals(samples, truth)
        scores["log_score"] = log_score(samples, truth)
        scores |= {f"coverage_{level}": coverage_of(intervals, level / 100) for level in (68, 95)}
    return scores


def redshift_metrics(scores: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Means, scatter and outliers of `redshift_scores` over galaxies, with standard errors."""
    error = scores["error"]
    metrics = {
        name: mean_with_error(values)
        for name, values in scores.items()
        if name not in ("error", "pit_pdf")
    }
    return metrics | {
        "scatter": with_error(mad_std, error),
        "bias": with_error(np.median, error),
        "outliers": mean_with_error((np.abs(error) > OUTLIER_DZ).astype(float)),
    }


def fifths(histogram: list[float]) -> np.ndarray:
    """Shares (5,) of a PIT histogram with any number of equal bins: 0.2 each if calibrated."""
    cumulative = np.concatenate([[0.0], np.cumsum(histogram)])
    edges = np.linspace(0, 1, len(cumulative))
    return np.diff(np.interp(np.linspace(0, 1, 6), edges, cumulative))


def pit_table(redshift: dict) -> list[str]:
    """The Markdown table of PIT histograms of the redshift, in fifths."""
    galaxies = redshift["galaxies"]
    error = np.sqrt(0.2 * 0.8 / galaxies)
    lines = rows_of(
        ["PIT of the redshift", *(f"{k / 5:.1f} to {(k + 1) / 5:.1f}" for k in range(5))],
        (
            [name, *(f"{share:.2f}" for share in fifths(histogram))]
            for name, histogram in redshift["pit"].items()
        ),
    )
    return [*lines[:-1], "", f"0.20 ± {error:.2f} each if calibrated.", ""]
