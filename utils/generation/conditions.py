"""The conditions of a generator beside the image: redshift and signal-to-noise ratio (S/N).

In training both come from the catalogue, and each is dropped at random (condition dropout), so that
the network can also be sampled without it. In generation each is `sampled` from p(property | image)
for every candidate, `given` as a value, or left out (`unconditional`).

Tensors of both are (..., 2), in the order of `models.spectrum_prior.CONDITIONS`, NaN where unknown
or left out. With the coefficients of the spectral basis they are the parameters (..., 2 + E) of
`models.spectrum_prior`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from datasets.errors import UserError
from datasets.photometry import photometric_features
from datasets.survey import Survey
from models.conditioning import ImageFeatures
from models.random_streams import uniform_numbers
from models.spectrum_prior import CONDITIONS, REDSHIFT, SNR
from utils.core.checkpoints import TrainedContrastive, TrainedGenerator

COLUMNS = {REDSHIFT: "z", SNR: "sn"}  # of a survey's catalogue
UNCONDITIONAL = -1.0  # in place of a value, which is never negative: leave the condition out


def catalogue_conditions(survey: Survey, names: Collection[str] = CONDITIONS) -> Tensor:
    """The conditions `names` (N, 2) of all galaxies; NaN for others and for unknown values."""
    unknown = np.full(len(survey), np.nan)
    columns = [condition_column(survey, name) if name in names else unknown for name in CONDITIONS]
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
    magnitudes = photometric_features(images.cpu().numpy(), towers.survey.pixel_scale_arcsec)
    return ImageFeatures.of(
        towers.network.image_encoder, standardised, torch.from_numpy(magnitudes).to(standardised)
    )


@torch.no_grad()
def log_probabilities(stage: TrainedGenerator, features: ImageFeatures) -> dict[str, Tensor]:
    """Logarithm of p(property | image) per bin (B, bins), by the name of the condition."""
    return {name: head(features.vector()) for name, head in stage.heads.items()}


def sample_conditions(
    stage: TrainedGenerator,
    log_pdfs: Mapping[str, Tensor],
    keys: Sequence[str],
    count: int,
    seed: int,
    given: Mapping[str, Tensor],
) -> Tensor:
    """Redshift and S/N of every candidate (B, P, 2).

    Args:
        stage: The trained networks.
        log_pdfs: From `log_probabilities`.
        keys: One string per galaxy.
        count: Candidates P.
        seed: Seed of the run.
        given: Values (B,) by name; NaN, or no entry, samples them; `UNCONDITIONAL` leaves the
            condition out.
    """
    conditions = torch.full((len(keys), count, len(CONDITIONS)), torch.nan)
    for number, name in enumerate(CONDITIONS):
        if name not in log_pdfs:
            continue
        u = uniform_numbers(seed, name, keys, count).to(log_pdfs[name])
        sampled = stage.heads[name].quantile(log_pdfs[name], u).cpu()
        value = given.get(name, torch.full((len(keys),), torch.nan)).to(sampled)
        value = torch.where(value.isnan()[:, None], sampled, value[:, None])
        conditions[..., number] = torch.where(value == UNCONDITIONAL, torch.nan, value)
    return conditions


@torch.no_grad()
def sample_parameters(
    stage: TrainedGenerator,
    features: ImageFeatures,
    keys: Sequence[str],
    conditions: Tensor,
    seed: int,
) -> Tensor | None:
    """The parameters of the candidates (B, P, 2 + E): `conditions` (B, P, 2), and coefficients
    sampled for image and redshift. None for a network without a prior."""
    prior = stage.network.prior
    if prior is None:
        return None
    conditions = conditions.to(features.embedding.device)
    u = uniform_numbers(seed, "coefficients", keys, conditions.shape[1]).to(conditions)
    coefficients = prior.sample_coefficients(features.vector(), conditions[..., 0], u)
    return torch.cat([conditions, coefficients], dim=2)


def effective_galaxies(
    stage: TrainedGenerator,
    features: ImageFeatures,
    keys: Sequence[str],
    redshift: Tensor,
    seed: int,
) -> Tensor | None:
    """How many training galaxies each candidate's coefficients are a mixture of (B, P); None for a
    network without a basis. Arguments as in `sample_parameters`, with the redshifts (B, P)."""
    prior = stage.network.prior
    if prior is None or prior.basis is None:
        return None
    redshift = redshift.to(features.embedding.device)
    u = uniform_numbers(seed, "coefficients", keys, redshift.shape[1]).to(redshift)
    return prior.effective_galaxies(features.vector(), redshift, u)


@torch.no_grad()
def guide_parameters(stage: TrainedGenerator, low: Tensor, conditions: Tensor) -> Tensor | None:
    """The parameters of the low-resolution spectra that guide super resolution.

    Args:
        stage: The super-resolution stage.
        low: (..., 1, l), standardised by `encode_low`.
        conditions: Redshift and S/N (..., 2).

    Returns:
        (..., 2 + E): `conditions`, and the coefficients of the spectra in the stage's own basis.
        None for a network without a prior.
    """
    prior = stage.network.prior
    if prior is None:
        return None
    conditions = conditions.to(low.device)
    if prior.basis is None:
        return conditions
    rows = conditions.flatten(0, -2)  # (R, 2)
    coefficients = prior.project(low.flatten(0, -3), rows[:, 0])  # (R, E)
    return torch.cat([conditions, coefficients.unflatten(0, conditions.shape[:-1])], dim=-1)


def validate_conditions(stage: TrainedGenerator, requested: Mapping[str, str]) -> None:
    """Refuse conditions that the network does not take, and redshifts outside its training range.

    Args:
        stage: The first stage.
        requested: `sampled`, `unconditional`, `given` or a value, by the name of the condition.

    Raises:
        UserError: with the option.
    """
    for name, request in requested.items():
        if request in ("sampled", "unconditional"):
            continue
        if name not in stage.heads:
            raise UserError(
                f"--{name} {request}: this network was trained without the {name} as a condition; "
                "leave the option out"
            )
        if name == REDSHIFT and request != "given" and why_out_of_range(stage, float(request)):
            raise UserError(f"--{name} {request}: {why_out_of_range(stage, float(request))}")


def why_out_of_range(stage: TrainedGenerator, redshift: float) -> str:
    """Why a network cannot take a redshift; empty if it can, or if the redshift is NaN."""
    lowest, highest = stage.about["conditions"][REDSHIFT]
    if math.isnan(redshift) or lowest <= redshift <= highest:
        return ""
    return f"trained for {lowest:.4f} to {highest:.4f}"


def given_conditions(
    requested: Mapping[str, str], values: Mapping[str, np.ndarray]
) -> dict[str, Tensor]:
    """The argument `given` of `sample_conditions` for a batch: (B,) by name.

    Args:
        requested: By name, from the command line.
        values: (B,) by name, the values that came with the galaxies; NaN where unknown.
    """
    given = {}
    for name, request in requested.items():
        value = torch.from_numpy(np.asarray(values[name], np.float32))
        if request == "given":
            given[name] = value
        elif request != "sampled":
            number = UNCONDITIONAL if request == "unconditional" else float(request)
            given[name] = torch.full_like(value, number)
    return given
