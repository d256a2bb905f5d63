"""Fitting what is known and expected: p(property | image), and `models.expectation`.

Done once, before the generator is trained, from the frozen image tower and the training galaxies.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from datasets.survey import Survey
from datasets.transforms import SpectrumTransform
from models.expectation import REDSHIFT, Expectation
from models.heads import PropertyHead, fit_head
from models.templates import COMPONENT_GALAXIES, Templates, fit_templates, rest_grid
from utils.known import Ranges, column, feature_count, features_of, of_catalogue

if TYPE_CHECKING:
    from utils.checkpoints import TrainedContrastive

TEMPLATES = 25  # the mean and E = 24 principal components
FITTED_GALAXIES = 20_000  # that the expectation and the heads are fitted to
BATCH = 256  # images at once


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
    z, amplitudes = both[:, 0].to(device), torch.full((len(survey), TEMPLATES - 1), torch.nan)
    for rows in (training, validation):
        for start in range(0, len(rows), BATCH):
            part = rows[start : start + BATCH]
            x = _encoded(spectra, survey, part)
            amplitudes[part] = expectation.project(x, z[part]).cpu()
    generator = torch.Generator(device).manual_seed(seed)
    central, views = _seen(towers, survey, fitted, device), []
    for start in range(0, len(fitted), BATCH):
        images = _images(survey, fitted[start : start + BATCH], device)
        views.append(features_of(towers, images, generator))
    seen = torch.stack([central, torch.cat(views)])
    unseen = _seen(towers, survey, validation, device)
    expectation.remember(
        torch.cat([seen, z[fitted][None, :, None].expand(2, -1, 1)], dim=2),
        amplitudes[fitted].to(device),
        (torch.cat([unseen, z[validation][:, None]], dim=1), amplitudes[validation].to(device)),
        seed,
    )
    known = torch.cat([both, amplitudes], dim=1)
    expectation.fit(encoded, known[fitted].to(device))
    return known


def _fill_templates(
    templates: Templates, spectra: SpectrumTransform, survey: Survey, rows: np.ndarray
) -> None:
    flux = torch.from_numpy(survey.read("spectra", rows)).to(spectra.mean.device)
    fitted = fit_templates(
        spectra.standardised(flux).cpu(),
        torch.from_numpy(column(survey, REDSHIFT)[rows]).float(),
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
        parts.append(features_of(towers, images))
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
        seen.append(features_of(towers, images.to(device), generator))
    images = torch.from_numpy(survey.read("images", validation)).to(device)
    unseen = features_of(towers, images)
    heads = {}
    for name in names:
        values = torch.from_numpy(column(survey, name)).float().to(device)
        heads[name] = fit_head(
            (torch.cat(seen), values[training]), (unseen, values[validation]), seed
        )
    return heads
