"""Fitting the test that tells images from those of the training."""

from __future__ import annotations

import numpy as np

from datasets.survey import Survey
from models.novelty import NoveltyTest
from utils.core.checkpoints import TrainedContrastive
from utils.core.config import GenerativeConfig
from utils.core.survey_rows import random_subset, split_rows
from utils.training.feature_cache import central_features

TRAINING, CALIBRATION = 5000, 2000  # images at most


def fit_novelty(
    towers: TrainedContrastive, survey: Survey, training: np.ndarray, config: GenerativeConfig
) -> NoveltyTest:
    """The test of images against the `training` rows, calibrated with validation galaxies.

    It is a function of the towers and the survey: a resumed run fits it again.
    """
    seed, validation = config.run.seed, split_rows(survey, "validation", config.data)
    return NoveltyTest.fit(
        central_features(towers, survey, random_subset(survey, training, TRAINING, seed)),
        central_features(towers, survey, random_subset(survey, validation, CALIBRATION, seed)),
    )
