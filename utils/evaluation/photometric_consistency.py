"""Posterior predictive check: the photometry of candidates against that of the images.

A normalised spectrum has colours, but not a brightness. So two things are compared: colours, and in
each covered band b the magnitude of a candidate that is scaled to the image's flux in the *other*
bands,

    Δ_b = −2.5 log10 [ f_b / Σ_{c ≠ b} f_c ] + 2.5 log10 [ F_b / Σ_{c ≠ b} F_c ] ,

with fluxes f of the candidate and F of the image in the fibre's aperture. The blue end of g, which
spectra from 4000 Å on lack, is extrapolated (`datasets.synthetic_photometry`). An image is covered
if 0 lies in the central 68 % of the candidates' Δ, to which the noise of the image is added.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from astropy.stats import mad_std
from scipy.stats import rankdata

from datasets.photometry import (
    COLOUR_BANDS,
    COLOUR_NAMES,
    has_colours,
    image_colours,
)
from datasets.survey import Survey
from datasets.synthetic_photometry import synthetic_colours, synthetic_fluxes
from models.contrastive import best_first
from utils.evaluation.bootstrap import (
    correlation,
    mean_difference,
    mean_with_error,
    with_error,
    with_interval,
)
from utils.evaluation.calibration import coverage_of, pit_intervals
from utils.evaluation.derived_quantities import Columns, compare
from utils.evaluation.image_photometry import fibre_fluxes, of_images
from utils.evaluation.markdown import plus_minus, rows_of
from utils.evaluation.method import CLIMATOLOGY, CONSTANT, Method
from utils.generation.ranking import RANKINGS, ranking_scores

BLOCK = 64  # galaxies
RANKED = ("z", "Dn4000", "rest_colour", "Mgb", "Halpha_ew")


def colours_of_images(survey: Survey, rows: np.ndarray) -> np.ndarray:
    """g − r and r − i (N, 2) of the cutouts; NaN without calibrated g, r and i."""
    return of_images(lambda images: image_colours(images, survey), survey, rows)


def differences(
    wavelength_angstrom: np.ndarray,
    candidates: Callable[[slice], np.ndarray],
    count: int,
    images: np.ndarray,
) -> np.ndarray:
    """Colours of candidates minus those of the images, (N, P, 2).

    Args:
        wavelength_angstrom: (n,).
        candidates: reads the candidates (b, P, n) of a slice of the galaxies.
        count: number of galaxies N.
        images: (N, 2) colours.
    """
    parts = (slice(i, min(i + BLOCK, count)) for i in range(0, count, BLOCK))
    return np.concatenate(
        [
            synthetic_colours(wavelength_angstrom, candidates(part)) - images[part, None]
            for part in parts
        ]
    )


def all_offsets(
    wavelength_angstrom: np.ndarray, methods: list[Method], images: np.ndarray
) -> dict[str, np.ndarray]:
    """`differences` (N, P, 2) by method; nothing for images (N, 2) without colours."""
    if not np.isfinite(images).any():
        return {}
    count = len(images)
    return {m.name: differences(wavelength_angstrom, m.candidates, count, images) for m in methods}


def distribution(values: np.ndarray) -> dict:
    """Median and scatter of each colour's difference over galaxies (N, 2)."""
    result = {}
    for name, column in zip(COLOUR_NAMES, values.T, strict=True):
        finite = column[np.isfinite(column)]
        if finite.size:
            result[name] = {
                "median": with_error(np.median, finite), "scatter": with_error(mad_std, finite)
            }  # fmt: skip
    return result


def orders(similarity: np.ndarray, colours: np.ndarray, temperature: float) -> dict:
    """Positions of the candidates (N, P), best first, by every ranking.

    Args:
        similarity: (N, P).
        colours: (N, P, 2) differences.
        temperature: of the towers.
    """
    return {
        ranking: best_first(
            torch.from_numpy(ranking_scores(ranking, similarity, colours, temperature))
        ).numpy()
        for ranking in RANKINGS
    }


def compare_rankings(errors: dict[str, dict[str, np.ndarray]]) -> dict:
    """Errors by ranking, and their paired difference to the contrastive one's.

    Args:
        errors: by ranking, columns (N,) `mse_best` and `mse_best_five`.
    """
    result = {}
    for ranking, columns in errors.items():
        result[ranking] = {
            name: mean_with_error(values)
            | {
                "difference": with_interval(mean_difference, values, errors["contrastive"][name]),
            }
            for name, values in columns.items()
        }
    return result


def measured_by_ranking(
    truth: Columns, columns: Columns, own: np.ndarray, orders: dict[str, np.ndarray]
) -> dict:
    """Scatter of the quantities `RANKED` of the best candidate, by ranking.

    Args:
        truth: (N,) columns.
        columns: (N, P) columns of the candidates, in the order `own`.
        own: (N, P) their positions in the file of candidates.
        orders: the same by ranking.
    """
    result = {}
    for ranking, order in orders.items():
        place = (own == order[:, :1]).argmax(axis=1)[:, None]
        best = {name: np.take_along_axis(columns[name], place, axis=1) for name in RANKED}
        result[ranking] = {
            name: compare(name, truth, {name: values}).get("scatter")
            for name, values in best.items()
        }
    return result


def predictive_check(
    wavelength_angstrom: np.ndarray, methods: list[Method], survey: Survey, rows: np.ndarray
) -> dict:
    """Δ_b of every band, by method: median and scatter of the best candidates, coverage, and the
    rank correlation of the median Δ_b with the r magnitude in the fibre and with g − r.

    Args:
        wavelength_angstrom: (n,).
        methods: with candidates (b, P, n), best first; constant and climatology are left out.
        survey: the survey file.
        rows: (N,) galaxies.

    Returns:
        By method and band; nothing without calibrated g, r and i.
    """
    if not has_colours(survey):
        return {}
    images, errors = fibre_fluxes(survey, rows, COLOUR_BANDS)
    generator = np.random.default_rng(0)
    noisy = images + errors * generator.standard_normal((16, *images.shape))
    noise = _magnitude_of_rest(noisy) - _magnitude_of_rest(images)
    brightness = -2.5 * np.log10(np.where(images > 0, images, np.nan))
    colour = brightness[:, 0] - brightness[:, 1]
    result = {}
    for method in methods:
        if method.name in (CONSTANT, CLIMATOLOGY):
            continue
        parts = (slice(i, min(i + BLOCK, len(rows))) for i in range(0, len(rows), BLOCK))
        flux = np.concatenate(
            [synthetic_fluxes(wavelength_angstrom, method.candidates(part)) for part in parts]
        )  # (N, P, bands)
        offsets = _magnitude_of_rest(flux) - _magnitude_of_rest(images)[:, None]
        result[method.name] = {
            band: _band_metrics(offsets[..., k], noise[..., k], brightness[:, 1], colour)
            for k, band in enumerate(COLOUR_BANDS)
        }
    return result


def _magnitude_of_rest(flux: np.ndarray) -> np.ndarray:
    """−2.5 log10 of each band's flux over the sum of the others, (..., bands)."""
    others = flux.sum(axis=-1, keepdims=True) - flux
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = flux / others
    return -2.5 * np.log10(np.where(ratio > 0, ratio, np.nan))


def _band_metrics(
    offsets: np.ndarray, noise: np.ndarray, brightness: np.ndarray, colour: np.ndarray
) -> dict:
    used = np.isfinite(offsets).all(axis=1) & np.isfinite(noise).all(axis=0) & np.isfinite(colour)
    best, middle = offsets[used, 0], np.median(offsets[used], axis=1)
    metrics = {
        "median": with_error(np.median, best),
        "scatter": with_error(mad_std, best),
        "with_brightness": with_error(correlation, rankdata(middle), rankdata(brightness[used])),
        "with_colour": with_error(correlation, rankdata(middle), rankdata(colour[used])),
    }
    if offsets.shape[1] > 1:
        count = offsets.shape[1]
        noisy = offsets[used] + noise[np.arange(count) % len(noise)][:, used].T
        intervals = pit_intervals(noisy, np.zeros(used.sum()))
        metrics["coverage_68"] = mean_with_error(coverage_of(intervals, 0.68))
    return metrics


def table(metrics: dict) -> list[str]:
    """The Markdown table of `predictive_check`."""
    header = ["spectra", "band", "median Δ / mag", "scatter", "coverage of 68 %"]
    names = ("median", "scatter", "coverage_68", "with_brightness", "with_colour")
    return rows_of(
        [*header, "r(Δ, r)", "r(Δ, g − r)"],
        (
            [method, band, *(plus_minus(v.get(name)) for name in names)]
            for method, bands in metrics.items()
            for band, v in bands.items()
        ),
    )
