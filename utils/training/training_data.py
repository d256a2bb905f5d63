"""What both diffusion models are trained on: the galaxies, their parameters, and their images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from datasets.spectrum_transform import SpectrumTransform
from datasets.survey import Survey
from models.conditioning import ImageFeatures
from models.spectrum_prior import SpectrumPrior
from utils.core.checkpoints import TrainedContrastive
from utils.core.config import GenerativeConfig
from utils.training.feature_cache import Views, central_features, training_views
from utils.training.fit_prior import fitting_rows, galaxy_parameters, training_photometry


@dataclass(frozen=True)
class TrainingData:
    """The galaxies of a survey that stage 2 is trained on.

    Args:
        survey: The survey file.
        training, validation: Rows (N,) and (n,) of the survey.
        parameters: z, ln S/N and coefficients (all, D) of its galaxies; None without a prior.
        views: Features of the training images; None where nothing takes them.
        features: Of the central views of the validation images, likewise.
        photometry: Of at most `prior.galaxies` training images (any, m), likewise.
    """

    survey: Survey
    training: np.ndarray
    validation: np.ndarray
    parameters: Tensor | None
    views: Views | None
    features: ImageFeatures | None
    photometry: Tensor | None

    @classmethod
    def of(
        cls,
        prior: SpectrumPrior | None,
        towers: TrainedContrastive,
        spectra: SpectrumTransform,
        survey: Survey,
        training: np.ndarray,
        validation: np.ndarray,
        config: GenerativeConfig,
        folder: Path | None = None,
    ) -> TrainingData:
        """Compute parameters and features, with a fitted prior and the trained towers.

        `folder` is that of the run, which keeps the features until it is finished.
        """
        parameters = views = features = photometry = None
        if prior is not None:
            known = np.concatenate([training, validation])
            parameters = galaxy_parameters(prior, spectra, survey, known)
        sampled = prior is not None and spectra.representation != "super"
        if sampled or config.diffusion.condition == "frozen":
            views = training_views(towers, survey, training, config, folder)
            features = central_features(towers, survey, validation)
            fitted = fitting_rows(survey, training, config.prior, config.run.seed)
            photometry = training_photometry(survey, fitted)
        return cls(survey, training, validation, parameters, views, features, photometry)
