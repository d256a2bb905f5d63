"""Colours of candidates against colours of the images, and the rankings that use them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from astropy.stats import mad_std

from datasets.photometry import COLOUR_NAMES, image_colours
from datasets.survey import Survey
from datasets.synthetic_photometry import synthetic_colours
from models.contrastive import best_first
from utils.evaluation.bootstrap import mean_difference, with_error, with_interval
from utils.evaluation.derived_quantities import Columns, compare
from utils.generation.ranking import RANKINGS, ranking_scores

BLOCK = 64  # galaxies
RANKED = ("z", "Dn4000", "rest_colour", "Mgb", "Halpha_ew")


def colours_of_images(survey: Survey, rows: np.ndarray) -> np.ndarray:
    """g − r and r − i (N, 2) of the cutouts; NaN without calibrated g, r and i."""
    starts = range(0, len(rows), BLOCK)
    return np.concatenate(
        [image_colours(survey.read("images", rows[i : i + BLOCK]), survey) for i in starts]
    )


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
            name: {
                "value": float(values.mean()),
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
