"""From raw cutouts to ranked candidate spectra, with one trained generator or the cascade of two.

For every stage: standardise and encode the images once, draw P candidates, decode them to linear
normalised flux, and score them with the stage's own contrastive towers. In the cascade the best K
low-resolution candidates each guide P/K of the super-resolution ones.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from datasets.errors import UserError
from datasets.photometry import has_colours, image_colours
from datasets.synthetic_photometry import synthetic_colours
from models.contrastive import best_first
from models.generator import generate_candidates, score_candidates
from models.samplers import DDIM, Ancestral, DPMSolverPP2M, Sampler
from utils.core.checkpoints import TrainedGenerator
from utils.core.config import SamplingConfig
from utils.core.device import uses_bfloat16
from utils.generation import conditions
from utils.generation.ranking import ranking_scores

Progress = Callable[[], object]


@dataclass(frozen=True)
class Candidates:
    """Candidate spectra of B galaxies.

    Args:
        flux: (B, P, n) float32, linear, divided by the normalisation.
        scores: (B, P) float32, cosine similarity to the image.
        order: (B, P) int64, candidate numbers, best first.
        wavelength_angstrom: (n,) float64, vacuum, observed frame.
        redshift, snr: (B, P) float32 that each candidate was drawn for; NaN where left free.
        redshift_pdf: (B, bins) float32, probability of each bin given the image, or None.
        redshift_edges: (bins + 1,) float32, or None.
    """

    flux: np.ndarray
    scores: np.ndarray
    order: np.ndarray
    wavelength_angstrom: np.ndarray
    redshift: np.ndarray
    snr: np.ndarray
    redshift_pdf: np.ndarray | None
    redshift_edges: np.ndarray | None

    def redshift_pdf_of(self, number: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Edges (bins + 1,) and probabilities (bins,) of one galaxy, or None."""
        if self.redshift_pdf is None:
            return None
        return self.redshift_edges, self.redshift_pdf[number]


def make_sampler(config: SamplingConfig) -> Sampler:
    """The sampler that `config` names."""
    if config.sampler == "dpm":
        return DPMSolverPP2M(config.steps)
    return DDIM(config.steps) if config.sampler == "ddim" else Ancestral()


def sampling_of(default: SamplingConfig, options: argparse.Namespace) -> SamplingConfig:
    """The checkpoint's sampling with what a command line says instead."""
    names = ("sampler", "steps", "candidates", "mean_of_best", "guidance")
    given = {name: getattr(options, name, None) for name in names}
    return replace(default, **{name: v for name, v in given.items() if v is not None})


class Pipeline:
    """One trained generator, or a low- and a super-resolution one in cascade.

    Args:
        stages: One generator of representation `polyphase`, `low` or `native`, or a `low` and a
            `super` one.
        device: Where to compute.
        precision: `float32`, `bfloat16`, or `auto` (bfloat16 where the hardware has it).
        rows_at_once: Candidates that go through the network together; sets the memory needed.
        kept_low: Low-resolution candidates K that guide the super-resolution ones.
        rank: What the last stage's candidates are sorted by: see `utils.generation.ranking`.
        guidance: Weight of the image: as in `models.generator.generate_candidates`.

    Raises:
        UserError: stages that do not fit together, or cannot generate by themselves; a ranking by
            colour of images without calibrated g, r and i; or guidance of a network that never
            did without images.
    """

    def __init__(
        self,
        stages: Sequence[TrainedGenerator],
        device: torch.device,
        precision: str = "float32",
        rows_at_once: int = 64,
        kept_low: int = 2,
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
                "the two checkpoints were trained on images of different bands or scale"
            )
        self.stages = [stage.to(device) for stage in stages]
        self.device, self.bfloat16 = device, uses_bfloat16(precision, device)
        self.rows_at_once, self.kept_low, self.rank = rows_at_once, kept_low, rank
        if rank != "contrastive" and not has_colours(last):
            raise UserError(f"--rank {rank}: needs images with calibrated bands g, r and i")
        if guidance != 1.0 and not all(s.config.diffusion.image_dropout for s in stages):
            raise UserError(
                f"guidance {guidance:g}: needs a network trained with --diffusion.image_dropout"
            )
        self.guidance = guidance

    @property
    def last(self) -> TrainedGenerator:
        """The stage whose spectra come out."""
        return self.stages[-1]

    @property
    def wavelength_angstrom(self) -> np.ndarray:
        """(n,) float64 vacuum wavelengths of what comes out."""
        return self.last.spectra.output_grid.angstrom

    def generate(
        self,
        images: Tensor,
        keys: Sequence[str],
        *,
        count: int,
        seed: int,
        sampler: Sampler,
        given: Mapping[str, Tensor] | None = None,
        progress: Progress | None = None,
    ) -> Candidates:
        """Draw and rank candidates.

        Args:
            images: (B, bands, H, W) raw images in the survey's unit.
            keys: One string per galaxy; it seeds the galaxy's noise, so that its spectra do not
                depend on the batch.
            count: Candidates P per galaxy.
            seed: Seed of the noise.
            sampler: How to sample.
            given: What is known, values (B,) by name ("redshift", "snr"); NaN, or no entry, draws
                them from the image, if the network was trained for it; `conditions.UNCONDITIONAL`
                leaves them free.
            progress: Called after every step of the sampler.
        """
        low, first = None, self.stages[0]
        images = images.to(self.device)
        pdfs = conditions.log_probabilities(first, images)
        drawn = conditions.sample_conditions(first, pdfs, keys, count, seed, given or {})
        for stage in self.stages:
            flux, scores = sample_stage(
                stage,
                images,
                keys,
                low,
                drawn,
                count=count,
                seed=seed,
                sampler=sampler,
                rows_at_once=self.rows_at_once,
                bfloat16=self.bfloat16,
                guidance=self.guidance,
                progress=progress,
            )
            order = best_first(scores)
            if stage is not self.last:
                # every kept candidate guides an equal share of the next stage's, at its redshift
                # and S/N
                kept = order[:, : self.kept_low]
                low = torch.take_along_dim(flux, kept[..., None], dim=1)
                guides = torch.arange(count) * kept.shape[1] // count
                drawn = torch.take_along_dim(drawn, kept.cpu()[..., None], dim=1)[:, guides]
        return Candidates(
            flux.float().cpu().numpy(),
            scores.cpu().numpy(),
            self._order(images, flux, scores).cpu().numpy(),
            self.wavelength_angstrom,
            *drawn.numpy().transpose(2, 0, 1),
            *_redshift_pdf(first, pdfs),
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


def _redshift_pdf(
    stage: TrainedGenerator, pdfs: Mapping[str, Tensor]
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Probabilities (B, bins) and edges (bins + 1,) of the redshift."""
    if conditions.REDSHIFT not in pdfs:
        return None, None
    edges = stage.heads[conditions.REDSHIFT].edges
    return pdfs[conditions.REDSHIFT].exp().cpu().numpy(), edges.cpu().numpy()


@torch.no_grad()
def sample_stage(
    stage: TrainedGenerator,
    images: Tensor,
    keys: Sequence[str],
    low: Tensor | None,
    told: Tensor,
    *,
    count: int,
    seed: int,
    sampler: Sampler,
    rows_at_once: int = 64,
    bfloat16: bool = False,
    guidance: float = 1.0,
    progress: Progress | None = None,
) -> tuple[Tensor, Tensor]:
    """Candidates of one stage, and their scores.

    Args:
        stage: The trained networks, on the device of `images`.
        images: (B, bands, H, W) raw images.
        keys: One string per galaxy.
        low: (B, K, 563) linear flux of the low-resolution candidates, for super resolution.
        told: Redshifts and S/N (B, P, 2), from `conditions.sample_conditions`.
        count, seed, sampler, progress: As in `Pipeline.generate`.
        rows_at_once, bfloat16, guidance: As in `models.generator.generate_candidates`.

    Returns:
        Linear normalised flux (B, P, n) and scores (B, P).
    """
    towers = stage.contrastive
    standardised = towers.images.evaluation(images)
    drawn = generate_candidates(
        stage.network,
        sampler,
        standardised,
        keys,
        (stage.spectra.channels, stage.spectra.length),
        count=count,
        seed=seed,
        low=None if low is None else stage.spectra.encode_low(low),
        known=conditions.with_coefficients(stage, images, keys, told, seed),
        guidance=guidance,
        rows_at_once=rows_at_once,
        bfloat16=bfloat16,
        progress=progress,
    )
    flux = stage.spectra.decode(drawn)  # (B, P, n)
    scores = score_candidates(towers.network, standardised, towers.spectra.encode(flux))
    return flux, scores
