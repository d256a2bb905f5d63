"""The parameters of a candidate: redshift, signal-to-noise ratio (S/N) and coefficients.

In training redshift and S/N come from the catalogue, the coefficients from the spectrum. In
generation the parameter diffusion samples all of them for every candidate, or those that are not
given.

Conditions are (..., 2): redshift and S/N in the order of `models.spectrum_prior.CONDITIONS`, NaN
where they are sampled or unknown. Parameters are (..., D): z, ln S/N, and K coefficients.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from datasets.errors import UserError
from datasets.photometry import photometric_features
from datasets.survey import Survey
from models.conditioning import ImageFeatures
from models.generator import generate_candidates
from models.samplers import AdamsBashforth2
from models.spectrum_prior import CONDITIONS, REDSHIFT, SNR
from utils.core.checkpoints import TrainedContrastive, TrainedGenerator

COLUMNS = {REDSHIFT: "z", SNR: "sn"}  # of a survey's catalogue
ROWS = 2048  # candidates that go through the parameter network together


def catalogue_conditions(survey: Survey) -> Tensor:
    """Redshift and S/N (N, 2) of all galaxies; NaN where the catalogue does not have them."""
    columns = [condition_column(survey, name) for name in CONDITIONS]
    return torch.from_numpy(np.stack(columns, axis=1)).float()


def condition_column(survey: Survey, name: str) -> np.ndarray:
    """A condition (N,) of all galaxies, NaN where the catalogue does not have it."""
    return survey.catalogue.get(COLUMNS[name], np.full(len(survey), np.nan))


def image_features(
    towers: TrainedContrastive, images: Tensor, generator: torch.Generator | None = None
) -> ImageFeatures:
    """All that is computed of images, once per tower: its map and embedding, and photometry.

    Photometry is in it because a contrastive tower keeps magnitudes only roughly.

    Args:
        towers: The trained towers, on the device of `images`.
        images: (B, bands, H, W) raw images in the survey's unit.
        generator: For a random view; None takes the central view.
    """
    transform = towers.images
    if generator is None:
        standardised = transform.evaluation(images)
    else:
        standardised = transform.training(images, generator)
    magnitudes = photometric_features(images, towers.survey.pixel_scale_arcsec)
    return ImageFeatures.of(towers.network.image_encoder, standardised, magnitudes.to(standardised))


@torch.no_grad()
def sample_parameters(
    stage: TrainedGenerator,
    features: ImageFeatures,
    keys: Sequence[str],
    count: int,
    seed: int,
    given: Tensor,
    guidance: float = 1.0,
) -> Tensor | None:
    """The parameters (B, P, D) of P candidates; None for a network without a prior.

    A given S/N beyond the training galaxies' is exact in the result, but the network sees the
    nearest one of theirs. An infinite one asks for a spectrum without noise: it replaces a sampled
    value, since nothing about the galaxy follows from it.

    Args:
        stage: The trained networks.
        features: Of the images, from `image_features`.
        keys: One string per galaxy.
        count: Candidates P.
        seed: Seed of the run.
        given: Conditions (B, 2), NaN where they are sampled.
        guidance: Weight of the image, as in `models.generator.generate_candidates`.
    """
    denoiser = stage.parameters
    if denoiser is None:
        return None
    size = len(denoiser.prior.mean)
    exact = torch.full((len(keys), count, size), torch.nan)
    exact[..., 0], exact[..., 1] = given[:, :1], given[:, 1:].log()
    exact = exact.to(features.embedding.device)
    lowest, highest = stage.about["conditions"][SNR]
    seen = exact.clone()
    seen[..., 1].clamp_(math.log(lowest), math.log(highest))
    seen[exact.isinf()] = torch.nan
    sampled = generate_candidates(
        denoiser,
        AdamsBashforth2(min(stage.config.parameters.sampling_steps, denoiser.schedule.steps)),
        denoiser.condition.tokens(features),
        keys,
        (1, size),
        count=count,
        seed=seed,
        purpose="parameters",
        parameters=seen,
        guidance=guidance,
        rows_at_once=ROWS,
    )[:, :, 0]
    sampled[..., 0].clamp_(*stage.about["conditions"][REDSHIFT])
    return torch.where(exact.isnan(), sampled, exact)


@torch.no_grad()
def guide_parameters(stage: TrainedGenerator, low: Tensor, conditions: Tensor) -> Tensor | None:
    """The parameters of the low-resolution spectra that guide super resolution.

    Args:
        stage: The super-resolution stage.
        low: (..., 1, l), standardised by `encode_low`.
        conditions: z and ln S/N of the guides (..., 2).

    Returns:
        (..., D): `conditions`, and the coefficients of the spectra in the stage's own basis. None
        for a network without a prior.
    """
    prior = stage.network.prior
    if prior is None:
        return None
    rows = conditions.to(low.device).flatten(0, -2)  # (R, 2)
    coefficients = prior.project(low.flatten(0, -3), rows[:, 0])  # (R, K)
    parameters = torch.cat([rows, coefficients], dim=-1)
    return parameters.unflatten(0, conditions.shape[:-1])


def validate_conditions(stage: TrainedGenerator, requested: Mapping[str, str]) -> None:
    """Refuse conditions that the network does not take, and redshifts outside its training range.

    Args:
        stage: The first stage.
        requested: `sampled`, `given` or a value, by the name of the condition.

    Raises:
        UserError: with the option.
    """
    for name, request in requested.items():
        if request == "sampled":
            continue
        if stage.parameters is None:
            raise UserError(
                f"--{name} {request}: this network was trained with diffusion.prior none, without "
                f"the {name} as a parameter; leave the option out"
            )
        if name == REDSHIFT and request != "given" and why_out_of_range(stage, float(request)):
            raise UserError(f"--{name} {request}: {why_out_of_range(stage, float(request))}")


def why_out_of_range(stage: TrainedGenerator, redshift: float) -> str:
    """Why a network cannot take a redshift; empty if it can, or if the redshift is NaN."""
    lowest, highest = stage.about["conditions"][REDSHIFT]
    if math.isnan(redshift) or lowest <= redshift <= highest:
        return ""
    return f"trained for {lowest:.4f} to {highest:.4f}"


def given_conditions(requested: Mapping[str, str], values: Mapping[str, np.ndarray]) -> Tensor:
    """The argument `given` of `sample_parameters` for a batch: (B, 2).

    Args:
        requested: By name, from the command line: `sampled`, `given`, or a value.
        values: (B,) by name, the values that came with the galaxies; NaN where unknown.
    """
    columns = []
    for name in CONDITIONS:
        request, value = requested.get(name, "sampled"), np.asarray(values[name], np.float32)
        if request != "given":
            value = np.full_like(value, np.nan if request == "sampled" else float(request))
        columns.append(torch.from_numpy(value))
    return torch.stack(columns, dim=1)
