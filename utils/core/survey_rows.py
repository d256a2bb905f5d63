"""Rows of a survey that belong to a split."""

from __future__ import annotations

from typing import Any

import numpy as np

from datasets.survey import Survey
from utils.core.config import DataConfig

BLOCK_ROWS = 1024  # spectra read at once while statistics are fitted


def split_rows(survey: Survey, split: str, config: DataConfig) -> np.ndarray:
    """Rows of a split (n,), of the positive spectra alone where `config` wants no others."""
    rows = survey.indices(split)
    if not config.positive_only or len(rows) == 0:
        return rows
    positive = [survey.read("spectra", part).min(axis=1) > 0 for part in blocks(rows)]
    return rows[np.concatenate(positive)]


def blocks(rows: Any) -> list[Any]:
    return [rows[i : i + BLOCK_ROWS] for i in range(0, len(rows), BLOCK_ROWS)]
