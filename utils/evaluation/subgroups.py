"""Scores of parts of the galaxies, rare classes among them: where a generator is good, and where
it is not.

Classes are those of the true spectra and of the images. Post-starbursts have HδA > 4 Å and an EW
of Hα below 3 Å. Active nuclei lie above the line of Kewley et al. (2001) and are Seyferts or LINERs
by Schawinski et al. (2007, MNRAS 382, 1415); composites lie between it and that of Kauffmann et al.
(2003); all four lines have S/N > 3. Clearly edge-on galaxies have an axis ratio below 0.4.
Numbers of galaxies stand beside the scores: of few galaxies little can be said.
"""

from __future__ import annotations

import numpy as np

from datasets.photometry import has_colours
from datasets.survey import Survey
from utils.evaluation.bootstrap import mean_difference, ratio_with_error, with_interval
from utils.evaluation.derived_quantities import Columns
from utils.evaluation.image_photometry import of_images
from utils.evaluation.markdown import interval, plus_minus, rows_of
from utils.evaluation.method import GENERATED
from utils.evaluation.population_statistics import RETIRED_EW_ANGSTROM
from utils.spectroscopy.bpt import bpt_class
from utils.spectroscopy.wavelength import FWHM_PER_SIGMA

MIN_GALAXIES = 3  # of a subgroup
BALMER_STRONG_ANGSTROM = 4.0  # HδA of a post-starburst
EDGE_ON = 0.4  # axis ratio
SEEING_FWHM_ARCSEC = 1.3  # typical of SDSS r images; its second moment is subtracted
SHAPE_DIAMETER_ARCSEC = 16.0  # inside which moments are taken
SCORES = ("crps", "energy_100")


def groups(
    survey: Survey, rows: np.ndarray, truth: Columns | None, positive: np.ndarray
) -> dict[str, np.ndarray]:
    """Masks (N,) of the subgroups by name; those with too few galaxies are left out.

    Args:
        survey: its catalogue may hold classes; its provenance may name types.
        rows: (N,) of the survey.
        truth: quantities measured on the true spectra, if any.
        positive: (N,) whether the true spectrum is positive everywhere, as it is for all galaxies
            on which the published method was evaluated.
    """
    catalogue, names = survey.catalogue, survey.provenance.get("types")
    masks = {"all": np.ones(len(rows), bool), "positive everywhere": positive}
    if truth is not None:
        masks |= spectral_classes(truth)
    ratio = axis_ratios(survey, rows)
    if ratio is not None:
        masks["clearly edge-on"] = ratio < EDGE_ON
    for column in ("type", "morph", "class"):
        values = catalogue[column][rows] if column in catalogue else np.array([])
        kinds = np.unique(values)
        for value in kinds if len(kinds) > 1 else ():
            name = names[value] if column == "type" and names else value
            masks[f"{column} {name}"] = values == value
    return {name: mask for name, mask in masks.items() if mask.sum() >= MIN_GALAXIES}


def spectral_classes(truth: Columns) -> dict[str, np.ndarray]:
    """Masks (N,) of the classes that follow from the true spectra's measured quantities (N,)."""
    ew = truth["Halpha_ew"]
    retired = ew < RETIRED_EW_ANGSTROM
    masks = {
        f"EW Hα < {RETIRED_EW_ANGSTROM:g} Å": retired,
        f"EW Hα ≥ {RETIRED_EW_ANGSTROM:g} Å": ew >= RETIRED_EW_ANGSTROM,
        "post-starburst": retired & (truth["HdeltaA"] > BALMER_STRONG_ANGSTROM),
    }
    classes = bpt_class(truth["log_nii_halpha"], truth["log_oiii_hbeta"])
    secure = truth["secure"] > 0
    for name in ("star forming", "composite", "Seyfert", "LINER"):
        masks[name] = secure & (classes == name)
    return masks


def axis_ratios(survey: Survey, rows: np.ndarray) -> np.ndarray | None:
    """Axis ratio (N,) from the second moments of the r images, weighted with the light within
    16″, minus that of a typical seeing; faint outskirts and the rest of the seeing leave most
    galaxies rounder than they are. None without calibrated images."""
    if not has_colours(survey):
        return None
    band = survey.bands.index("r")
    scale = survey.pixel_scale_arcsec
    return of_images(lambda images: _axis_ratio(images[:, band], scale), survey, rows)


def _axis_ratio(images: np.ndarray, pixel_scale_arcsec: float) -> np.ndarray:
    axis = np.arange(images.shape[-1]) - (images.shape[-1] - 1) / 2
    y, x = np.meshgrid(axis, axis, indexing="ij")
    inside = np.hypot(x, y) * pixel_scale_arcsec < SHAPE_DIAMETER_ARCSEC / 2
    noise = np.median(np.abs(images[:, ~inside]), axis=1) / 0.6745
    light = np.where(images > 2 * noise[:, None, None], images, 0.0) * inside
    total = np.maximum(light.sum(axis=(1, 2)), 1e-9)
    mx, my = ((light * c).sum(axis=(1, 2)) / total for c in (x, y))
    xx, yy, xy = ((light * c).sum(axis=(1, 2)) / total for c in (x * x, y * y, x * y))
    xx, yy, xy = xx - mx**2, yy - my**2, xy - mx * my
    seeing = (SEEING_FWHM_ARCSEC / FWHM_PER_SIGMA / pixel_scale_arcsec) ** 2
    mean, half = (xx + yy) / 2 - seeing, np.hypot((xx - yy) / 2, xy)
    return np.sqrt(np.maximum(mean - half, 0) / np.maximum(mean + half, 1e-9))


def by_subgroup(
    masks: dict[str, np.ndarray], errors: dict[str, Columns], unit: str, baseline: str
) -> dict:
    """Scores of the generator in every subgroup, relative to a unit, and against a baseline.

    Args:
        masks: (N,) by subgroup.
        errors: (N,) columns by method.
        unit: the method whose score over *all* galaxies is 1.
        baseline: the method that the generator is compared with, galaxy by galaxy.

    Returns:
        By subgroup: `galaxies`, and by score its `value` and `error`, of a ratio of paired means as
        in the other tables, and under `difference` that to the baseline with its 95 % interval.
    """
    result = {}
    for group, mask in masks.items():
        number, total = int(mask.sum()), len(mask)
        result[group] = {"galaxies": number}
        # of deviations: so σ/√N over all galaxies is that of the mean over the subgroup
        weight = mask * np.sqrt(total * (total - 1) / (number * (number - 1)))
        for name in SCORES:
            own, other, scale = (errors[method][name] for method in (GENERATED, baseline, unit))
            mean = own[mask].mean()
            difference = with_interval(
                mean_difference, own[mask] / scale.mean(), other[mask] / scale.mean()
            )
            result[group][name] = ratio_with_error(mean + weight * (own - mean), scale)
            result[group][name]["difference"] = difference
    return result


def table(metrics: dict, baseline: str) -> list[str]:
    """The Markdown table of `by_subgroup`."""
    labels = {"crps": "CRPS", "energy_100": "energy score, 100 Å"}
    header = ["galaxies", "number"]
    for label in labels.values():
        header += [label, f"minus {baseline}"]
    rows = []
    for group, entry in metrics.items():
        cells = [group, str(entry["galaxies"])]
        for name in labels:
            cells += [plus_minus(entry[name]), interval(entry[name]["difference"])]
        rows.append(cells)
    return rows_of(header, rows)
