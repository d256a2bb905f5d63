"""Calibration in bins of magnitude and redshift: right everywhere, or only on average?"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from datasets.photometry import aperture_nanomaggies, has_colours
from datasets.survey import Survey
from utils.evaluation.bootstrap import mean_with_error
from utils.evaluation.calibration import coverage_of, pit_intervals
from utils.evaluation.derived_quantities import Columns, true_values
from utils.evaluation.image_photometry import of_images
from utils.evaluation.markdown import plus_minus, rows_of

LEVEL = 0.68
BINS = 4  # of equal numbers of galaxies
TOTAL_DIAMETER_ARCSEC = 12.0
MEASURED = ("Dn4000", "HdeltaA", "Mgb", "Halpha_ew", "OIII5007_ew")


def total_magnitude(survey: Survey, rows: np.ndarray) -> np.ndarray | None:
    """r magnitude (N,) within 12″ of the cutouts of `rows`; None without calibrated r images."""
    if not has_colours(survey):
        return None
    band = survey.bands.index("r")
    aperture = survey.pixel_scale_arcsec, TOTAL_DIAMETER_ARCSEC
    flux = of_images(lambda x: aperture_nanomaggies(x[:, [band]], *aperture), survey, rows)
    return 22.5 - 2.5 * np.log10(np.maximum(flux[:, 0], 1e-3))


def quantile_bins(label: str, values: np.ndarray, count: int = BINS) -> dict[str, np.ndarray]:
    """Masks (N,) of `count` bins of equal numbers of galaxies, by name; of fewer where values are
    equal, and none of no galaxies."""
    edges = np.unique(np.quantile(values, np.linspace(0, 1, count + 1)))
    place = np.digitize(values, edges[1:-1])
    bins = {}
    for k, (low, high) in enumerate(pairwise(edges)):
        digits = 3  # as many as tell the ends apart
        while f"{low:.{digits}g}" == f"{high:.{digits}g}":
            digits += 1
        bins[f"{label} {low:.{digits}g} to {high:.{digits}g}"] = place == k
    return {name: mask for name, mask in bins.items() if mask.any()}


def covered_quantities(truth: Columns, measured: Columns) -> Columns:
    """Coverage (N,) of the central 68 % of candidates (N, P), for the quantities `MEASURED`."""
    return {
        name: coverage_of(pit_intervals(measured[name], true_values(truth, name)), LEVEL)
        for name in MEASURED
        if name in truth
    }


def conditional_coverage(bins: dict[str, np.ndarray], covered: Columns) -> dict:
    """Mean coverage with standard errors, by bin and quantity.

    Args:
        bins: masks (N,) by name.
        covered: coverage (N,) of each galaxy by quantity; NaNs do not count.
    """
    return {
        label: {"galaxies": int(mask.sum())}
        | {
            name: mean_with_error(values[mask & np.isfinite(values)])
            for name, values in covered.items()
        }
        for label, mask in bins.items()
    }


def table(metrics: dict) -> list[str]:
    """The Markdown table of `conditional_coverage`."""
    names = [name for name in next(iter(metrics.values())) if name != "galaxies"]
    return rows_of(
        ["coverage of 68 %, galaxies with", "galaxies", *names],
        (
            [label, str(entry["galaxies"]), *(plus_minus(entry[name]) for name in names)]
            for label, entry in metrics.items()
        ),
    )
