"""Stage 2 as the engine sees it: what a batch becomes, the loss, validation, preview."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datasets.spectrum_transform import SpectrumTransform
from datasets.survey import Survey
from datasets.survey_dataset import SurveyDataset
from models.diffusion import Denoiser, DenoisingLoss
from utils.core.checkpoints import TrainedContrastive, TrainedGenerator
from utils.core.config import GenerativeConfig
from utils.core.device import autocast
from utils.core.survey_rows import split_rows
from utils.generation import conditions
from utils.generation.pipeline import make_sampler, sample_stage
from utils.plotting.plots import plot_preview, save_figure
from utils.training.feature_cache import FrozenFeatures
from utils.training.fit_prior import Seen, drop_conditions, fit_heads, fit_spectrum_prior

VALIDATION_GALAXIES = 500
VALIDATION_DRAWS = 4  # times and noises per validation galaxy
BATCH = 256  # galaxies at once where nothing is trained


class GenerativeTask:
    """The generative stage: see `utils.training.trainer.Task`.

    Args:
        network: The denoiser, on `device`.
        contrastive: The trained towers, on `device`.
        spectra: Transform of the spectra, on `device`.
        config: The configuration.
        survey: The survey file.
        training: The training split, for the frozen features.
        description: What the checkpoint says of itself.
        device: Where to compute.
    """

    score_name = "validation_loss"

    def __init__(
        self,
        network: Denoiser,
        contrastive: TrainedContrastive,
        spectra: SpectrumTransform,
        config: GenerativeConfig,
        survey: Survey,
        training: SurveyDataset,
        description: dict[str, Any],
        device: torch.device,
    ):
        self.network, self.contrastive, self.spectra = network, contrastive, spectra
        self.config, self.survey = config, survey
        self.description, self.device = description, device
        self.objective = DenoisingLoss(
            network, config.diffusion.augmentation_sigma, config.diffusion.image_dropout
        )
        self.features = None
        if config.diffusion.condition_views and config.diffusion.condition == "frozen":
            self.features = FrozenFeatures(
                network.condition,
                contrastive,
                training,
                config.diffusion.condition_views,
                config.run.seed,
                device,
            )
        rows = split_rows(survey, "validation", config.data)[:VALIDATION_GALAXIES]
        self.validation = {
            "image": torch.from_numpy(survey.read("images", rows)),
            "spectrum": torch.from_numpy(survey.read("spectra", rows)),
            "index": torch.from_numpy(rows),
        }
        self.known, self.heads = None, {}
        if network.prior is not None:
            seen = Seen.of(contrastive, survey, training.rows, rows, config.run.seed, device)
            names = description["known"]
            self.known = fit_spectrum_prior(network.prior, spectra, seen, training.rows, names)
            self.heads = fit_heads(names, seen)

    def constants(self) -> dict[str, dict[str, Any]]:
        """What a checkpoint holds besides weights and states: its description, and the towers."""
        towers = {
            "about": self.contrastive.about,
            "weights": self.contrastive.network.state_dict(),
        }
        heads = {name: head.state_dict() for name, head in self.heads.items()}
        return {"about": self.description, "contrastive": towers, "heads": heads}

    def prepare(self, batch: dict[str, Tensor], generator: torch.Generator) -> tuple:
        """Standardised spectra, the condition's features of a random view, the generator, and
        for super resolution the low-resolution spectra."""
        flux = batch["spectrum"].to(self.device, non_blocking=True)
        if self.features is not None:
            features = self.features(batch["index"], generator)
        else:
            images = batch["image"].to(self.device, non_blocking=True)
            views = self.contrastive.images.training(images, generator)
            with autocast(self.device, self.config.run.precision):  # the frozen encoder
                features = self.network.condition.features(views)
        told = self._known(batch["index"])
        told = None if told is None else drop_conditions(told, generator)
        return self.spectra.encode(flux), features, generator, self._low(flux), None, told

    def _low(self, flux: Tensor) -> Tensor | None:
        return self.spectra.encode_low(flux) if self.spectra.representation == "super" else None

    def _known(self, rows: Tensor) -> Tensor | None:
        """What is known (B, 2 + E) of the survey's rows, for a network that is told."""
        return None if self.known is None else self.known[rows.cpu()].to(self.device)

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
            features = network.condition.features(images)
            clean, low = self.spectra.encode(part["spectrum"]), self._low(part["spectrum"])
            told = self._known(part["index"])
            for _ in range(VALIDATION_DRAWS):
                mean = loss(clean, features, generator, low, None, told).item()
                total += mean * len(clean)
        return {"validation_loss": total / (count * VALIDATION_DRAWS)}

    def preview(self, network: Denoiser, path: Path) -> None:
        """Generated and true spectra of the first validation galaxies."""
        shown = self.config.sampling.preview_galaxies
        images, truth = (self.validation[k][:shown] for k in ("image", "spectrum"))
        figure = plot_preview(
            images.numpy(),
            self.contrastive.survey.bands,
            self.spectra.output_grid.angstrom,
            self._candidates(network, images, truth),
            self._shown_truth(truth),
        )
        save_figure(figure, path)

    def _candidates(self, network: Denoiser, images: Tensor, truth: Tensor) -> np.ndarray:
        network.eval()
        trained = TrainedGenerator(
            network, self.spectra, self.contrastive, self.config, self.description, self.heads
        )
        low = None
        if self.spectra.representation == "super":
            low = truth.to(self.device)[:, None, ::8]
        keys = [f"preview {number}" for number in range(len(images))]
        count, seed = self.config.sampling.candidates, self.config.run.seed
        images = images.to(self.device)
        pdfs = conditions.log_probabilities(trained, images)
        flux, _ = sample_stage(
            trained,
            images,
            keys,
            low,
            conditions.sample_conditions(trained, pdfs, keys, count, seed, {}),
            count=count,
            seed=seed,
            sampler=make_sampler(self.config.sampling),
            guidance=self.config.sampling.guidance,
        )
        return flux.cpu().numpy()

    def _shown_truth(self, truth: Tensor) -> np.ndarray:
        return self.spectra.decode(self.spectra.encode(truth.to(self.device))).cpu().numpy()
