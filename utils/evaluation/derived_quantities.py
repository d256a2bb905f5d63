r"""Quantities measured on generated spectra against the same quantities of the true spectra.

A method's estimate of a quantity is the median over its candidates; its error is estimate − truth,
both measured by the same code. The metrics are the bias (median error), the scatter (1.4826 times
the median absolute deviation), Spearman's rank correlation (the long tails of equivalent widths
would dominate Pearson's), each with a bootstrap error, and the coverage of the candidates' central
68 % interval. For redshifts the error is

.. math:: \Delta z = (z - z_\text{true}) / (1 + z_\text{true}) .

The constant's estimate is the median of the climatology: one number for all galaxies.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy.stats import mad_std
from scipy.stats import rankdata

from utils.evaluation.bootstrap import correlation, mean_with_error, with_error
from utils.evaluation.calibration import (
    coverage_of,
    pit_histogram,
    pit_intervals,
    tarp_intervals,
)
from utils.evaluation.method import CLIMATOLOGY, CONSTANT

OUTLIER_DZ = 0.02
JOINT = ("z", "Dn4000", "Mgb", "HdeltaA", "Halpha_ew")  # tested together by TARP


@dataclass(frozen=True)
class Quantity:
    """A quantity's label and unit in tables and figures.

    Args:
        label: name.
        unit: unit, empty for a pure number.
        secure: whether only galaxies count whose true emission lines have S/N >= 3.
    """

    label: str
    unit: str = ""
    secure: bool = False


QUANTITIES = {
    "z": Quantity("redshift"),
    "Dn4000": Quantity("Dn4000"),
    "Hbeta": Quantity("Lick Hβ", "Å"),
    "Mgb": Quantity("Mg b", "Å"),
    "iron": Quantity("⟨Fe⟩", "Å"),
    "HdeltaA": Quantity("HδA", "Å"),
    "Halpha_ew": Quantity("EW Hα", "Å"),
    "Hbeta_ew": Quantity("EW Hβ", "Å"),
    "OIII5007_ew": Quantity("EW [O III]", "Å"),
    "NII6584_ew": Quantity("EW [N II]", "Å"),
    "OII3727_ew": Quantity("EW [O II]", "Å"),
    "log_nii_halpha": Quantity("log [N II]/Hα", "dex", secure=True),
    "log_oiii_hbeta": Quantity("log [O III]/Hβ", "dex", secure=True),
    "rest_colour": Quantity("rest colour", "mag"),
    "sigma_star": Quantity("σ★", "km/s"),
    "log_age_gyr": Quantity("log age / Gyr", "dex"),
    "metallicity": Quantity("[Z/H]", "dex"),
    "ebv": Quantity("E(B−V)", "mag"),
}

Columns = dict[str, np.ndarray]


def estimates(values: np.ndarray) -> np.ndarray:
    """Medians (N,) over candidates (N, P), NaNs left out."""
    some = np.isfinite(values).any(axis=1)
    result = np.full(len(values), np.nan)
    result[some] = np.nanmedian(values[some], axis=1)
    return result


def with_constant(measured: dict[str, Columns]) -> dict[str, Columns]:
    """Add the constant, which gives every galaxy the median of the climatology."""
    climatology = measured[CLIMATOLOGY]
    constant = {
        name: np.full_like(values, np.nanmedian(values) if np.isfinite(values).any() else np.nan)
        for name, values in climatology.items()
    }
    return {**measured, CONSTANT: constant}


def true_values(truth: Columns, name: str) -> np.ndarray:
    """The truth (N,) of a quantity, NaN where the galaxy does not count."""
    secure = truth["secure"] > 0 if QUANTITIES[name].secure else True
    return np.where(secure, truth[name], np.nan)


def compare(name: str, truth: Columns, measured: Columns) -> dict:
    """Bias, scatter, correlation and coverage of one quantity of one method.

    Args:
        name: of `QUANTITIES`.
        truth: (N,) columns of the true spectra.
        measured: (N, P) columns of the candidates.
    """
    true, values = true_values(truth, name), measured[name]
    guess = estimates(values)
    used = np.isfinite(true) & np.isfinite(guess)
    true, guess, values = true[used], guess[used], values[used]
    if len(true) < 2:
        return {"galaxies": len(true)}
    error = (guess - true) / (1 + true) if name == "z" else guess - true
    intervals = pit_intervals(values, true)
    result = {
        "galaxies": len(true),
        "bias": with_error(np.median, error),
        "scatter": with_error(mad_std, error),
        "correlation": with_error(correlation, rankdata(guess), rankdata(true)),
    }
    extent = np.nanmax(values, axis=1) - np.nanmin(values, axis=1)
    if extent.max() > 0:  # equal candidates claim no uncertainty
        histogram = pit_histogram(intervals, values.shape[1] + 1)
        covered = mean_with_error(coverage_of(intervals, 0.68))
        result |= {"coverage_68": covered, "pit": histogram.tolist()}
    if name == "z":
        result["mean_bias"] = with_error(np.mean, error)
        result["outliers"] = with_error(np.mean, (np.abs(error) > OUTLIER_DZ).astype(float))
    return result


def compare_all(truth: Columns, measured: dict[str, Columns]) -> dict:
    """`compare` for every quantity, then every method."""
    return {
        name: {
            method: compare(name, truth, columns)
            for method, columns in measured.items()
            if name in columns
        }
        for name in QUANTITIES
        if name in truth
    }


def joint_tarp(truth: Columns, measured: dict[str, Columns], references: int, seed: int) -> dict:
    """TARP intervals (N', R, 2) of each method for the quantities `JOINT` together.

    Quantities are standardised on the climatology, equivalent widths after asinh (their tails would
    dominate the distances); the reference points are its candidates. Only galaxies and candidates
    in which every quantity was measured count.

    Args:
        truth: (N,) columns of the true spectra.
        measured: (N, P) columns by method, the climatology among them.
        references: R, number of reference points per galaxy.
        seed: of the reference points.
    """

    def vector(columns: Columns) -> np.ndarray:
        stretched = [np.arcsinh(columns[q]) if q.endswith("_ew") else columns[q] for q in JOINT]
        return np.stack(stretched, axis=-1)

    population = vector(measured[CLIMATOLOGY])
    pool = population.reshape(-1, len(JOINT))
    pool = pool[np.isfinite(pool).all(axis=1)]
    if len(pool) == 0:
        return {}
    mean_, sigma = pool.mean(axis=0), pool.std(axis=0) + 1e-12
    generator = np.random.default_rng(seed)
    chosen = pool[generator.integers(len(pool), size=(len(population), references))]
    true = (vector(truth) - mean_) / sigma
    result = {}
    for method, columns in measured.items():
        candidates = (vector(columns) - mean_) / sigma
        intervals = tarp_intervals(candidates, true, (chosen - mean_) / sigma)
        measured_all = np.isfinite(intervals).all(axis=(1, 2))
        if measured_all.any():
            result[method] = intervals[measured_all]
    return result
