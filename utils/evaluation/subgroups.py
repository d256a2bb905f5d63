"""The same figures on parts of the galaxies: where a generator is good, and where not."""

from __future__ import annotations

import numpy as np

from datasets.mock.catalogue import TYPES
from datasets.survey import Survey
from utils.evaluation.derived_quantities import Columns
from utils.evaluation.population_statistics import RETIRED_EW_ANGSTROM

PARTS = 3  # of equal size, for S/N and redshift
MIN_GALAXIES = 5


def groups(
    survey: Survey, rows: np.ndarray, truth: Columns | None, positive: np.ndarray
) -> dict[str, np.ndarray]:
    """Masks (N,) of the subgroups by name; those with too few galaxies are left out.

    Args:
        survey: gives S/N, redshift and morphological classes, as far as its catalogue has them.
        rows: (N,) of the survey.
        truth: measured on the true spectra, if anything was.
        positive: (N,) whether the true spectrum is positive everywhere, which the published method
            demands of all galaxies it is judged on.
    """
    catalogue = survey.catalogue
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
            mock = column == "type" and survey.provenance.get("kind") == "mock survey"
            masks[f"{column} {TYPES[value] if mock else value}"] = values == value
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
        reference: the method whose `mse_mean` in the same subgroup is the unit of the ratios.
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
