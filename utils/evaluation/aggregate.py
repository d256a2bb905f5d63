"""From metrics of each galaxy to the metrics of `evaluation.json`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from utils.evaluation import population_statistics as populations
from utils.evaluation.bootstrap import mean_difference, with_interval
from utils.evaluation.calibration import expected_coverage, tarp_distance
from utils.evaluation.derived_quantities import Columns, compare_all, joint_tarp
from utils.evaluation.method import CLIMATOLOGY, CONSTANT, GENERATED, TRUE_SPECTRA
from utils.evaluation.metrics import BEST_FEW, mean_squared_error
from utils.evaluation.pixel_metrics import BLOCK, REFERENCES
from utils.evaluation.self_consistency import coherence_metrics

COMPARED = ("mse_mean", "mse_best", "crps")  # with the baselines, galaxy by galaxy


def flux_metrics(errors: dict[str, dict[str, np.ndarray]]) -> dict[str, dict[str, float]]:
    """Means over galaxies; squared errors also relative to the constant's, CRPS to climatology's.

    Args:
        errors: (N,) columns by method.
    """
    metrics = {
        method: {name: float(values.mean()) for name, values in columns.items()}
        for method, columns in errors.items()
    }
    constant, climatology = metrics[CONSTANT]["mse_mean"], metrics[CLIMATOLOGY]["crps"]
    for method, values in metrics.items():
        for name in [name for name in values if name.startswith("mse_")]:
            values[f"{name}_ratio"] = values[name] / constant
        values["crps_ratio"] = values["crps"] / climatology
        values["mse_mean_galaxy_median"] = float(np.median(errors[method]["mse_mean"]))
        if "noise_ratio" in values:  # the cleanest spectra would dominate a mean
            values["noise_ratio"] = float(np.median(errors[method]["noise_ratio"]))
    return metrics


def paired_differences(errors: dict[str, dict[str, np.ndarray]]) -> dict:
    """Generated minus baseline on the same galaxies, with 95 % bootstrap intervals: squared errors
    relative to the constant's, and CRPS."""
    unit = errors[CONSTANT]["mse_mean"].mean()
    own = errors[GENERATED]
    return {
        method: {
            name: with_interval(
                mean_difference,
                own[name] / (unit if name.startswith("mse") else 1),
                # without a ranking there is no best candidate: the mean takes its place
                columns.get(name, columns["mse_mean"]) / (unit if name.startswith("mse") else 1),
            )
            for name in COMPARED
        }
        for method, columns in errors.items()
        if method != GENERATED
    }


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
    """The metrics of measured quantities: `quantities`, `coherence`, `active`,
    `populations`, `tarp`.

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
