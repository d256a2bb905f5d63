"""Stage 1 for the trainer: inputs and loss of a batch, validation, preview."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from datasets.image_transform import ImageTransform
from datasets.photometry import photometric_features, photometry_count
from datasets.spectrum_transform import SpectrumTransform
from datasets.survey import Survey
from models.contrastive import ContrastiveModel, add_noise, nt_xent
from utils.core.config import ContrastiveConfig
from utils.core.retrieval import (
    POOL,
    embed_images,
    embed_spectra,
    retrieval_metrics,
    validation_pool,
)
from utils.plotting.plots import plot_retrieval, save_figure

SHOWN_QUERIES = 6  # spectra of a preview
SHOWN_MATCHES = 5  # images shown for each, the most similar ones


class ContrastiveObjective(nn.Module):
    """The NT-Xent loss of a batch of pairs."""

    def __init__(self, network: ContrastiveModel, temperature: float):
        super().__init__()
        self.network, self.temperature = network, temperature

    def forward(self, images: Tensor, spectra: Tensor, photometry: Tensor | None = None) -> Tensor:
        """The loss of images (B, bands, H, W), their spectra (B, C, L) and photometry (B, m)."""
        return nt_xent(*self.network(images, spectra, photometry), self.temperature)


class ContrastiveTask:
    """The contrastive stage: see `utils.training.trainer.Task`. Networks and transforms are on
    `device`; `description` is that of the checkpoint."""

    score_name = "validation_loss"

    def __init__(
        self,
        network: ContrastiveModel,
        config: ContrastiveConfig,
        images: ImageTransform,
        spectra: SpectrumTransform,
        survey: Survey,
        description: dict[str, Any],
        device: torch.device,
    ):
        self.network, self.images, self.spectra = network, images, spectra
        self.objective = ContrastiveObjective(network, config.towers.temperature)
        self.noise = config.towers.noise
        self.smoothing_px = survey.preparation.smoothing_sigma_angstrom / survey.grid.step
        self.temperature = config.towers.temperature
        self.constants, self.device = {"about": description}, device
        self.bands, self.pixel_scale = survey.bands, survey.pixel_scale_arcsec
        self.wavelength = survey.grid.angstrom
        self.photometry = torch.full((len(survey), photometry_count(len(self.bands))), torch.nan)
        self.pool = validation_pool(survey, "validation", POOL, config.data)

    def prepare(self, batch: dict[str, Tensor], generator: torch.Generator) -> tuple:
        """Random views of the images, and noisier spectra."""
        images = batch["image"].to(self.device, non_blocking=True)
        flux = batch["spectrum"].to(self.device, non_blocking=True)
        flux = add_noise(flux, generator, self.noise, self.smoothing_px)
        photometry = None
        if self.network.photometry_encoder is not None:
            photometry = self._photometry(images, batch["index"])
        return self.images.training(images, generator), self.spectra.encode(flux), photometry

    def _photometry(self, images: Tensor, rows: Tensor) -> Tensor:
        """Photometry (B, m) of raw images, computed when a row of the survey is first seen."""
        new = self.photometry[rows, 0].isnan().nonzero()[:, 0]
        if len(new) > 0:
            numbers = photometric_features(images[new], self.pixel_scale)
            self.photometry[rows[new]] = numbers.float().cpu()
        return self.photometry[rows].to(self.device, non_blocking=True)

    def validate(self, network: ContrastiveModel) -> dict[str, float]:
        """Loss and recalls on a fixed pool of the validation split."""
        images, spectra, swapped = self._embed(network)
        loss = nt_xent(images, swapped, self.temperature, gather=False)
        return {"validation_loss": loss.item(), **retrieval_metrics(images, spectra, swapped)}

    def _embed(self, network: ContrastiveModel) -> tuple[Tensor, Tensor, Tensor]:
        return (
            embed_images(network, self.images, self.pool["images"], self.pixel_scale),
            embed_spectra(network, self.spectra, self.pool["flux"]),
            embed_spectra(network, self.spectra, self.pool["swapped"]),
        )

    def preview(self, network: ContrastiveModel, path: Path) -> None:
        """For some spectra, the images that the network finds most similar."""
        images, spectra, _ = self._embed(network)
        queries = np.linspace(0, len(spectra) - 1, SHOWN_QUERIES).astype(int)
        shown = min(SHOWN_MATCHES, len(images))
        matches = (spectra[queries] @ images.T).topk(shown).indices.numpy()
        figure = plot_retrieval(
            self.wavelength,
            self.pool["flux"].numpy()[queries],
            self.pool["images"].numpy(),
            matches,
            queries,
            self.bands,
        )
        save_figure(figure, path)
