"""Stage 2 for the trainer: batches, loss, validation and preview of the diffusion model."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from datasets.spectrum_transform import PHASES, SpectrumTransform
from datasets.survey import Survey
from models.conditioning import ImageFeatures
from models.diffusion import Denoiser, DenoisingLoss
from models.spectrum_prior import CONDITIONS
from utils.core.checkpoints import TrainedContrastive, TrainedGenerator
from utils.core.config import GenerativeConfig
from utils.core.device import autocast
from utils.core.survey_rows import random_subset, split_rows
from utils.generation.conditions import image_features, log_probabilities, sample_conditions
from utils.generation.pipeline import NetworkInputs, make_sampler, sample_stage
from utils.plotting.plots import plot_preview, save_figure
from utils.training.feature_cache import FrozenFeatures
from utils.training.fit_prior import FittedPrior

VALIDATION_GALAXIES = 500
NOISE_SAMPLES = 4  # times and noises per validation galaxy
BATCH = 256  # validation galaxies at once
CONDITION_DROPOUT = 0.2  # share of the training galaxies whose redshift, or S/N, is left out


class Inputs(NamedTuple):
    """The arguments of `models.diffusion.DenoisingLoss`."""

    spectra: Tensor
    features: ImageFeatures | Tensor
    generator: torch.Generator
    low: Tensor | None
    parameters: Tensor | None


class GenerativeTask:
    """The generative stage: see `utils.training.trainer.Task`.

    Args:
        network: The denoiser; its prior, if it has one, is fitted.
        contrastive: The trained towers.
        spectra: Transform of the spectra, on the device of the networks.
        config: The configuration.
        survey: The survey file.
        validation: Rows of the validation galaxies, from `validation_rows`.
        fitted: From `fit_prior`.
        features: From `encode_views`; None encodes a view of each image in every step.
        description: The checkpoint's own description.
    """

    score_name = "validation_loss"

    def __init__(
        self,
        network: Denoiser,
        contrastive: TrainedContrastive,
        spectra: SpectrumTransform,
        config: GenerativeConfig,
        survey: Survey,
        validation: np.ndarray,
        fitted: FittedPrior,
        features: FrozenFeatures | None,
        description: dict[str, Any],
    ):
        self.network, self.contrastive, self.spectra = network, contrastive, spectra
        self.config, self.survey = config, survey
        self.heads, self.parameters = fitted
        self.features, self.description = features, description
        self.device = spectra.mean.device
        self.objective = DenoisingLoss(
            network, config.diffusion.augmentation_sigma, config.diffusion.image_dropout
        )
        self.validation = {
            "image": torch.from_numpy(survey.read("images", validation)),
            "spectrum": torch.from_numpy(survey.read("spectra", validation)),
            "index": torch.from_numpy(validation),
        }

    def constants(self) -> dict[str, dict[str, Any]]:
        """The parts of a checkpoint besides weights and states: description, towers, heads."""
        towers = {
            "about": self.contrastive.about,
            "weights": self.contrastive.network.state_dict(),
        }
        heads = {name: head.state_dict() for name, head in self.heads.items()}
        return {"about": self.description, "contrastive": towers, "heads": heads}

    def prepare(self, batch: dict[str, Tensor], generator: torch.Generator) -> Inputs:
        """The loss's arguments for a batch: features of a random view, some conditions dropped."""
        flux = batch["spectrum"].to(self.device, non_blocking=True)
        if self.features is not None:
            features = self.features(batch["index"], generator)
        else:
            images = batch["image"].to(self.device, non_blocking=True)
            views = self.contrastive.images.training(images, generator)
            with autocast(self.device, self.config.run.precision):  # the frozen encoder
                features = self.network.condition.features(views)
        parameters = self._parameters(batch["index"])
        if parameters is not None:
            parameters = drop_conditions(parameters, generator)
        return Inputs(self.spectra.encode(flux), features, generator, self._low(flux), parameters)

    def _low(self, flux: Tensor) -> Tensor | None:
        return self.spectra.encode_low(flux) if self.spectra.representation == "super" else None

    def _parameters(self, rows: Tensor) -> Tensor | None:
        """Parameters (B, 2 + E) of the survey's rows."""
        return None if self.parameters is None else self.parameters[rows.cpu()].to(self.device)

    @torch.no_grad()
    def validate(self, network: Denoiser) -> dict[str, float]:
        """The loss at fixed times and noises on the central views of the validation split."""
        network.eval()
        loss = DenoisingLoss(network)
        generator = torch.Generator(self.device).manual_seed(self.config.run.seed)
        total, count = 0.0, len(self.validation["image"])
        for start in range(0, count, BATCH):
            part = {k: v[start : start + BATCH].to(self.device) for k, v in self.validation.items()}
            images = self.contrastive.images.evaluation(part["image"])
            inputs = Inputs(
                self.spectra.encode(part["spectrum"]),
                network.condition.features(images),
                generator,
                self._low(part["spectrum"]),
                self._parameters(part["index"]),
            )
            for _ in range(NOISE_SAMPLES):
                total += loss(*inputs).item() * len(images)
        return {"validation_loss": total / (count * NOISE_SAMPLES)}

    def preview(self, network: Denoiser, path: Path) -> None:
        """Plot generated and true spectra of some validation galaxies, always the same."""
        rows = self.validation["index"].numpy()
        count = self.config.sampling.preview_galaxies
        shown = np.isin(rows, random_subset(self.survey, rows, count, self.config.run.seed))
        images, truth = (self.validation[k][shown] for k in ("image", "spectrum"))
        figure = plot_preview(
            images.numpy(),
            self.contrastive.survey.bands,
            self.spectra.output_grid.angstrom,
            self._candidates(network, images, truth),
            self._decoded(truth),
        )
        save_figure(figure, path)

    def _candidates(self, network: Denoiser, images: Tensor, truth: Tensor) -> np.ndarray:
        network.eval()
        stage = TrainedGenerator(
            network, self.spectra, self.contrastive, self.config, self.description, self.heads
        )
        sampling, seed = self.config.sampling, self.config.run.seed
        guides = None
        if self.spectra.representation == "super":
            low = truth.to(self.device)[:, None, ::PHASES]
            guides = low.expand(-1, sampling.candidates, -1)
        keys = [f"preview {number}" for number in range(len(images))]
        images = images.to(self.device)
        features = image_features(self.contrastive, images)
        log_pdfs = log_probabilities(stage, features)
        flux, _ = sample_stage(
            stage,
            NetworkInputs(features, features, images),
            features.embedding,
            keys,
            sample_conditions(stage, log_pdfs, keys, sampling.candidates, seed, {}),
            guides,
            seed=seed,
            sampler=make_sampler(sampling),
            guidance=sampling.guidance,
        )
        return flux.cpu().numpy()

    def _decoded(self, truth: Tensor) -> np.ndarray:
        """True spectra on the pixels of the network, as it would reproduce them at best."""
        return self.spectra.decode(self.spectra.encode(truth.to(self.device))).cpu().numpy()


def validation_rows(survey: Survey, config: GenerativeConfig) -> np.ndarray:
    """Rows of the galaxies that the validation loss is the mean of."""
    rows = split_rows(survey, "validation", config.data)
    return random_subset(survey, rows, VALIDATION_GALAXIES, config.run.seed)


def drop_conditions(parameters: Tensor, generator: torch.Generator) -> Tensor:
    """`parameters` (B, 2 + E) with a share of redshifts and of S/N made NaN."""
    shape = len(parameters), len(CONDITIONS)
    u = torch.rand(shape, generator=generator, device=generator.device).to(parameters.device)
    conditions, coefficients = parameters[:, : shape[1]], parameters[:, shape[1] :]
    conditions = torch.where(u < CONDITION_DROPOUT, torch.nan, conditions)
    return torch.cat([conditions, coefficients], dim=1)
