"""Rows of a survey that belong to a split."""

from __future__ import annotations

import numpy as np

from datasets.errors import UserError
from datasets.hashing import hashed
from datasets.survey import Survey
from utils.core.config import DataConfig

BLOCK_ROWS = 1024  # spectra read at once


def split_rows(survey: Survey, split: str, config: DataConfig) -> np.ndarray:
    """Rows of a split (n,); of positive spectra alone with `data.positive_only`, and of the
    training split the first `data.galaxies`.

    Raises:
        UserError: there are none.
    """
    rows = survey.indices(split)
    if config.positive_only and len(rows):
        positive = [survey.read("spectra", part).min(axis=1) > 0 for part in blocks(rows)]
        rows = rows[np.concatenate(positive)]
    if len(rows) == 0:
        kind = " with positive spectra (data.positive_only)" if config.positive_only else ""
        raise UserError(
            f"{survey.path}: no {split} galaxies{kind}; build a survey with more galaxies"
        )
    return rows[: config.galaxies] if split == "train" else rows


def blocks(rows: np.ndarray) -> list[np.ndarray]:
    """`rows` (n,) in parts of `BLOCK_ROWS`, which bound the memory that reading them takes."""
    return [rows[i : i + BLOCK_ROWS] for i in range(0, len(rows), BLOCK_ROWS)]


def random_subset(survey: Survey, rows: np.ndarray, count: int, seed: int) -> np.ndarray:
    """At most `count` of `rows`, ascending: the same galaxies in whatever order the file has them.

    The first rows of a survey that is ordered by redshift, plate or position are not a sample of
    it: galaxies are chosen by the hash of their identifier instead. A smaller subset is part of a
    larger one of the same seed.
    """
    if len(rows) <= count:
        return np.sort(rows)
    order = np.argsort(hashed(survey.catalogue["identifier"][rows], seed), kind="stable")
    return np.sort(rows[order[:count]])
