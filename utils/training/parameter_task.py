"""The parameter diffusion for the trainer: batches, loss and validation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from models.conditioning import ImageFeatures
from models.diffusion import Denoiser, DenoisingLoss
from models.spectrum_prior import CONDITIONS
from utils.training.feature_cache import Views

NOISE_SAMPLES = 8  # times and noises per validation galaxy


class Rows(Dataset):
    """Rows of a survey, where the features of the images are computed already."""

    def __init__(self, rows: np.ndarray):
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, position: int) -> dict[str, int]:
        return {"index": int(self.rows[position])}


class ParameterTask:
    """The parameter diffusion: see `utils.training.trainer.Task`.

    Args:
        objective: The loss around the denoiser that is trained.
        parameters: z, ln S/N and coefficients (all, D) of the survey's galaxies.
        views: Features of the training images.
        validation: Rows (n,) of the validation galaxies, and features of their images.
        given: Fraction of the galaxies whose redshift, or S/N, is given.
        seed: Of the validation's times and noises.
        constants: The parts of a checkpoint besides weights and states.
    """

    score_name = "validation_loss"

    def __init__(
        self,
        objective: DenoisingLoss,
        parameters: Tensor,
        views: Views,
        validation: tuple[np.ndarray, ImageFeatures],
        given: float,
        seed: int,
        constants: dict[str, dict[str, Any]],
    ):
        self.objective, self.network = objective, objective.denoiser
        self.views, self.given, self.seed = views, given, seed
        self.device = self.network.prior.mean.device
        self.parameters = parameters.to(self.device)
        rows, self.validation_features = validation
        self.validation_parameters = self.parameters[torch.from_numpy(rows).to(self.device)]
        self._constants = constants

    def constants(self) -> dict[str, dict[str, Any]]:
        """The parts of a checkpoint besides weights and states."""
        return self._constants

    def prepare(self, batch: dict[str, Tensor], generator: torch.Generator) -> tuple:
        """The loss's arguments for a batch; some redshifts and S/N are given."""
        parameters = self.parameters[batch["index"].to(self.device)]
        features = self.views(batch, generator)
        given = given_at_random(parameters, self.given, generator)
        return parameters[:, None], features, generator, None, given

    @torch.no_grad()
    def validate(self, network: Denoiser) -> dict[str, float]:
        """The loss at fixed times and noises, with nothing given."""
        network.eval()
        loss = DenoisingLoss(network)
        generator = torch.Generator(self.device).manual_seed(self.seed)
        parameters = self.validation_parameters
        nothing = torch.full_like(parameters, torch.nan)
        losses = [
            loss(parameters[:, None], self.validation_features, generator, None, nothing)
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
