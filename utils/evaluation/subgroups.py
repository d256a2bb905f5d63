"""Metrics of parts of the galaxies: where a generator is good, and where it is not."""

from __future__ import annotations

import numpy as np

from datasets.survey import Survey
from utils.evaluation.derived_quantities import Columns
from utils.evaluation.population_statistics import RETIRED_EW_ANGSTROM

PARTS = 3  # of equal size, by S/N and by redshift
MIN_GALAXIES = 5  # of a subgroup


def groups(
    survey: Survey, rows: np.ndarray, truth: Columns | None, positive: np.ndarray
) -> dict[str, np.ndarray]:
    """Masks (N,) of the subgroups by name; those with too few galaxies are left out.

    Args:
        survey: its catalogue may hold S/N, redshift and classes; its provenance may name types.
        rows: (N,) of the survey.
        truth: quantities measured on the true spectra, if any.
        positive: (N,) whether the true spectrum is positive everywhere, as it is for all galaxies
            on which the published method was evaluated.
    """
    catalogue, names = survey.catalogue, survey.provenance.get("types")
    masks = {"all": np.ones(len(rows), bool), "positive everywhere": positive}
    masks["not positive everywhere"] = ~positive
    for label, column in (("S/N", "sn"), ("redshift", "z")):
        if column in catalogue:
            masks |= _parts(label, catalogue[column][rows].astype(float))
    if truth is not None:
        ew = truth["Halpha_ew"]
        masks |= {
            f"EW Hα < {RETIRED_EW_ANGSTROM:g} Å": ew < RETIRED_EW_ANGSTROM,
            f"EW Hα ≥ {RETIRED_EW_ANGSTROM:g} Å": ew >= RETIRED_EW_ANGSTROM,
        }
    for column in ("type", "morph", "class"):
        values = catalogue[column][rows] if column in catalogue else np.array([])
        kinds = np.unique(values)
        for value in kinds if len(kinds) > 1 else ():
            name = names[value] if column == "type" and names else value
            masks[f"{column} {name}"] = values == value
    return {name: mask for name, mask in masks.items() if mask.sum() >= MIN_GALAXIES}


def _parts(label: str, values: np.ndarray) -> dict[str, np.ndarray]:
    edges = np.quantile(values, np.linspace(0, 1, PARTS + 1))
    place = np.digitize(values, edges[1:-1])
    return {f"{label} {edges[k]:.3g} to {edges[k + 1]:.3g}": place == k for k in range(PARTS)}


def by_subgroup(
    masks: dict[str, np.ndarray], errors: dict[str, dict[str, np.ndarray]], reference: str
) -> dict:
    """Errors of every method in every subgroup.

    Args:
        masks: (N,) by subgroup.
        errors: (N,) columns by method.
        reference: the method to whose `mse_mean` in the same subgroup the ratios refer.
    """
    result = {}
    for group, mask in masks.items():
        unit = errors[reference]["mse_mean"][mask].mean()
        result[group] = {
            "galaxies": int(mask.sum()),
            "methods": {
                method: {
                    "mse_mean_ratio": float(columns["mse_mean"][mask].mean() / unit),
                    **{
                        name: float(columns[name][mask].mean())
                        for name in ("crps", "coverage_68")
                        if name in columns
                    },
                }
                for method, columns in errors.items()
            },
        }
    return result
