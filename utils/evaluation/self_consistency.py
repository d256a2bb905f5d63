"""Self-consistency of candidates: one redshift, and physical line ratios.

A spectrum is coherent when all its usable groups of features
(`utils.spectroscopy.line_velocities`) lie within `TOLERANCE_KM_S` of each other; spectra with fewer
than two such groups do not count. Case B recombination gives Hα/Hβ = 2.86, and dust raises it
(Osterbrock & Ferland 2006); atomic physics fixes [O III] 5007/4959 at 2.98 and [N II] 6584/6548 at
3.05 (Storey & Zeippen 2000). Measurements have errors, so the metrics of the true spectra are given
for comparison.
"""

from __future__ import annotations

import numpy as np

from utils.evaluation.bootstrap import with_error as bootstrapped
from utils.evaluation.derived_quantities import Columns
from utils.evaluation.markdown import NONE, number, plus_minus, rows_of
from utils.evaluation.method import CONSTANT
from utils.spectroscopy.line_velocities import FEATURES, GROUPS, RATIOS, velocity_column

TOLERANCE_KM_S = 300.0
MINIMUM_DECREMENT = 2.7  # Hα/Hβ: case B, less the error of a measurement
DOUBLET_RATIO, DOUBLET_TOLERANCE = 3.0, 0.1  # of both doublets; relative
LABELS = {
    "Halpha": "Hα + [N II]",
    "OIII": "[O III]",
    "Hbeta": "Hβ",
    "absorption_blue": "blue absorption",
    "absorption_red": "red absorption",
    "CaHK": "Ca H+K",
    "NaD": "Na D",
}


def spread(columns: Columns) -> tuple[np.ndarray, np.ndarray]:
    """Largest velocity difference of the usable groups in km/s, and their number.

    Args:
        columns: those of `coherence_units`, all of one shape.

    Returns:
        Both of that shape; the difference is NaN with fewer than two groups.
    """
    velocity = np.stack([columns[velocity_column(name)] for name in GROUPS])
    usable = np.isfinite(velocity)
    count = usable.sum(axis=0)
    highest = np.where(usable, velocity, -np.inf).max(axis=0)
    lowest = np.where(usable, velocity, np.inf).min(axis=0)
    return np.where(count > 1, highest - lowest, np.nan), count


def share(true: np.ndarray, measured: np.ndarray) -> dict:
    """Share of `true` among `measured` spectra, both (N, P) bool, with its bootstrap error over
    galaxies; `count` is the number of measured ones."""
    if not measured.any():
        return {"count": 0, "value": np.nan, "error": np.nan}
    hits, trials = (x.sum(axis=1).astype(float) for x in (true & measured, measured))
    return {"count": int(measured.sum()), **bootstrapped(_ratio_of_sums, hits, trials)}


def _ratio_of_sums(hits: np.ndarray, trials: np.ndarray, axis: int = -1) -> np.ndarray:
    return hits.sum(axis) / np.maximum(trials.sum(axis), 1.0)


def coherence_of(columns: Columns) -> dict:
    """Metrics of one method from its columns (N, P)."""
    extent, count = spread(columns)
    velocities = {name: columns[velocity_column(name)] for name in (*GROUPS, *FEATURES)}
    return {
        "spectra": int(count.size),
        "usable_groups": float(count.mean()),
        "usable": {name: float(np.isfinite(velocities[name]).mean()) for name in GROUPS},
        "coherent": share(extent <= TOLERANCE_KM_S, count > 1),
        "features": {
            name: share(np.abs(velocities[name]) <= TOLERANCE_KM_S, np.isfinite(velocities[name]))
            | {"median_km_s": _median(velocities[name])}
            for name in FEATURES
        },
        "ratios": {name: _ratio(name, columns[name]) for name in RATIOS},
    }


def _ratio(name: str, values: np.ndarray) -> dict:
    """Median of a line ratio (N, P), and the share of its values in the physical range."""
    measured = np.isfinite(values)
    if name == "balmer_decrement":
        return share(values >= MINIMUM_DECREMENT, measured) | {"median": _median(values)}
    deviation = np.abs(values / DOUBLET_RATIO - 1.0)
    return share(deviation <= DOUBLET_TOLERANCE, measured) | {
        "median": _median(values),
        "median_deviation": _median(deviation),
    }


def _median(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else np.nan


def coherence_metrics(measured: dict[str, Columns]) -> dict:
    """`coherence_of` every method but the constant, whose spectra are not measured."""
    return {name: coherence_of(columns) for name, columns in measured.items() if name != CONSTANT}


def tables(metrics: dict) -> list[str]:
    """The lines on coherence in `details.md`."""
    found = metrics["coherence"]
    velocities = rows_of(
        ["spectra", "coherent", "of", "usable groups", *(LABELS[name] for name in GROUPS)],
        (
            [
                name,
                plus_minus(v["coherent"]),
                f"{v['coherent']['count']} of {v['spectra']}",
                number(v["usable_groups"], 2),
                *(number(v["usable"][group], 2) for group in GROUPS),
            ]
            for name, v in found.items()
        ),
    )
    header = ["spectra", f"Hα/Hβ, ≥ {MINIMUM_DECREMENT:g}, of"]
    header += [f"{doublet}, within 10 % of 3, of" for doublet in ("[O III]", "[N II]")]
    atoms = rows_of(
        [
            *header,
            *(f"{LABELS[name]}: velocity / km/s, share in place, of" for name in FEATURES),
        ],
        (
            [
                name,
                *(_cell(v["ratios"][ratio], "median", 2) for ratio in RATIOS),
                *(_cell(v["features"][feature], "median_km_s", 0) for feature in FEATURES),
            ]
            for name, v in found.items()
        ),
    )
    return [
        f"Coherent: all usable groups of features within {TOLERANCE_KM_S:g} km/s, of the spectra "
        "with at least two; then the share of spectra in which each group is usable.",
        "",
        *velocities,
        "Median, share in the physical range, and number of spectra that are precise enough.",
        "",
        *atoms,
    ]


def _cell(entry: dict, median: str, digits: int) -> str:
    if not entry["count"]:
        return NONE
    return f"{number(entry[median], digits)}, {plus_minus(entry)}, {entry['count']}"
