"""The regression baseline: a ResNet from image to spectrum, its task and its checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from datasets.image_transform import ImageTransform
from datasets.spectrum_transform import SpectrumTransform
from datasets.survey import Survey
from datasets.survey_description import IMAGES, SPECTRA, SurveyDescription
from models.image_encoder import ImageEncoder
from utils.core.checkpoints import read_checkpoint, trained_weights
from utils.core.config import from_dict
from utils.core.regression_config import RegressionConfig, RegressionNetworkConfig
from utils.core.survey_rows import split_rows
from utils.plotting.plots import plot_preview, save_figure

BATCH = 256  # images per forward pass where nothing is trained
VALIDATION_GALAXIES = 512  # at most
SHOWN = 8  # galaxies of a preview


def build_regression(
    config: RegressionNetworkConfig, bands: int, transform: SpectrumTransform
) -> ImageEncoder:
    """The network with fresh weights: images (B, bands, H, W) to (B, C·L)."""
    outputs = transform.channels * transform.length
    network = ImageEncoder(config.image_depth, bands, embedding=outputs, width=config.image_width)
    return network.to(memory_format=torch.channels_last)


class RegressionLoss(nn.Module):
    """Mean squared error of the network's spectra (B, C, L) for images (B, bands, H, W)."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, images: Tensor, spectra: Tensor) -> Tensor:
        return nn.functional.mse_loss(self.network(images).float(), spectra.flatten(1))


@dataclass
class TrainedRegression:
    """A regression and the transforms around it."""

    network: nn.Module
    images: ImageTransform
    spectra: SpectrumTransform
    device: torch.device

    @torch.no_grad()
    def predict(self, images: np.ndarray) -> np.ndarray:
        """Linear normalised flux (B, n) for raw images (B, bands, H, W)."""
        self.network.eval()
        shape, parts = (self.spectra.channels, self.spectra.length), []
        for start in range(0, len(images), BATCH):
            batch = torch.from_numpy(images[start : start + BATCH]).to(self.device)
            out = self.network(self.images.evaluation(batch)).unflatten(1, shape)
            parts.append(self.spectra.decode(out).cpu().numpy())
        return np.concatenate(parts)


def load_regression(path: str | Path, survey: Survey, device: torch.device) -> TrainedRegression:
    """A trained regression from its checkpoint.

    Raises:
        UserError: as `read_checkpoint`; or it was trained on other images or spectra than the
            survey's.
    """
    checkpoint = read_checkpoint(path, "regression")
    about = checkpoint["about"]
    trained_on = SurveyDescription.from_dict(about["survey"])
    spectra = SpectrumTransform.from_dict(about["spectra"])
    remedy = f"train {path} on this survey with `python -m utils.train_regression`"
    trained_on.check(survey, *IMAGES, *SPECTRA, remedy=remedy)
    config = from_dict(RegressionConfig, about["config"])
    network = build_regression(config.network, len(trained_on.bands), spectra)
    network.load_state_dict(trained_weights(checkpoint))
    network.to(device).eval()
    images = ImageTransform.from_dict(about["images"]).to(device)
    return TrainedRegression(network, images, spectra.to(device), device)


class RegressionTask:
    """The regression for the trainer: see `utils.training.trainer.Task`. Network and transforms are
    on `device`; `description` is that of the checkpoint."""

    score_name = "validation_loss"

    def __init__(
        self,
        network: ImageEncoder,
        config: RegressionConfig,
        images: ImageTransform,
        spectra: SpectrumTransform,
        survey: Survey,
        description: dict[str, Any],
        device: torch.device,
    ):
        self.network, self.objective = network, RegressionLoss(network)
        self.images, self.spectra, self.device = images, spectra, device
        self.constants, self.bands = {"about": description}, survey.bands
        rows = split_rows(survey, "validation", config.data)[:VALIDATION_GALAXIES]
        self.validation = survey.read("images", rows), survey.read("spectra", rows)

    def prepare(self, batch: dict[str, Tensor], generator: torch.Generator) -> tuple:
        """Random views of the images, and their spectra."""
        images = batch["image"].to(self.device, non_blocking=True)
        flux = batch["spectrum"].to(self.device, non_blocking=True)
        return self.images.training(images, generator), self.spectra.encode(flux)

    def _predict(self, network: nn.Module, count: int | None = None) -> np.ndarray:
        trained = TrainedRegression(network, self.images, self.spectra, self.device)
        return trained.predict(self.validation[0][:count])

    def validate(self, network: nn.Module) -> dict[str, float]:
        """The mean squared error in linear flux on the validation split."""
        error = self._predict(network) - self.validation[1]
        return {"validation_loss": float(np.mean(error.astype(np.float64) ** 2))}

    def preview(self, network: nn.Module, path: Path) -> None:
        """Predicted and true spectra of the first validation galaxies."""
        images, truth = (values[:SHOWN] for values in self.validation)
        wavelength = self.spectra.output_grid.angstrom
        predicted = self._predict(network, SHOWN)[:, None]
        save_figure(plot_preview(images, self.bands, wavelength, predicted, truth), path)
