"""The regression baseline: a ResNet from image to spectrum, its task and its checkpoints."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from datasets.errors import UserError
from datasets.image_transform import ImageTransform
from datasets.spectrum_transform import SpectrumTransform
from datasets.survey import Survey
from datasets.survey_description import SurveyDescription
from models.image_encoder import ImageEncoder
from utils.core.checkpoints import read_checkpoint, trained_weights
from utils.core.config import DataConfig, OptimiserConfig, RunConfig, from_dict
from utils.plotting.plots import plot_preview, save_figure

BATCH = 256  # images at once where nothing is trained
SHOWN = 8  # galaxies of a preview


@dataclass
class EncoderConfig:
    """The network.

    Args:
        stretch: Stretch of the images.
        image_depth: Depth of the ResNet.
        image_width: Channels of its first stage (torchvision's networks have 64).
    """

    stretch: Literal["asinh", "linear"] = "asinh"
    image_depth: Literal[18, 34, 50] = 18
    image_width: int = 64


@dataclass
class RegressionConfig:
    """Spectra from images by regression.

    Args:
        data: The data.
        network: The network.
        optimiser: The optimiser.
        run: The run.
    """

    data: DataConfig = field(default_factory=lambda: DataConfig(flux="none"))
    network: EncoderConfig = field(default_factory=EncoderConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    run: RunConfig = field(default_factory=lambda: RunConfig(output="runs/regression"))


def build_regression(
    config: EncoderConfig, bands: int, transform: SpectrumTransform
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
        for start_ in range(0, len(images), BATCH):
            batch = torch.from_numpy(images[start_ : start_ + BATCH]).to(self.device)
            out = self.network(self.images.evaluation(batch)).unflatten(1, shape)
            parts.append(self.spectra.decode(out).cpu().numpy())
        return np.concatenate(parts)


def load_regression(path: str | Path, survey: Survey, device: torch.device) -> TrainedRegression:
    """A trained regression from its checkpoint.

    Raises:
        UserError: as `read_checkpoint`; or it was trained for other bands or wavelengths than the
            survey's, or not at full resolution.
    """
    checkpoint = read_checkpoint(path, "regression")
    about = checkpoint["about"]
    known = SurveyDescription.from_dict(about["survey"])
    spectra = SpectrumTransform.from_dict(about["spectra"])
    if (known.bands, known.grid) != (
        survey.bands,
        survey.grid,
    ) or spectra.representation != "polyphase":
        raise UserError(f"{path}: other bands, wavelengths or resolution than {survey.path}")
    config = from_dict(RegressionConfig, about["config"])
    network = build_regression(config.network, len(known.bands), spectra)
    network.load_state_dict(trained_weights(checkpoint))
    network.to(device).eval()
    images = ImageTransform.from_dict(about["images"]).to(device)
    return TrainedRegression(network, images, spectra.to(device), device)


class RegressionTask:
    """The regression as the engine sees it: see `utils.training.trainer.Task`."""

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
        self.description, self.bands = description, survey.bands
        rows = survey.indices("validation")[: 2 * BATCH]
        self.validation = survey.read("images", rows), survey.read("spectra", rows)

    def constants(self) -> dict[str, dict[str, Any]]:
        """What a checkpoint holds besides weights and states."""
        return {"about": self.description}

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
