"""From raw cutouts to ranked candidate spectra, with one trained generator or the cascade of two.

Images are encoded once. The parameter diffusion samples redshift, S/N and coefficients of P
candidates, the spectrum diffusion a spectrum for each. The spectra are decoded to linear normalised
flux and sorted, best first, by the similarity that the contrastive towers give them. In the cascade
the best K low-resolution candidates each guide P/K of the super-resolution ones, which have the
redshift and the S/N of their guide, and the coefficients of its spectrum.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
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
from models.samplers import DDIM, AdamsBashforth2, Ancestral, DPMSolverPP2M, Sampler
from utils.core.checkpoints import TrainedGenerator
from utils.core.config import SamplingConfig
from utils.core.device import uses_bfloat16
from utils.generation.candidates import Candidates
from utils.generation.conditions import (
    CONDITIONS,
    REDSHIFT,
    guide_parameters,
    image_features,
    sample_parameters,
)
from utils.generation.ranking import ranking_scores
from utils.generation.redshift_pdf import DRAWS, redshift_pdf

GUIDES = 2  # low-resolution candidates K that guide the super-resolution ones


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
        inputs = own
        for name in self.features:
            if name == "parameters":
                inputs = inputs._replace(parameters=other)
            elif name == "spectrum":
                inputs = inputs._replace(spectrum=other, images=images)
            elif name == "photometry":
                mixed = own.parameters._replace(photometry=other.photometry)
                inputs = NetworkInputs(mixed, mixed, own.images)
            else:
                mixed = other._replace(photometry=own.parameters.photometry)
                inputs = NetworkInputs(mixed, mixed, images)
        return inputs


class NetworkInputs(NamedTuple):
    """What the networks get of B images: features for the parameters and for the U-Net, and the
    raw images (B, bands, H, W) for a jointly trained encoder."""

    parameters: ImageFeatures
    spectrum: ImageFeatures
    images: Tensor


def make_sampler(config: SamplingConfig) -> Sampler:
    """The sampler that `config` names."""
    if config.sampler == "ancestral":
        return Ancestral()
    solvers = {"adams": AdamsBashforth2, "dpm": DPMSolverPP2M, "ddim": DDIM}
    return solvers[config.sampler](config.steps)


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
        precision: `float32`, `bfloat16`, or `auto` (bfloat16 where that is faster).
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
        """Refuse more steps than the schedules have, and a mean of more candidates than there are.

        Raises:
            UserError: with the option.
        """
        most = min(stage.network.schedule.steps for stage in self.stages)
        if sampling.sampler != "ancestral" and sampling.steps > most:
            raise UserError(f"--steps {sampling.steps}: the schedule allows 1 to {most}")
        if (sampling.mean_of_best or 1) > sampling.candidates:
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
        given: Tensor | None = None,
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
            given: Redshift and S/N (B, 2); NaN, or None for all, samples them.
            substitute: Other images for some of the networks; candidates are ranked by their own.
        """
        images, guides, pdf = images.to(self.device), None, (None, None)
        p_value, limit = np.full(len(keys), np.nan, np.float32), 0.0
        if given is None:
            given = torch.full((len(keys), len(CONDITIONS)), torch.nan)
        for stage in self.stages:
            features = image_features(stage.contrastive, images)
            inputs = NetworkInputs(features, features, images)
            if substitute is not None:
                inputs = substitute.apply(stage, inputs)
            if stage.novelty is not None:
                p_value, limit = stage.novelty(features).cpu().numpy(), stage.novelty.limit
            if guides is None:
                parameters, pdf = self._parameters(inputs.parameters, keys, count, seed, given)
            flux, scores = sample_stage(
                stage,
                inputs,
                stage.contrastive.vectors_of(features),
                keys,
                count,
                parameters,
                guides,
                seed=seed,
                sampler=sampler,
                guidance=self.guidance,
                rows_at_once=self.rows_at_once,
                bfloat16=self.bfloat16,
            )
            if stage is not self.last:
                guides, parameters = _guides(flux, scores, parameters)
        order = self._order(images, flux, scores).cpu()
        redshift = snr = np.full(order.shape, np.nan, np.float32)
        if parameters is not None:
            ordered = parameters.cpu().take_along_dim(order[..., None], dim=1)
            redshift, snr = ordered[..., 0].numpy(), ordered[..., 1].exp().numpy()
        return Candidates(
            flux.cpu().take_along_dim(order[..., None], dim=1).numpy(),
            scores.cpu().take_along_dim(order, dim=1).numpy(),
            order.numpy(),
            redshift,
            snr,
            self.wavelength_angstrom,
            p_value,
            p_value <= limit,
            *pdf,
        )

    def _parameters(
        self, features: ImageFeatures, keys: Sequence[str], count: int, seed: int, given: Tensor
    ) -> tuple[Tensor | None, tuple[np.ndarray | None, np.ndarray | None]]:
        """The parameters of the candidates (B, P, D), and p(z | image) with its bins' edges.

        Where a redshift is given, p(z | image) does not depend on it.
        """
        stage = self.stages[0]
        if stage.parameters is None:
            return None, (None, None)

        def sample(draws: int, conditions: Tensor) -> Tensor:
            return sample_parameters(stage, features, keys, draws, seed, conditions, self.guidance)

        free = given.clone()
        free[:, 0] = torch.nan
        draws = sample(max(count, DRAWS), free)
        pdf = redshift_pdf(draws[..., 0].cpu().numpy(), *stage.about["conditions"][REDSHIFT])
        return draws[:, :count] if given[:, 0].isnan().all() else sample(count, given), pdf

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


def _guides(
    flux: Tensor, scores: Tensor, parameters: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """The guide of every super-resolution candidate (B, P, 563), and its parameters (B, P, D).

    Each of the `GUIDES` best of the low-resolution candidates guides an equal share.
    """
    count = scores.shape[1]
    kept = best_first(scores)[:, :GUIDES]
    kept = kept[:, torch.arange(count) * kept.shape[1] // count, None]  # (B, P, 1)
    guides = flux.take_along_dim(kept, dim=1)
    return guides, None if parameters is None else parameters.take_along_dim(kept, dim=1)


@torch.no_grad()
def sample_stage(
    stage: TrainedGenerator,
    inputs: NetworkInputs,
    embedding: Tensor,
    keys: Sequence[str],
    count: int,
    parameters: Tensor | None,
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
        count: Candidates P.
        parameters: Of every candidate (B, P, D), from `sample_parameters`; for super resolution
            those of its guide.
        guides: (B, P, 563) linear flux of low-resolution spectra, for super resolution.
        seed, sampler: As in `Pipeline.generate`.
        rows_at_once, bfloat16, guidance: As in `models.generator.generate_candidates`.

    Returns:
        Linear normalised flux (B, P, n), NaN where it is not finite, and scores (B, P), -1 of a
        spectrum that the towers cannot score.
    """
    low = None
    if guides is not None:
        low = stage.spectra.encode_low(guides)  # (B, P, 1, 563)
        if parameters is not None:
            parameters = guide_parameters(stage, low, parameters[..., : len(CONDITIONS)])
    standardised = generate_candidates(
        stage.network,
        sampler,
        _tokens(stage, inputs),
        keys,
        (stage.spectra.channels, stage.spectra.length),
        count=count,
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
    return flux.where(flux.isfinite(), torch.nan), scores.nan_to_num(nan=-1.0)


def _tokens(stage: TrainedGenerator, inputs: NetworkInputs) -> Tensor:
    """Condition tokens (B, N, W): of the features, or of a jointly trained encoder."""
    condition = stage.network.condition
    if isinstance(condition, FrozenCondition):
        return condition.tokens(inputs.spectrum)
    return condition.tokens(stage.contrastive.images.evaluation(inputs.images))
