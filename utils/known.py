"""What a generator takes beside an image: the redshift, the signal-to-noise ratio.

In training both come from the catalogue, and each is hidden now and then, so that one network also
does without. For an image they are *drawn* from p(property | image), one value per candidate;
*given* where they are known; or left *free*. Tensors of both are (..., 2), in the order of
`models.expectation.KNOWN`; what is not known is NaN. With the amplitudes of the templates that the
image leads to expect they are all that is known, (..., 2 + E).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from datasets.survey import Survey
from datasets.survey_dataset import SurveyDataset
from datasets.transforms import SpectrumTransform
from models.expectation import FOLDS, KNOWN, REDSHIFT, SNR, Expectation
from models.generator import uniform_shares
from models.heads import (
    PropertyHead,
    feature_count,
    fit_coefficients,
    fit_head,
    image_features,
)
from models.templates import COMPONENT_GALAXIES, Templates, fit_templates, rest_grid
from utils.config import GenerativeConfig
from utils.runs import RunError

if TYPE_CHECKING:
    from utils.checkpoints import TrainedContrastive, TrainedGenerator

Ranges = dict[str, tuple[float, float]]  # lowest and highest of the training galaxies, by name

COLUMNS = {REDSHIFT: "z", SNR: "sn"}  # of a survey's catalogue
FREE = -1.0  # neither a redshift nor a S/N: the property is to be left free
HIDDEN = 0.1  # share of the training galaxies whose property is hidden
TEMPLATES = 13  # the mean and E = 12 principal components
FITTED_GALAXIES = 20_000  # that the expectation and the heads are fitted to
BATCH = 256  # images at once


def training_ranges(survey: Survey, training: SurveyDataset, config: GenerativeConfig) -> Ranges:
    """The properties that a network is to take, with the range of the training galaxies.

    Raises:
        RunError: the catalogue lacks one for some of them.
    """
    ranges = {}
    for name in KNOWN:
        if config.compatibility == "original" or getattr(config.diffusion, name) == "free":
            continue
        values = _column(survey, name)[training.rows]
        if not np.isfinite(values).all():
            raise RunError(
                f"{survey.path}: no {name} ({COLUMNS[name]}) for every training galaxy; train with "
                f"--diffusion.{name} free"
            )
        ranges[name] = float(values.min()), float(values.max())
    return ranges


def of_catalogue(survey: Survey) -> Tensor:
    """What the catalogue knows of every galaxy (N, 2)."""
    columns = np.stack([_column(survey, name) for name in KNOWN], axis=1)
    return torch.from_numpy(columns).float()


def _column(survey: Survey, name: str) -> np.ndarray:
    return survey.catalogue.get(COLUMNS[name], np.full(len(survey), np.nan))


def hide(known: Tensor, generator: torch.Generator) -> Tensor:
    """`known` (B, 2 + E) with a share of each property made NaN."""
    shape = len(known), len(KNOWN)
    share = torch.rand(shape, generator=generator, device=generator.device).to(known.device)
    both = torch.where(share < HIDDEN, torch.nan, known[:, : len(KNOWN)])
    return torch.cat([both, known[:, len(KNOWN) :]], dim=1)


def empty_expectation(transform: SpectrumTransform, known: Ranges, features: int) -> Expectation:
    """An expectation for what `known` names, to be filled by `fill_expectation` or a checkpoint."""
    templates = None
    if REDSHIFT in known:
        log_wavelength = torch.from_numpy(np.log10(transform.output_grid.angstrom))
        start, length = rest_grid(log_wavelength, *known[REDSHIFT])
        arranged = transform.arrange(log_wavelength)
        empty = torch.zeros(TEMPLATES, length)
        templates = Templates(arranged, start, empty, transform.mixing.cpu())
    return Expectation((transform.channels, transform.length), templates, features)


def fill_expectation(
    expectation: Expectation,
    spectra: SpectrumTransform,
    towers: TrainedContrastive,
    survey: Survey,
    training: np.ndarray,
    validation: np.ndarray,
    seed: int,
    device: torch.device,
) -> Tensor:
    """Fit an expectation to the training galaxies.

    Args:
        expectation: From `empty_expectation`, on `device`.
        spectra: Transform of the spectra, on `device`.
        towers: Their image tower gives the features.
        survey: The survey.
        training, validation: Rows of the survey.
        seed: Seed of the augmentation and of the heads.
        device: Where to compute.

    Returns:
        What is known of all galaxies of the survey (N, 2 + E); amplitudes of those that are in
        neither split are NaN.
    """
    both = of_catalogue(survey)
    fitted = np.sort(training)[:FITTED_GALAXIES]
    encoded = _encoded(spectra, survey, fitted)
    if expectation.templates is None:
        expectation.fit(encoded, both[fitted].to(device))
        return both
    _fill_templates(expectation.templates, spectra, survey, fitted[:COMPONENT_GALAXIES])
    generator = torch.Generator(device).manual_seed(seed)
    central, views = _seen(towers, survey, fitted, device), []
    for start in range(0, len(fitted), BATCH):
        images = _images(survey, fitted[start : start + BATCH], device)
        views.append(_features(towers, towers.images.training(images, generator)))
    unseen = _seen(towers, survey, validation, device)
    z = both[:, 0].to(device)
    heads, predicted = fit_coefficients(
        torch.stack([central, torch.cat(views)]),
        expectation.project(encoded, z[fitted]),
        (unseen, expectation.project(_encoded(spectra, survey, validation), z[validation])),
        FOLDS,
        seed,
    )
    expectation.heads.load_state_dict(heads.state_dict())
    amplitudes = torch.full((len(survey), predicted.shape[1]), torch.nan)
    others = np.setdiff1d(training, fitted)
    amplitudes[others] = expectation.amplitudes(_seen(towers, survey, others, device)).cpu()
    amplitudes[fitted] = predicted.cpu()
    amplitudes[validation] = expectation.amplitudes(unseen).cpu()
    known = torch.cat([both, amplitudes], dim=1)
    expectation.fit(encoded, known[fitted].to(device))
    return known


def _fill_templates(
    templates: Templates, spectra: SpectrumTransform, survey: Survey, rows: np.ndarray
) -> None:
    flux = torch.from_numpy(survey.read("spectra", rows)).to(spectra.mean.device)
    fitted = fit_templates(
        spectra.standardised(flux).cpu(),
        torch.from_numpy(_column(survey, REDSHIFT)[rows]).float(),
        torch.from_numpy(np.log10(spectra.output_grid.angstrom)),
        templates.rest_start.item(),
        templates.templates.shape[1],
        len(templates),
    )
    templates.templates.copy_(fitted)


def _encoded(spectra: SpectrumTransform, survey: Survey, rows: np.ndarray) -> Tensor:
    """Spectra (N, C, L) of rows of the survey, as the network sees them."""
    parts = (survey.read("spectra", rows[i : i + BATCH]) for i in range(0, len(rows), BATCH))
    device = spectra.mean.device
    return torch.cat([spectra.encode(torch.from_numpy(part).to(device)) for part in parts])


def _images(survey: Survey, rows: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(survey.read("images", rows)).to(device)


def _seen(
    towers: TrainedContrastive, survey: Survey, rows: np.ndarray, device: torch.device
) -> Tensor:
    """Features (N, F) of the central views of rows of the survey."""
    starts = range(0, len(rows), BATCH)
    parts = [torch.zeros(0, feature_count(towers.network.image_encoder), device=device)]
    for start in tqdm(starts, desc="reading images", unit="batch", disable=None):
        images = _images(survey, rows[start : start + BATCH], device)
        parts.append(_features(towers, towers.images.evaluation(images)))
    return torch.cat(parts)


def fit_heads(
    names: Sequence[str],
    towers: TrainedContrastive,
    survey: Survey,
    training: np.ndarray,
    validation: np.ndarray,
    seed: int,
    device: torch.device,
) -> dict[str, PropertyHead]:
    """p(property | image) for each of `names`, calibrated on the validation galaxies.

    Args:
        names: What the network takes.
        towers: Their image tower, frozen, gives the features.
        survey: The survey.
        training, validation: Rows of the survey.
        seed: Seed of the augmentation and of the heads.
        device: Where to compute.
    """
    if not names:
        return {}
    generator = torch.Generator(device).manual_seed(seed)
    training = training[:FITTED_GALAXIES]
    seen = []
    for start in tqdm(range(0, len(training), BATCH), desc="property heads", disable=None):
        images = torch.from_numpy(survey.read("images", training[start : start + BATCH]))
        seen.append(_features(towers, towers.images.training(images.to(device), generator)))
    images = torch.from_numpy(survey.read("images", validation)).to(device)
    unseen = _features(towers, towers.images.evaluation(images))
    heads = {}
    for name in names:
        values = torch.from_numpy(_column(survey, name)).float().to(device)
        heads[name] = fit_head(
            (torch.cat(seen), values[training]), (unseen, values[validation]), seed
        )
    return heads


def _features(towers: TrainedContrastive, images: Tensor) -> Tensor:
    return image_features(towers.network.image_encoder, images)


@torch.no_grad()
def probabilities(stage: TrainedGenerator, images: Tensor) -> dict[str, Tensor]:
    """Logarithm of p(property | image) per bin (B, bins) of raw images, for each head."""
    if not stage.heads:
        return {}
    features = _features(stage.contrastive, stage.contrastive.images.evaluation(images))
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
def complete(stage: TrainedGenerator, images: Tensor, both: Tensor) -> Tensor | None:
    """All that a stage's network is told of the candidates (B, P, 2 + E) of raw images.

    `both` (B, P, 2) is from `draw`. None for a network that is told nothing.
    """
    if stage.network.expectation is None:
        return None
    features = _features(stage.contrastive, stage.contrastive.images.evaluation(images))
    amplitudes = stage.network.expectation.amplitudes(features)[:, None]
    return torch.cat([both.to(images.device), amplitudes.expand(-1, both.shape[1], -1)], dim=2)


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
        RunError: such a wish.
    """
    for name, wanted in wishes.items():
        if wanted in ("drawn", "free"):
            continue
        if name not in stage.heads:
            raise RunError(f"this network leaves the {name} free: it takes no --{name}")
        if name == REDSHIFT and wanted != "given" and untrained(stage, float(wanted)):
            raise RunError(f"--{name} {wanted}: {untrained(stage, float(wanted))}")


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
