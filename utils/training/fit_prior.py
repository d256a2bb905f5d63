"""Fitting what is known and expected: p(property | image), and `models.spectrum_prior`.

Done once, before the generator is trained, from the frozen image tower and the training galaxies.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from datasets.errors import UserError
from datasets.spectrum_transform import SpectrumTransform
from datasets.survey import Survey
from datasets.survey_dataset import SurveyDataset
from models.property_heads import PropertyHead, fit_head
from models.spectral_basis import COMPONENT_GALAXIES, SpectralBasis, fit_basis
from models.spectrum_prior import CONDITIONS, REDSHIFT, SpectrumPrior
from utils.core.config import GenerativeConfig
from utils.core.model_factory import TEMPLATES, Ranges
from utils.generation.conditions import (
    COLUMNS,
    catalogue_conditions,
    condition_column,
    condition_features,
)

if TYPE_CHECKING:
    from utils.core.checkpoints import TrainedContrastive
FITTED_GALAXIES = 20_000  # that the prior and the heads are fitted to
BATCH = 256  # images at once


@dataclass(frozen=True)
class Seen:
    """The galaxies that everything is fitted to, and what the image tower sees of them.

    Args:
        survey: The survey.
        training, validation: Rows (N,) and (n,) of the survey.
        views: (2, N, F) features of the training images: the central view and a random one.
        unseen: (n, F) features of the validation images, central.
        seed: Of all that is random.
        device: Where to compute.
    """

    survey: Survey
    training: np.ndarray
    validation: np.ndarray
    views: Tensor
    unseen: Tensor
    seed: int
    device: torch.device

    @classmethod
    def of(
        cls,
        towers: TrainedContrastive,
        survey: Survey,
        training: np.ndarray,
        validation: np.ndarray,
        seed: int,
        device: torch.device,
    ) -> Seen:
        """Look at the first `FITTED_GALAXIES` of the training split, and at the validation's."""
        training = np.sort(training)[:FITTED_GALAXIES]
        generator = torch.Generator(device).manual_seed(seed)
        central, turned = [], []
        for start in tqdm(range(0, len(training), BATCH), desc="reading images", disable=None):
            images = survey.read("images", training[start : start + BATCH])
            images = torch.from_numpy(images).to(device)
            central.append(condition_features(towers, images))
            turned.append(condition_features(towers, images, generator))
        images = torch.from_numpy(survey.read("images", validation)).to(device)
        views = torch.stack([torch.cat(central), torch.cat(turned)])
        unseen = condition_features(towers, images)
        return cls(survey, training, validation, views, unseen, seed, device)

    def values(self, name: str) -> tuple[Tensor, Tensor]:
        """A property of the training (N,) and of the validation galaxies (n,)."""
        values = torch.from_numpy(condition_column(self.survey, name)).float().to(self.device)
        return values[self.training], values[self.validation]


def fit_spectrum_prior(
    prior: SpectrumPrior,
    spectra: SpectrumTransform,
    seen: Seen,
    training: np.ndarray,
    names: Collection[str],
) -> Tensor:
    """Fit an prior to the training galaxies.

    Args:
        prior: From `empty_prior`, on the device.
        spectra: Transform of the spectra, on the device.
        seen: The galaxies it is fitted to.
        training: All rows of the training split.
        names: The properties that the network takes.

    Returns:
        What is known of all galaxies of the survey (N, 2 + E); coefficients of those that are in
        neither split are NaN.
    """
    survey, fitted, device = seen.survey, seen.training, seen.device
    both = catalogue_conditions(survey, names)
    encoded = _encoded(spectra, survey, fitted)
    if prior.templates is None:
        prior.fit(encoded, both[fitted].to(device))
        return both
    _fill_templates(prior.templates, spectra, survey, fitted[:COMPONENT_GALAXIES])
    z, coefficients = both[:, 0].to(device), torch.full((len(survey), TEMPLATES - 1), torch.nan)
    for rows in (training, seen.validation):
        for start in range(0, len(rows), BATCH):
            part = rows[start : start + BATCH]
            x = _encoded(spectra, survey, part)
            coefficients[part] = prior.project(x, z[part]).cpu()
    known_z, checked_z = seen.values(REDSHIFT)
    prior.fit_coefficient_sampler(
        torch.cat([seen.views, known_z[None, :, None].expand(2, -1, 1)], dim=2),
        coefficients[fitted].to(device),
        (
            torch.cat([seen.unseen, checked_z[:, None]], dim=1),
            coefficients[seen.validation].to(device),
        ),
        seen.seed,
    )
    known = torch.cat([both, coefficients], dim=1)
    prior.fit(encoded, known[fitted].to(device))
    return known


def _fill_templates(
    templates: SpectralBasis, spectra: SpectrumTransform, survey: Survey, rows: np.ndarray
) -> None:
    flux = torch.from_numpy(survey.read("spectra", rows)).to(spectra.mean.device)
    fitted = fit_basis(
        spectra.standardised(flux).cpu(),
        torch.from_numpy(condition_column(survey, REDSHIFT)[rows]).float(),
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


def fit_heads(names: Iterable[str], seen: Seen) -> dict[str, PropertyHead]:
    """p(property | image) for each of `names`, calibrated on the validation galaxies."""
    heads = {}
    for name in names:
        known, checked = seen.values(name)
        heads[name] = fit_head((seen.views[1], known), (seen.unseen, checked), seen.seed)
    return heads


CONDITION_DROPOUT = 0.2  # share of the training galaxies whose property is hidden


def training_ranges(survey: Survey, training: SurveyDataset, config: GenerativeConfig) -> Ranges:
    """The properties that a network is to take, with the range of the training galaxies.

    Raises:
        UserError: the catalogue lacks one for some of them.
    """
    ranges = {}
    for name in CONDITIONS:
        if config.compatibility == "original" or getattr(config.diffusion, name) == "unconditional":
            continue
        values = condition_column(survey, name)[training.rows]
        if not np.isfinite(values).all():
            raise UserError(
                f"{survey.path}: no {name} ({COLUMNS[name]}) for every training galaxy; train with "
                f"--diffusion.{name} unconditional"
            )
        ranges[name] = float(values.min()), float(values.max())
    return ranges


def drop_conditions(known: Tensor, generator: torch.Generator) -> Tensor:
    """`known` (B, 2 + E) with a share of each property made NaN."""
    shape = len(known), len(CONDITIONS)
    share = torch.rand(shape, generator=generator, device=generator.device).to(known.device)
    both = torch.where(share < CONDITION_DROPOUT, torch.nan, known[:, : len(CONDITIONS)])
    return torch.cat([both, known[:, len(CONDITIONS) :]], dim=1)
