"""What a generator takes beside an image: the redshift, the signal-to-noise ratio.

In training both come from the catalogue, and each is hidden now and then, so that one network also
does without. For an image they are *drawn* from p(property | image), one value per candidate;
*given* where they are known; or left *free*. Tensors of both are (..., 2), in the order of
`models.spectrum_prior.CONDITIONS`; what is not known is NaN. With the coefficients of the spectral
basis (of the spectrum in training, sampled for an image) they are (..., 2 + E).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from datasets.errors import UserError
from datasets.photometry import photometric_features
from datasets.survey import Survey
from models.generator import uniform_numbers
from models.property_heads import image_features
from models.spectrum_prior import CONDITIONS, REDSHIFT, SNR

if TYPE_CHECKING:
    from utils.core.checkpoints import TrainedContrastive, TrainedGenerator

COLUMNS = {REDSHIFT: "z", SNR: "sn"}  # of a survey's catalogue
UNCONDITIONAL = -1.0  # neither a redshift nor a S/N: the property is to be left free


def catalogue_conditions(survey: Survey, names: Collection[str] = CONDITIONS) -> Tensor:
    """What the catalogue knows of every galaxy (N, 2), NaN where it is none of `names`: a network
    that leaves a property free must not see it in training either."""
    nothing = np.full(len(survey), np.nan)
    columns = [condition_column(survey, name) if name in names else nothing for name in CONDITIONS]
    return torch.from_numpy(np.stack(columns, axis=1)).float()


def condition_column(survey: Survey, name: str) -> np.ndarray:
    """A property (N,) of all galaxies, NaN where the catalogue does not have it."""
    return survey.catalogue.get(COLUMNS[name], np.full(len(survey), np.nan))


def condition_features(
    towers: TrainedContrastive, images: Tensor, generator: torch.Generator | None = None
) -> Tensor:
    """What the heads see of raw images (B, bands, H, W): features (B, F).

    The frozen tower's view of the centre, or with a generator a random view; and the photometry,
    which a tower that is trained to tell galaxies apart keeps only roughly.
    """
    view = towers.images.evaluation if generator is None else towers.images.training
    arguments = (images,) if generator is None else (images, generator)
    seen = image_features(towers.network.image_encoder, view(*arguments))
    magnitudes = photometric_features(images.cpu().numpy(), towers.survey.pixel_scale_arcsec)
    return torch.cat([seen, torch.from_numpy(magnitudes).to(seen)], dim=1)


@torch.no_grad()
def log_probabilities(stage: TrainedGenerator, images: Tensor) -> dict[str, Tensor]:
    """Logarithm of p(property | image) per bin (B, bins) of raw images, for each head."""
    if not stage.heads:
        return {}
    features = condition_features(stage.contrastive, images)
    return {name: head(features) for name, head in stage.heads.items()}


def sample_conditions(
    stage: TrainedGenerator,
    pdfs: Mapping[str, Tensor],
    keys: Sequence[str],
    count: int,
    seed: int,
    given: Mapping[str, Tensor],
) -> Tensor:
    """Redshift and S/N of every candidate (B, P, 2).

    Args:
        stage: The trained networks.
        pdfs: From `log_probabilities`.
        keys: One string per galaxy.
        count: Candidates P.
        seed: Seed of the run.
        given: Values (B,) by name; NaN, or no entry, draws them; `UNCONDITIONAL` leaves them free.
    """
    known = torch.full((len(keys), count, len(CONDITIONS)), torch.nan)
    for number, name in enumerate(CONDITIONS):
        if name not in pdfs:
            continue
        shares = uniform_numbers(seed, name, keys, count).to(pdfs[name])
        drawn = stage.heads[name].quantile(pdfs[name], shares).cpu()
        value = given.get(name, torch.full((len(keys),), torch.nan)).to(drawn)
        value = value[:, None].expand_as(drawn)
        value = torch.where(value.isnan(), drawn, value)
        known[..., number] = torch.where(value == UNCONDITIONAL, torch.nan, value)
    return known


@torch.no_grad()
def with_coefficients(
    stage: TrainedGenerator, images: Tensor, keys: Sequence[str], both: Tensor, seed: int
) -> Tensor | None:
    """All that a stage's network is told of the candidates (B, P, 2 + E) of raw images.

    `both` (B, P, 2) is from `sample_conditions`, with the same `keys` and `seed`; the
    coefficients are sampled here. None for a network that is told nothing.
    """
    prior = stage.network.prior
    if prior is None:
        return None
    features = condition_features(stage.contrastive, images)
    both = both.to(images.device)
    shares = uniform_numbers(seed, "amplitudes", keys, both.shape[1]).to(both)
    return torch.cat([both, prior.draw(features, both[..., 0], shares)], dim=2)


def parse_condition(name: str, given: bool = True) -> Callable[[str], str]:
    """Parser of a condition on the command line: `sampled`, `unconditional`, `given`, a value."""
    words = ("sampled", "unconditional", "given") if given else ("sampled", "unconditional")

    def check(text: str) -> str:
        if text not in words and not float(text) >= (0 if name == REDSHIFT else 1e-3):
            raise ValueError(text)
        return text

    check.__name__ = name  # argparse says "invalid NAME value"
    return check


def validate_conditions(stage: TrainedGenerator, requested: Mapping[str, str]) -> None:
    """Refuse what the network does not take, and redshifts it was not trained for.

    Raises:
        UserError: such a parse_condition.
    """
    for name, wanted in requested.items():
        if wanted in ("sampled", "unconditional"):
            continue
        if name not in stage.heads:
            raise UserError(f"this network leaves the {name} free: it takes no --{name}")
        if name == REDSHIFT and wanted != "given" and why_out_of_range(stage, float(wanted)):
            raise UserError(f"--{name} {wanted}: {why_out_of_range(stage, float(wanted))}")


def why_out_of_range(stage: TrainedGenerator, redshift: float) -> str:
    """Why a network cannot take a redshift; empty if it can, or if the redshift is NaN."""
    lowest, highest = stage.about["known"][REDSHIFT]
    if math.isnan(redshift) or lowest <= redshift <= highest:
        return ""
    return f"trained for {lowest:.4f} to {highest:.4f}"


def given_conditions(
    requested: Mapping[str, str], values: Mapping[str, np.ndarray]
) -> dict[str, Tensor]:
    """What `sample_conditions` takes for a batch: (B,) by name.

    Args:
        requested: By name, from the command line.
        values: (B,) by name, what is known of the galaxies.
    """
    given = {}
    for name, wanted in requested.items():
        known = torch.from_numpy(np.asarray(values[name], np.float32))
        if wanted == "given":
            given[name] = known
        elif wanted != "sampled":
            given[name] = torch.full_like(
                known, UNCONDITIONAL if wanted == "unconditional" else float(wanted)
            )
    return given
