"""The galaxies of another survey, on which the parameter diffusion is trained first."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from datasets.spectrum_transform import SpectrumTransform
from models.spectrum_prior import SpectrumPrior
from utils.core.checkpoints import TrainedContrastive
from utils.core.command_line import Flags
from utils.core.config import GenerativeConfig
from utils.core.run_directory import LAST, PARAMETERS, PRETRAINING, run_folder
from utils.core.run_log import LOGGER
from utils.core.survey_rows import split_rows
from utils.training.fit_prior import training_ranges
from utils.training.setup import check_towers, open_survey
from utils.training.spectrum_task import validation_rows
from utils.training.training_data import TrainingData

VIEWS = 2  # of an image, at most: where galaxies are many, few will do


def pretraining_data(
    prior: SpectrumPrior,
    towers: TrainedContrastive,
    spectra: SpectrumTransform,
    config: GenerativeConfig,
    flags: Flags,
) -> TrainingData | None:
    """The galaxies of `parameters.pretraining_survey`, with the components of a fitted prior.

    None if there is no such survey, if the run has come further, and in a dry run, which only looks
    at the survey.

    Raises:
        UserError: the survey is missing, or unlike that of the towers, or lacks redshifts or S/N.
    """
    path, folder = config.parameters.pretraining_survey, run_folder(config.run.output)
    if path is None or (flags.resume and (folder / PARAMETERS / LAST).exists()):
        return None
    data = replace(config.data, survey=path, galaxies=None)
    views = min(config.diffusion.condition_views, VIEWS)
    diffusion = replace(config.diffusion, condition_views=views)
    config = replace(config, data=data, diffusion=diffusion)
    survey = open_survey(config.data)
    check_towers(towers, survey, config, "take a survey of the same kind for the pretraining")
    training, validation = split_rows(survey, "train", config.data), validation_rows(survey, config)
    training_ranges(survey, np.concatenate([training, validation]), config)
    if flags.dry_run:
        return None
    LOGGER.info("first, the parameter diffusion learns from %d galaxies of %s", len(training), path)
    return TrainingData.of(
        prior, towers, spectra, survey, training, validation, config, folder / PRETRAINING
    )
