"""The parameter diffusion for the trainer: batches, loss and validation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from datasets.survey_dataset import SurveyDataset
from models.diffusion import Denoiser, DenoisingLoss
from models.spectrum_prior import CONDITIONS
from utils.core.checkpoints import read_checkpoint, trained_weights
from utils.core.command_line import Flags
from utils.core.config import GenerativeConfig
from utils.core.run_directory import BEST, PARAMETERS
from utils.training.data_order import training_loader
from utils.training.feature_cache import CachedViews
from utils.training.fit_prior import informative_rows
from utils.training.setup import start
from utils.training.training_data import TrainingData

VALIDATIONS = 20  # of a training, whose epochs are short
NOISE_SAMPLES = 8  # times and noises per validation galaxy


class Rows(Dataset):
    """Rows of a survey, where the features of the images are computed already."""

    def __init__(self, rows: np.ndarray):
        self.rows = torch.from_numpy(rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, positions: Tensor) -> dict[str, Tensor]:
        return {"index": self.rows[positions]}


class ParameterTask:
    """The parameter diffusion: see `utils.training.trainer.Task`.

    Args:
        given: Fraction of the galaxies whose redshift, or S/N, is given; 0 to 1.
        seed: Of the validation's times and noises.
    """

    score_name = "validation_loss"

    def __init__(
        self,
        objective: DenoisingLoss,
        data: TrainingData,
        given: float,
        seed: int,
        constants: dict[str, dict[str, Any]],
    ):
        self.objective, self.network, self.data = objective, objective.denoiser, data
        self.given, self.seed, self.constants = given, seed, constants
        self.device = self.network.prior.mean.device
        self.parameters = data.parameters.to(self.device)

    def prepare(self, batch: dict[str, Tensor], generator: torch.Generator) -> tuple:
        """The loss's arguments for a batch; some redshifts and S/N are given."""
        parameters = self.parameters[batch["index"].to(self.device, non_blocking=True)]
        features = self.data.views(batch, generator)
        given = given_at_random(parameters, self.given, generator)
        return parameters[:, None], features, generator, None, given

    @torch.no_grad()
    def validate(self, network: Denoiser) -> dict[str, float]:
        """The loss at fixed times and noises, with nothing given."""
        network.eval()
        loss = DenoisingLoss(network)
        generator = torch.Generator(self.device).manual_seed(self.seed)
        parameters = self.parameters[torch.from_numpy(self.data.validation).to(self.device)]
        nothing = torch.full_like(parameters, torch.nan)
        losses = [
            loss(parameters[:, None], self.data.features, generator, None, nothing)
            for _ in range(NOISE_SAMPLES)
        ]
        return {"validation_loss": torch.stack(losses).mean().item()}

    def preview(self, network: Denoiser, path: Path) -> None:
        """Nothing: the previews of the spectrum diffusion show these parameters at work."""


def given_at_random(parameters: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """`parameters` (B, D), NaN except for a random share of the redshifts, and of the S/N."""
    shape = len(parameters), len(CONDITIONS)
    u = torch.rand(shape, generator=generator, device=generator.device).to(parameters.device)
    given = torch.full_like(parameters, torch.nan)
    given[:, : shape[1]] = torch.where(u < share, parameters[:, : shape[1]], torch.nan)
    return given


def train_parameters(
    objective: DenoisingLoss,
    data: TrainingData,
    constants: dict[str, dict[str, Any]],
    config: GenerativeConfig,
    flags: Flags,
) -> None:
    """Train the parameter diffusion in its part of the run directory; its network then has the
    best weights. `constants` are the parts of a checkpoint besides weights and states."""
    denoiser, optimiser = objective.denoiser, config.parameters.optimiser
    rows = informative_rows(data.survey, data.training, config.prior)
    denoiser.prior.fit(data.parameters[rows])
    denoiser.condition.standardise(data.photometry)
    task = ParameterTask(objective, data, config.parameters.given, config.run.seed, constants)
    cached = isinstance(data.views, CachedViews)
    dataset = Rows(rows)
    if not cached:
        dataset = SurveyDataset(data.survey, rows, config.data.in_memory, task.device)
    every = max(1, round(optimiser.epochs / VALIDATIONS))
    run = replace(config.run, validate_every_epochs=every, preview_every_epochs=0)
    config = replace(config, optimiser=optimiser, run=run)
    loader = training_loader(dataset, config, task.device)
    folder = start(task, loader, config, flags, task.device, PARAMETERS)
    if folder is not None:
        best = read_checkpoint(folder / BEST, "parameters")
        denoiser.load_state_dict(trained_weights(best))
    denoiser.requires_grad_(False).eval()
