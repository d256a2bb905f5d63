"""From metrics of each galaxy to the metrics of `evaluation.json`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from utils.evaluation import population_statistics as populations
from utils.evaluation.bootstrap import (
    mean_difference,
    mean_with_error,
    ratio_with_error,
    with_error,
    with_interval,
)
from utils.evaluation.calibration import expected_coverage, tarp_distance
from utils.evaluation.derived_quantities import Columns, compare_all, joint_tarp
from utils.evaluation.method import CLIMATOLOGY, CONSTANT, GENERATED, TRUE_SPECTRA
from utils.evaluation.metrics import BEST_FEW, mean_squared_error
from utils.evaluation.pixel_metrics import BLOCK, REFERENCES
from utils.evaluation.self_consistency import coherence_metrics

UNITS = {"mse": CONSTANT, "crps": CLIMATOLOGY, "energy": CLIMATOLOGY}  # of ratios, by kind of score
COMPARED = ("mse_mean", "mse_best", "crps", "energy", "energy_100")  # galaxy by galaxy

Metric = dict[str, float]  # `value` and its standard `error`, or `low` and `high`


def flux_metrics(errors: dict[str, Columns]) -> dict[str, dict[str, Metric]]:
    """Means over galaxies with standard errors; squared errors also relative to the constant's,
    CRPS and energy scores to the climatology's (`…_ratio`).

    Args:
        errors: (N,) columns by method.
    """
    metrics = {}
    for method, columns in errors.items():
        means = {name: values for name, values in columns.items() if name != "noise_ratio"}
        found = {name: mean_with_error(values) for name, values in means.items()}
        for name, values in means.items():
            unit = UNITS.get(name.split("_")[0])
            if unit is not None:
                reference = errors[unit]["mse_mean" if unit == CONSTANT else name]
                found[f"{name}_ratio"] = ratio_with_error(values, reference)
        found["mse_mean_galaxy_median"] = with_error(np.median, columns["mse_mean"])
        # a mean would be that of the cleanest spectra; noiseless ones make the ratio infinite
        if np.isfinite(columns.get("noise_ratio", np.inf)).all():
            found["noise_ratio"] = with_error(np.median, columns["noise_ratio"])
        metrics[method] = found
    return metrics


def paired_differences(errors: dict[str, Columns]) -> dict[str, dict[str, Metric]]:
    """Generated minus each other method on the same galaxies, with 95 % bootstrap intervals, in the
    units of `flux_metrics`' ratios."""
    own, differences = errors[GENERATED], {}
    for method, columns in errors.items():
        if method == GENERATED:
            continue
        differences[method] = {}
        for name in COMPARED:
            unit = UNITS[name.split("_")[0]]
            scale = errors[unit]["mse_mean" if unit == CONSTANT else name].mean()
            # without a ranking there is no best candidate: the mean takes its place
            other = columns.get(name, columns["mse_mean"])
            found = with_interval(mean_difference, own[name] / scale, other / scale)
            differences[method][name] = found
    return differences


def ranking_errors(
    flux: Any, orders: dict[str, np.ndarray], truth: Callable[[slice], np.ndarray]
) -> dict[str, dict[str, np.ndarray]]:
    """Squared errors (N,) of the best candidate and of the mean of the best five, by ranking.

    Args:
        flux: (N, P, n) candidates.
        orders: (N, P) positions of the candidates in `flux`, best first, by ranking.
        truth: reads the true spectra of a slice.
    """
    blocks: dict[str, list] = {name: [] for name in orders}
    for start in range(0, len(flux), BLOCK):
        part = slice(start, start + BLOCK)
        candidates, true = flux[part], truth(part)
        for name, order in orders.items():
            few = np.take_along_axis(candidates, order[part, :BEST_FEW, None], axis=1)
            estimates = few[:, 0], few.mean(axis=1)
            blocks[name].append([mean_squared_error(x, true) for x in estimates])
    return {
        name: dict(zip(("mse_best", "mse_best_five"), np.concatenate(found, axis=1), strict=True))
        for name, found in blocks.items()
    }


def measured_metrics(
    truth: Columns, measured: dict[str, Columns], log_mass: np.ndarray, seed: int
) -> dict:
    """The metrics of measured quantities: `quantities`, `coherence`, `active`, `populations`,
    `tarp`.

    Args:
        truth: (N,) columns.
        measured: (N, P) columns by method, the true spectra with fitted redshifts among them.
        log_mass: (N,).
        seed: of TARP's reference points.
    """
    methods = {name: columns for name, columns in measured.items() if name != TRUE_SPECTRA}
    bins = methods[GENERATED]["z"].shape[1] + 1
    curves = {
        name: expected_coverage(intervals, bins)
        for name, intervals in joint_tarp(truth, methods, REFERENCES, seed).items()
    }
    return {
        "quantities": compare_all(truth, measured),
        "coherence": coherence_metrics(measured),
        "active": {
            boundary: {n: populations.classify(truth, c, boundary) for n, c in methods.items()}
            for boundary in populations.BOUNDARIES
        },
        "populations": {
            name: {
                "bimodality": populations.bimodality(truth, columns),
                "retired": populations.retired(truth, columns),
                "mass_metallicity": populations.mass_metallicity(truth, columns, log_mass),
            }
            for name, columns in methods.items()
        },
        "tarp": {
            name: {"tarp_measured": c.tolist(), "tarp_measured_distance": tarp_distance(c)}
            for name, c in curves.items()
        },
    }


def without_nan(value: Any) -> Any:
    """Nested metrics with None in place of NaN and infinity, which JSON cannot hold."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
