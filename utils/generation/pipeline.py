"""From raw cutouts to ranked candidate spectra, with one trained generator or the cascade of two.

Every stage encodes the images once, samples P candidates, decodes them to linear normalised flux
and sorts them, best first, by the similarity that its own contrastive towers give them. In the
cascade the best K low-resolution candidates each guide P/K of the super-resolution ones, which have
the redshift, the S/N and the coefficients of their guide.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from datasets.errors import UserError
from datasets.photometry import has_colours, image_colours
from datasets.survey_description import SurveyDescription
from datasets.synthetic_photometry import synthetic_colours
from models.conditioning import FrozenCondition, ImageFeatures
from models.contrastive import best_first
from models.generator import generate_candidates, score_candidates
from models.samplers import DDIM, Ancestral, DPMSolverPP2M, Sampler
from utils.core.checkpoints import TrainedGenerator
from utils.core.config import SamplingConfig
from utils.core.device import uses_bfloat16
from utils.generation.conditions import (
    REDSHIFT,
    guide_parameters,
    image_features,
    log_probabilities,
    sample_conditions,
    sample_parameters,
)
from utils.generation.ranking import ranking_scores

GUIDES = 2  # low-resolution candidates K that guide the super-resolution ones


@dataclass(frozen=True)
class Candidates:
    """Candidate spectra of B galaxies, best first.

    Args:
        flux: (B, P, n) float32, linear, divided by the normalisation.
        scores: (B, P) float32, cosine similarity to the image.
        numbers: (B, P) int64, the numbers by which the candidates were sampled, 0 to P - 1: with
            the seed and the galaxy's key they identify a candidate.
        redshift, snr: (B, P) float32, the conditions of each candidate; NaN where unconditional.
        wavelength_angstrom: (n,) float64, vacuum, observed frame.
        redshift_pdf: (B, bins) float32, probability of each bin given the image, or None.
        redshift_edges: (bins + 1,) float32, or None.
    """

    flux: np.ndarray
    scores: np.ndarray
    numbers: np.ndarray
    redshift: np.ndarray
    snr: np.ndarray
    wavelength_angstrom: np.ndarray
    redshift_pdf: np.ndarray | None
    redshift_edges: np.ndarray | None

    def redshift_pdf_of(self, number: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Edges (bins + 1,) and probabilities (bins,) of one galaxy, or None."""
        if self.redshift_pdf is None:
            return None
        return self.redshift_edges, self.redshift_pdf[number]


@dataclass(frozen=True)
class Substitute:
    """Features of other images for some of the networks, to see what they contribute.

    Args:
        images: (B, bands, H, W) raw images of other galaxies.
        features: whose features are theirs: of the `parameters` (redshift, S/N, coefficients), of
            the U-Net (`spectrum`), or, for all networks, `photometry` or `tower`.
    """

    images: Tensor
    features: Sequence[str]

    def apply(self, stage: TrainedGenerator, own: NetworkInputs) -> NetworkInputs:
        """The inputs with those of the other images in their places."""
        images = self.images.to(own.images.device)
        other = image_features(stage.contrastive, images)
        parameters, spectrum = own.parameters, own.spectrum
        if "photometry" in self.features:
            parameters = parameters._replace(photometry=other.photometry)
        if "tower" in self.features:
            parameters = other._replace(photometry=own.parameters.photometry)
        if "parameters" in self.features:
            parameters = other
        if {"spectrum", "tower"} & set(self.features):
            return NetworkInputs(parameters, other, images)
        return NetworkInputs(parameters, spectrum, own.images)


class NetworkInputs(NamedTuple):
    """What the networks get of B images: features for the parameters and for the U-Net, and the
    raw images (B, bands, H, W) for a jointly trained encoder."""

    parameters: ImageFeatures
    spectrum: ImageFeatures
    images: Tensor


def make_sampler(config: SamplingConfig) -> Sampler:
    """The sampler that `config` names."""
    if config.sampler == "dpm":
        return DPMSolverPP2M(config.steps)
    return DDIM(config.steps) if config.sampler == "ddim" else Ancestral()


def sampling_of(default: SamplingConfig, options: argparse.Namespace) -> SamplingConfig:
    """The checkpoint's sampling, with the options that a command line sets instead."""
    names = ("sampler", "steps", "candidates", "mean_of_best", "guidance")
    given = {name: getattr(options, name, None) for name in names}
    return replace(default, **{name: v for name, v in given.items() if v is not None})


def check_ranking(rank: str, survey: SurveyDescription) -> None:
    """Refuse a ranking by colour of images without calibrated g, r and i.

    Raises:
        UserError: such a ranking.
    """
    if rank != "contrastive" and not has_colours(survey):
        raise UserError(f"--rank {rank}: needs images with calibrated bands g, r and i")


class Pipeline:
    """One trained generator, or a low- and a super-resolution one in cascade.

    Args:
        stages: One generator of representation `polyphase`, `low` or `native`, or a `low` and a
            `super` one.
        device: Where to compute.
        precision: `float32`, `bfloat16`, or `auto` (bfloat16 where the hardware has it).
        rows_at_once: Candidates that go through the network together; sets the memory needed.
        rank: What the last stage's candidates are sorted by: see `utils.generation.ranking`.
        guidance: Weight of the image: as in `models.generator.generate_candidates`.

    Raises:
        UserError: stages that do not fit together, or cannot generate by themselves; a ranking by
            colour of images without calibrated g, r and i; or guidance of a network that was
            trained without image dropout.
    """

    def __init__(
        self,
        stages: Sequence[TrainedGenerator],
        device: torch.device,
        precision: str = "float32",
        rows_at_once: int = 64,
        rank: str = "contrastive",
        guidance: float = 1.0,
    ):
        representations = [stage.spectra.representation for stage in stages]
        if representations not in (["polyphase"], ["low"], ["native"], ["low", "super"]):
            raise UserError(
                f"checkpoints of representation {' + '.join(representations)}: give one of "
                "`polyphase`, `low` or `native`, or a `low` one and then a `super` one"
            )
        first, last = stages[0].contrastive.survey, stages[-1].contrastive.survey
        if (first.bands, first.pixel_scale_arcsec) != (last.bands, last.pixel_scale_arcsec):
            raise UserError(
                "the two checkpoints were trained on images of different bands or scale: give two "
                "of the same survey"
            )
        check_ranking(rank, last)
        if guidance != 1.0 and not all(s.config.diffusion.image_dropout for s in stages):
            raise UserError(
                f"guidance {guidance:g}: needs a network trained with --diffusion.image_dropout"
            )
        self.stages = [stage.to(device) for stage in stages]
        self.device, self.bfloat16 = device, uses_bfloat16(precision, device)
        self.rows_at_once, self.rank, self.guidance = rows_at_once, rank, guidance

    @property
    def last(self) -> TrainedGenerator:
        """The stage whose spectra come out."""
        return self.stages[-1]

    @property
    def wavelength_angstrom(self) -> np.ndarray:
        """(n,) float64 vacuum wavelengths of what comes out."""
        return self.last.spectra.output_grid.angstrom

    def check(self, sampling: SamplingConfig) -> None:
        """Refuse numbers of steps and candidates that cannot be.

        Raises:
            UserError: with the option.
        """
        most = min(stage.network.schedule.steps for stage in self.stages)
        if sampling.sampler != "ancestral" and not 1 <= sampling.steps <= most:
            raise UserError(f"--steps {sampling.steps}: the schedule allows 1 to {most}")
        if sampling.candidates < 1:
            raise UserError(f"--candidates {sampling.candidates}: at least 1 is needed")
        if not 1 <= (sampling.mean_of_best or sampling.candidates) <= sampling.candidates:
            raise UserError(
                f"the mean of the best {sampling.mean_of_best} of {sampling.candidates} "
                "candidates: give another --mean-of-best, or more --candidates"
            )

    def generate(
        self,
        images: Tensor,
        keys: Sequence[str],
        *,
        count: int,
        seed: int,
        sampler: Sampler,
        given: Mapping[str, Tensor] | None = None,
        substitute: Substitute | None = None,
    ) -> Candidates:
        """Sample and rank candidates.

        Args:
            images: (B, bands, H, W) raw images in the survey's unit.
            keys: One string per galaxy; its random numbers depend on it, so that its spectra do
                not depend on the batch.
            count: Candidates P per galaxy.
            seed: Seed of the run.
            sampler: How to sample.
            given: Conditions (B,) by name ("redshift", "snr"); NaN, or no entry, samples them from
                the image, if the network was trained for it; `conditions.UNCONDITIONAL` leaves
                them out.
            substitute: Other images for some of the networks; candidates are ranked by their own.
        """
        images, first, guides = images.to(self.device), self.stages[0], None
        for stage in self.stages:
            features = image_features(stage.contrastive, images)
            inputs = NetworkInputs(features, features, images)
            if substitute is not None:
                inputs = substitute.apply(stage, inputs)
            if stage is first:
                log_pdfs = log_probabilities(stage, inputs.parameters)
                conditions = sample_conditions(stage, log_pdfs, keys, count, seed, given or {})
            flux, scores = sample_stage(
                stage,
                inputs,
                features.embedding,
                keys,
                conditions,
                guides,
                seed=seed,
                sampler=sampler,
                guidance=self.guidance,
                rows_at_once=self.rows_at_once,
                bfloat16=self.bfloat16,
            )
            if stage is not self.last:
                guides, conditions = _guides(flux, scores, conditions)
        order = self._order(images, flux, scores).cpu()
        return Candidates(
            flux.cpu().take_along_dim(order[..., None], dim=1).numpy(),
            scores.cpu().take_along_dim(order, dim=1).numpy(),
            order.numpy(),
            *conditions.take_along_dim(order[..., None], dim=1).permute(2, 0, 1).numpy(),
            self.wavelength_angstrom,
            *_redshift_pdf(first, log_pdfs),
        )

    def _order(self, images: Tensor, flux: Tensor, scores: Tensor) -> Tensor:
        """Candidate numbers (B, P), best first, by `rank`."""
        if self.rank == "contrastive":
            return best_first(scores)
        towers = self.last.contrastive
        colours = image_colours(images.cpu().numpy(), towers.survey)[:, None]
        differences = synthetic_colours(self.wavelength_angstrom, flux.cpu().numpy()) - colours
        temperature = towers.config.towers.temperature
        ranking = ranking_scores(self.rank, scores.cpu().numpy(), differences, temperature)
        return best_first(torch.from_numpy(ranking))


def _guides(flux: Tensor, scores: Tensor, conditions: Tensor) -> tuple[Tensor, Tensor]:
    """The guide of every super-resolution candidate (B, P, 563), and its conditions (B, P, 2).

    Each of the `GUIDES` best of the low-resolution candidates guides an equal share.
    """
    count = scores.shape[1]
    kept = best_first(scores)[:, :GUIDES]
    kept = kept[:, torch.arange(count) * kept.shape[1] // count]  # (B, P)
    guides = flux.take_along_dim(kept[..., None], dim=1)
    return guides, conditions.take_along_dim(kept[..., None].cpu(), dim=1)


def _redshift_pdf(
    stage: TrainedGenerator, log_pdfs: Mapping[str, Tensor]
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Probabilities (B, bins) and edges (bins + 1,) of the redshift."""
    if REDSHIFT not in log_pdfs:
        return None, None
    edges = stage.heads[REDSHIFT].edges
    return log_pdfs[REDSHIFT].exp().cpu().numpy(), edges.cpu().numpy()


@torch.no_grad()
def sample_stage(
    stage: TrainedGenerator,
    inputs: NetworkInputs,
    embedding: Tensor,
    keys: Sequence[str],
    conditions: Tensor,
    guides: Tensor | None = None,
    *,
    seed: int,
    sampler: Sampler,
    rows_at_once: int = 64,
    bfloat16: bool = False,
    guidance: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Candidates of one stage in the order of their numbers, and their scores.

    Args:
        stage: The trained networks, on the device of the images.
        inputs: Of the networks, with features from `image_features` of the stage's towers.
        embedding: (B, D) of the images, by which candidates are scored.
        keys: One string per galaxy.
        conditions: Redshift and S/N of every candidate (B, P, 2), from `sample_conditions`.
        guides: (B, P, 563) linear flux of low-resolution spectra, for super resolution.
        seed, sampler: As in `Pipeline.generate`.
        rows_at_once, bfloat16, guidance: As in `models.generator.generate_candidates`.

    Returns:
        Linear normalised flux (B, P, n) and scores (B, P).
    """
    if guides is None:
        low = None
        parameters = sample_parameters(stage, inputs.parameters, keys, conditions, seed)
    else:
        low = stage.spectra.encode_low(guides)  # (B, P, 1, 563)
        parameters = guide_parameters(stage, low, conditions)
    standardised = generate_candidates(
        stage.network,
        sampler,
        _tokens(stage, inputs),
        keys,
        (stage.spectra.channels, stage.spectra.length),
        count=conditions.shape[1],
        seed=seed,
        purpose=stage.spectra.representation,
        low=low,
        parameters=parameters,
        guidance=guidance,
        rows_at_once=rows_at_once,
        bfloat16=bfloat16,
    )
    flux = stage.spectra.decode(standardised).float()  # (B, P, n)
    towers = stage.contrastive
    scores = score_candidates(towers.network, embedding, towers.spectra.encode(flux))
    return flux, scores


def _tokens(stage: TrainedGenerator, inputs: NetworkInputs) -> Tensor:
    """Condition tokens (B, N, W): of the features, or of a jointly trained encoder."""
    condition = stage.network.condition
    if isinstance(condition, FrozenCondition):
        return condition.tokens(inputs.spectrum)
    return stage.network.encode(stage.contrastive.images.evaluation(inputs.images))
