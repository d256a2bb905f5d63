"""What a generator takes beside an image: the redshift, the signal-to-noise ratio.

In training both come from the catalogue, and each is hidden now and then, so that one network also
does without. For an image they are *drawn* from p(property | image), one value per candidate;
*given* where they are known; or left *free*. Tensors of both are (..., 2), in the order of
`models.spectrum_prior.KNOWN`; what is not known is NaN. With the amplitudes of the templates, of
the spectrum in training, drawn for an image, they are all that is known, (..., 2 + E).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from datasets.errors import UserError
from datasets.photometry import photometry
from datasets.survey import Survey
from models.generator import uniform_shares
from models.property_heads import image_features
from models.spectrum_prior import KNOWN, REDSHIFT, SNR

if TYPE_CHECKING:
    from utils.core.checkpoints import TrainedContrastive, TrainedGenerator

COLUMNS = {REDSHIFT: "z", SNR: "sn"}  # of a survey's catalogue
FREE = -1.0  # neither a redshift nor a S/N: the property is to be left free


def of_catalogue(survey: Survey, names: Collection[str] = KNOWN) -> Tensor:
    """What the catalogue knows of every galaxy (N, 2), NaN where it is none of `names`: a network
    that leaves a property free must not see it in training either."""
    nothing = np.full(len(survey), np.nan)
    columns = [column(survey, name) if name in names else nothing for name in KNOWN]
    return torch.from_numpy(np.stack(columns, axis=1)).float()


def column(survey: Survey, name: str) -> np.ndarray:
    """A property (N,) of all galaxies, NaN where the catalogue does not have it."""
    return survey.catalogue.get(COLUMNS[name], np.full(len(survey), np.nan))


def features_of(
    towers: TrainedContrastive, images: Tensor, generator: torch.Generator | None = None
) -> Tensor:
    """What the heads see of raw images (B, bands, H, W): features (B, F).

    The frozen tower's view of the centre, or with a generator a random view; and the photometry,
    which a tower that is trained to tell galaxies apart keeps only roughly.
    """
    view = towers.images.evaluation if generator is None else towers.images.training
    arguments = (images,) if generator is None else (images, generator)
    seen = image_features(towers.network.image_encoder, view(*arguments))
    magnitudes = photometry(images.cpu().numpy(), towers.survey.pixel_scale_arcsec)
    return torch.cat([seen, torch.from_numpy(magnitudes).to(seen)], dim=1)


@torch.no_grad()
def probabilities(stage: TrainedGenerator, images: Tensor) -> dict[str, Tensor]:
    """Logarithm of p(property | image) per bin (B, bins) of raw images, for each head."""
    if not stage.heads:
        return {}
    features = features_of(stage.contrastive, images)
    return {name: head(features) for name, head in stage.heads.items()}


def draw(
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
        pdfs: From `probabilities`.
        keys: One string per galaxy.
        count: Candidates P.
        seed: Seed of the run.
        given: Values (B,) by name; NaN, or no entry, draws them; `FREE` leaves them free.
    """
    known = torch.full((len(keys), count, len(KNOWN)), torch.nan)
    for number, name in enumerate(KNOWN):
        if name not in pdfs:
            continue
        shares = uniform_shares(seed, name, keys, count).to(pdfs[name])
        drawn = stage.heads[name].quantile(pdfs[name], shares).cpu()
        value = given.get(name, torch.full((len(keys),), torch.nan)).to(drawn)
        value = value[:, None].expand_as(drawn)
        value = torch.where(value.isnan(), drawn, value)
        known[..., number] = torch.where(value == FREE, torch.nan, value)
    return known


@torch.no_grad()
def complete(
    stage: TrainedGenerator, images: Tensor, keys: Sequence[str], both: Tensor, seed: int
) -> Tensor | None:
    """All that a stage's network is told of the candidates (B, P, 2 + E) of raw images.

    `both` (B, P, 2) is from `draw`, with the same `keys` and `seed`; the amplitudes are drawn here.
    None for a network that is told nothing.
    """
    expectation = stage.network.expectation
    if expectation is None:
        return None
    features = features_of(stage.contrastive, images)
    both = both.to(images.device)
    shares = uniform_shares(seed, "amplitudes", keys, both.shape[1]).to(both)
    return torch.cat([both, expectation.draw(features, both[..., 0], shares)], dim=2)


def wish(name: str, given: bool = True) -> Callable[[str], str]:
    """What a command line may say of a property: `drawn`, `free`, `given`, or a value."""
    words = ("drawn", "free", "given") if given else ("drawn", "free")

    def check(text: str) -> str:
        if text not in words and not float(text) >= (0 if name == REDSHIFT else 1e-3):
            raise ValueError(text)
        return text

    check.__name__ = name  # argparse says "invalid NAME value"
    return check


def check_wishes(stage: TrainedGenerator, wishes: Mapping[str, str]) -> None:
    """Refuse what the network does not take, and redshifts it was not trained for.

    Raises:
        UserError: such a wish.
    """
    for name, wanted in wishes.items():
        if wanted in ("drawn", "free"):
            continue
        if name not in stage.heads:
            raise UserError(f"this network leaves the {name} free: it takes no --{name}")
        if name == REDSHIFT and wanted != "given" and untrained(stage, float(wanted)):
            raise UserError(f"--{name} {wanted}: {untrained(stage, float(wanted))}")


def untrained(stage: TrainedGenerator, redshift: float) -> str:
    """Why a network cannot take a redshift; empty if it can, or if the redshift is NaN."""
    lowest, highest = stage.about["known"][REDSHIFT]
    if math.isnan(redshift) or lowest <= redshift <= highest:
        return ""
    return f"trained for {lowest:.4f} to {highest:.4f}"


def given_values(wishes: Mapping[str, str], values: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """What `draw` takes for a batch: (B,) by name.

    Args:
        wishes: By name, from the command line.
        values: (B,) by name, what is known of the galaxies.
    """
    given = {}
    for name, wanted in wishes.items():
        known = torch.from_numpy(np.asarray(values[name], np.float32))
        if wanted == "given":
            given[name] = known
        elif wanted != "drawn":
            given[name] = torch.full_like(known, FREE if wanted == "free" else float(wanted))
    return given
