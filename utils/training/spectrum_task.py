"""The spectrum diffusion for the trainer: batches, loss, validation and preview."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datasets.spectrum_transform import PHASES
from datasets.survey import Survey
from models.conditioning import ImageFeatures, JointCondition
from models.diffusion import Denoiser, DenoisingLoss
from models.spectrum_prior import CONDITIONS
from utils.core.checkpoints import TrainedContrastive, TrainedGenerator
from utils.core.config import GenerativeConfig
from utils.core.survey_rows import random_subset, split_rows
from utils.generation.conditions import image_features, sample_parameters
from utils.generation.pipeline import NetworkInputs, make_sampler, sample_stage
from utils.plotting.plots import plot_preview, save_figure
from utils.training.training_data import TrainingData

VALIDATION_GALAXIES = 500
NOISE_SAMPLES = 4  # times and noises per validation galaxy
BATCH = 256  # validation galaxies at once


class SpectrumTask:
    """The spectrum diffusion: see `utils.training.trainer.Task`.

    Args:
        objective: The loss around the denoiser that is trained; its prior, if any, is fitted.
        stage: What the checkpoint will hold besides: towers, transform, configuration, and the
            trained parameter denoiser.
    """

    score_name = "validation_loss"

    def __init__(self, objective: DenoisingLoss, stage: TrainedGenerator, data: TrainingData):
        self.objective, self.network = objective, objective.denoiser
        self.stage, self.data = stage, data
        self.contrastive, self.spectra, self.config = stage.contrastive, stage.spectra, stage.config
        self.device = self.spectra.mean.device
        self.joint = isinstance(self.network.condition, JointCondition)
        if not self.joint:
            self.network.condition.standardise(data.photometry)
        self.validation_flux = torch.from_numpy(data.survey.read("spectra", data.validation))
        self.constants = checkpoint_constants(stage.about, stage.contrastive)
        for name, module in (("parameters", stage.parameters), ("novelty", stage.novelty)):
            if module is not None:
                self.constants[name] = module.state_dict()

    def prepare(self, batch: dict[str, Tensor], generator: torch.Generator) -> tuple:
        """The loss's arguments for a batch: spectra, and features of a random view."""
        flux = batch["spectrum"].to(self.device, non_blocking=True)
        if self.joint:
            images = batch["image"].to(self.device, non_blocking=True)
            features = self.contrastive.images.training(images, generator)
        else:
            features = self.data.views(batch, generator)
        parameters = self._parameters(batch["index"])
        return self.spectra.encode(flux), features, generator, self._low(flux), parameters

    def _low(self, flux: Tensor) -> Tensor | None:
        return self.spectra.encode_low(flux) if self.spectra.representation == "super" else None

    def _parameters(self, rows: Tensor) -> Tensor | None:
        """Parameters (B, D) of the survey's rows."""
        parameters = self.data.parameters
        return None if parameters is None else parameters[rows].to(self.device, non_blocking=True)

    def _validation_features(self, part: slice) -> ImageFeatures | Tensor:
        """Of the validation galaxies; for a jointly trained encoder their central views."""
        if not self.joint:
            return ImageFeatures(*(tensor[part] for tensor in self.data.features))
        images = self.data.survey.read("images", self.data.validation[part])
        return self.contrastive.images.evaluation(torch.from_numpy(images).to(self.device))

    @torch.no_grad()
    def validate(self, network: Denoiser) -> dict[str, float]:
        """The loss at fixed times and noises on the central views of the validation split."""
        network.eval()
        loss = DenoisingLoss(network)
        generator = torch.Generator(self.device).manual_seed(self.config.run.seed)
        total, count = 0.0, len(self.data.validation)
        for start in range(0, count, BATCH):
            part = slice(start, start + BATCH)
            flux = self.validation_flux[part].to(self.device)
            parameters = self._parameters(torch.from_numpy(self.data.validation[part]))
            inputs = (
                self.spectra.encode(flux),
                self._validation_features(part),
                generator,
                self._low(flux),
                parameters,
            )
            for _ in range(NOISE_SAMPLES):
                total += loss(*inputs).item() * len(flux)
        return {"validation_loss": total / (count * NOISE_SAMPLES)}

    def preview(self, network: Denoiser, path: Path) -> None:
        """Plot generated and true spectra of some validation galaxies, always the same."""
        rows = self._preview_rows()
        images, truth = (
            torch.from_numpy(self.data.survey.read(name, rows)) for name in ("images", "spectra")
        )
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
        stage = replace(self.stage, network=network)
        sampling, seed = self.config.sampling, self.config.run.seed
        keys = [f"preview {number}" for number in range(len(images))]
        images = images.to(self.device)
        features = image_features(self.contrastive, images)
        given = torch.full((len(keys), len(CONDITIONS)), torch.nan)
        count, guides = sampling.candidates, None
        parameters = sample_parameters(stage, features, keys, count, seed, given, sampling.guidance)
        if self.spectra.representation == "super":  # guided by the truth
            guides = truth.to(self.device)[:, None, ::PHASES].expand(-1, count, -1)
            if self.data.parameters is not None:
                own = self._parameters(torch.from_numpy(self._preview_rows()))
                parameters = own[:, None].expand(-1, count, -1)
        flux, _ = sample_stage(
            stage,
            NetworkInputs(features, features, images),
            self.contrastive.vectors_of(features),
            keys,
            count,
            parameters,
            guides,
            seed=seed,
            sampler=make_sampler(sampling),
            guidance=sampling.guidance,
        )
        return flux.cpu().numpy()

    def _preview_rows(self) -> np.ndarray:
        count = self.config.sampling.preview_galaxies
        data = self.data
        return random_subset(data.survey, data.validation, count, self.config.run.seed)

    def _decoded(self, truth: Tensor) -> np.ndarray:
        """True spectra on the pixels of the network, as it would reproduce them at best."""
        return self.spectra.decode(self.spectra.encode(truth.to(self.device))).cpu().numpy()


def checkpoint_constants(
    about: dict[str, Any], contrastive: TrainedContrastive
) -> dict[str, dict[str, Any]]:
    """The description of a checkpoint, and the towers that it was trained with."""
    towers = {"about": contrastive.about, "weights": contrastive.network.state_dict()}
    return {"about": about, "contrastive": towers}


def validation_rows(survey: Survey, config: GenerativeConfig) -> np.ndarray:
    """Rows of the galaxies that the validation loss is the mean of."""
    rows = split_rows(survey, "validation", config.data)
    return random_subset(survey, rows, VALIDATION_GALAXIES, config.run.seed)
