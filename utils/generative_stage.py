"""Stage 2 as the engine sees it: what a batch becomes, the loss, validation, preview."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from datasets.survey import Survey
from datasets.survey_dataset import SurveyDataset
from datasets.transforms import SpectrumTransform
from models.condition import FrozenCondition
from models.diffusion import Denoiser, DenoisingLoss
from models.redshift import (
    COMPONENT_GALAXIES,
    RedshiftHead,
    fit_head,
    fit_templates,
    image_features,
)
from utils.config import GenerativeConfig
from utils.generation import draw_redshifts, make_sampler, redshift_pdf, sample_stage
from utils.launch import split_rows
from utils.networks import TrainedContrastive, TrainedGenerator
from utils.plotting import plot_preview, save_figure

VALIDATION_GALAXIES = 500
VALIDATION_DRAWS = 4  # times and noises per validation galaxy
HIDDEN_REDSHIFTS = 0.1  # of the training galaxies, so that the network also does without
HEAD_GALAXIES = 20_000  # training images that p(z | image) is fitted to
BATCH = 256  # galaxies at once where nothing is trained


class FrozenFeatures:
    """Features of augmented views of all training images, computed once.

    The frozen tower gives the same features for the same view at every epoch; computing them for a
    few views ahead of the training saves its whole forward pass. Held in half precision.

    Args:
        condition: The frozen condition, on its device.
        towers: Gives the image transform.
        dataset: The training split.
        views: Augmented views V per image.
        seed: Seed of the augmentation.
        device: Where to compute.
    """

    def __init__(
        self,
        condition: FrozenCondition,
        towers: TrainedContrastive,
        dataset: SurveyDataset,
        views: int,
        seed: int,
        device: torch.device,
    ):
        self.device = device
        self.views = views
        self.position = {int(row): number for number, row in enumerate(dataset.rows)}
        generator = torch.Generator(device).manual_seed(seed)
        parts: list[tuple[Tensor, Tensor]] = []
        starts = range(0, len(dataset), BATCH)
        for start in tqdm(starts, desc="encoding images", unit="batch", disable=None):
            rows = range(start, min(start + BATCH, len(dataset)))
            items = dataset.__getitems__(list(rows))
            images = torch.stack([item["image"] for item in items]).to(device)
            views_of = [
                condition.features(towers.images.training(images, generator)) for _ in range(views)
            ]
            parts.append(tuple(torch.stack(f, dim=1).half() for f in zip(*views_of, strict=True)))
        self.tensors = tuple(torch.cat(part) for part in zip(*parts, strict=True))

    def __call__(self, rows: Tensor, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Features of one random view of each of the survey's `rows` (B,)."""
        position = torch.tensor([self.position[row] for row in rows.tolist()], device=self.device)
        view = torch.randint(
            self.views, position.shape, generator=generator, device=generator.device
        )
        return tuple(tensor[position, view].float() for tensor in self.tensors)


class GenerativeTask:
    """The generative stage: see `utils.engine.Task`.

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
        self.objective = DenoisingLoss(network, config.diffusion.low_noise)
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
        self.redshifts = self.head = None
        if network.takes_redshift:
            self.redshifts = torch.from_numpy(survey.catalogue["z"]).float()
            if network.guide is not None:
                self._fit_templates(training)
            self.head = self._fit_head(training)

    def _fit_templates(self, training: SurveyDataset) -> None:
        """Fill the network's guide with the rest-frame templates of the training spectra."""
        guide, rows = self.network.guide, np.sort(training.rows)[:COMPONENT_GALAXIES]
        flux = torch.from_numpy(self.survey.read("spectra", rows)).to(self.device)
        spectra = self.spectra.in_order(self.spectra.encode(flux)).cpu()
        log_wavelength = torch.from_numpy(np.log10(self.spectra.output_grid.angstrom))
        templates = fit_templates(
            spectra,
            self.redshifts[rows],
            log_wavelength,
            guide.rest_start.item(),
            guide.templates.shape[1],
            len(guide.templates),
        )
        guide.templates.copy_(templates)

    def _fit_head(self, training: SurveyDataset) -> RedshiftHead:
        """p(z | image), from views of the training images, calibrated on the validation split."""
        seed = self.config.run.seed
        generator = torch.Generator(self.device).manual_seed(seed)
        encoder, towers = self.contrastive.network.image_encoder, self.contrastive
        seen = []
        rows = training.rows[:HEAD_GALAXIES]
        for start in tqdm(range(0, len(rows), BATCH), desc="redshifts", disable=None):
            images = torch.from_numpy(self.survey.read("images", rows[start : start + BATCH]))
            views = towers.images.training(images.to(self.device), generator)
            seen.append(image_features(encoder, views))
        images = self.validation["image"].to(self.device)
        unseen = image_features(encoder, towers.images.evaluation(images))
        return fit_head(
            (torch.cat(seen), self.redshifts[rows].to(self.device)),
            (unseen, self._redshift(self.validation["index"])),
            seed,
        )

    def constants(self) -> dict[str, dict[str, Any]]:
        """What a checkpoint holds besides weights and states: its description, and the towers."""
        towers = {
            "about": self.contrastive.about,
            "weights": self.contrastive.network.state_dict(),
        }
        head = {} if self.head is None else {"head": self.head.state_dict()}
        return {"about": self.description, "contrastive": towers, **head}

    def prepare(self, batch: dict[str, Tensor], generator: torch.Generator) -> tuple:
        """Standardised spectra, the condition's features of a random view, the generator, and
        for super resolution the low-resolution spectra."""
        flux = batch["spectrum"].to(self.device, non_blocking=True)
        if self.features is not None:
            features = self.features(batch["index"], generator)
        else:
            images = batch["image"].to(self.device, non_blocking=True)
            views = self.contrastive.images.training(images, generator)
            features = self.network.condition.features(views)
        redshift = self._redshift(batch["index"], generator)
        clean, weights = self._encode(flux, redshift)
        return clean, features, generator, self._low(flux), weights, redshift

    def _encode(self, flux: Tensor, redshift: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """What the network is to generate (B, C, L), and the weights of its pixels."""
        clean, rest = self.spectra.encode(flux), self.network.rest
        if rest is None:
            return clean, None
        shifted = rest.to_rest(self.spectra.in_order(clean), redshift)
        return self.spectra.arrange(shifted), rest.coverage(redshift)

    def _low(self, flux: Tensor) -> Tensor | None:
        return self.spectra.encode_low(flux) if self.spectra.resolution == "super" else None

    def _redshift(self, rows: Tensor, generator: torch.Generator | None = None) -> Tensor | None:
        """Catalogue redshifts (B,) of the survey's rows; with a generator, some are hidden."""
        if self.redshifts is None:
            return None
        redshift = self.redshifts[rows].to(self.device)
        if generator is None or self.network.rest is not None:
            return redshift
        share = torch.rand(redshift.shape, generator=generator, device=generator.device)
        return torch.where(share.to(self.device) < HIDDEN_REDSHIFTS, torch.nan, redshift)

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
            redshift = self._redshift(part["index"].cpu())
            clean, weights = self._encode(part["spectrum"], redshift)
            low = self._low(part["spectrum"])
            for _ in range(VALIDATION_DRAWS):
                mean = loss(clean, features, generator, low, weights, redshift).item()
                total += mean * len(clean)
        return {"validation_loss": total / (count * VALIDATION_DRAWS)}

    def preview(self, network: Denoiser, path: Path) -> None:
        """Generated and true spectra of the first validation galaxies."""
        shown = self.config.sampling.galaxies
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
            network, self.spectra, self.contrastive, self.config, self.description, self.head
        )
        low = None
        if self.spectra.resolution == "super":
            low = truth.to(self.device)[:, None, ::8]
        keys = [f"preview {number}" for number in range(len(images))]
        count, seed = self.config.sampling.candidates, self.config.run.seed
        images = images.to(self.device)
        pdf = redshift_pdf(trained, images)
        flux, _ = sample_stage(
            trained,
            images,
            keys,
            low,
            draw_redshifts(trained, pdf, keys, count, seed, None),
            count=count,
            seed=seed,
            sampler=make_sampler(self.config.sampling),
        )
        return flux.cpu().numpy()

    def _shown_truth(self, truth: Tensor) -> np.ndarray:
        return self.spectra.decode(self.spectra.encode(truth.to(self.device))).cpu().numpy()
