"""Quantities of the images of a survey, read block by block."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from datasets.photometry import aperture_errors
from datasets.survey import Survey
from utils.core.survey_rows import blocks


def of_images(
    compute: Callable[[np.ndarray], np.ndarray], survey: Survey, rows: np.ndarray
) -> np.ndarray:
    """What `compute` makes (b, …) of the images (b, bands, H, W) of all `rows` (N,): (N, …)."""
    return np.concatenate([compute(survey.read("images", part)) for part in blocks(rows)])


def fibre_fluxes(
    survey: Survey, rows: np.ndarray, bands: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Fluxes (N, B) of `bands` in the fibre's aperture and their errors (N, B), nanomaggies."""
    columns = [survey.bands.index(band) for band in bands]
    found = of_images(
        lambda images: np.stack(aperture_errors(images[:, columns], survey), 1), survey, rows
    )
    return found[:, 0], found[:, 1]
