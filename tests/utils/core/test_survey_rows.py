"""Rows of a split: positive spectra alone where asked for, an empty split refused."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from datasets.errors import UserError
from utils.core import survey_rows
from utils.core.config import DataConfig
from utils.core.survey_rows import split_rows


def survey(lowest):
    """A survey whose training spectra have these minima; other splits are empty."""
    spectra = np.array(lowest, dtype=np.float32)[:, None] + np.arange(3, dtype=np.float32)
    return SimpleNamespace(
        path="survey.h5",
        indices=lambda split: np.arange(len(lowest) if split == "train" else 0),
        read=lambda name, rows: spectra[rows],
    )


def test_positive_spectra_alone_across_blocks(monkeypatch):
    monkeypatch.setattr(survey_rows, "BLOCK_ROWS", 2)
    file = survey([0.1, -0.1, 0.0, 0.2, 0.3])
    assert split_rows(file, "train", DataConfig(positive_only=True)).tolist() == [0, 3, 4]
    assert split_rows(file, "train", DataConfig()).tolist() == [0, 1, 2, 3, 4]


def test_the_first_galaxies_of_the_training_split_alone():
    file = survey([0.1, -0.1, 0.2, 0.3])
    assert split_rows(file, "train", DataConfig(galaxies=2)).tolist() == [0, 1]
    assert split_rows(file, "train", DataConfig(galaxies=9)).tolist() == [0, 1, 2, 3]
    positive = DataConfig(positive_only=True, galaxies=2)
    assert split_rows(file, "train", positive).tolist() == [0, 2]


def test_an_empty_split_is_refused():
    with pytest.raises(UserError, match=r"survey\.h5: no validation galaxies; build"):
        split_rows(survey([1.0]), "validation", DataConfig())
    with pytest.raises(UserError, match=r"no train galaxies with positive spectra"):
        split_rows(survey([-1.0]), "train", DataConfig(positive_only=True))
