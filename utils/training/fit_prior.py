"""Fitting the spectrum prior and the property heads.

Done once, before the diffusion model is trained, from the frozen image tower and the training
galaxies: the spectral basis, mean and σ of a spectrum given its parameters, the regression of the
coefficients, and p(property | image).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from datasets.errors import UserError
from datasets.spectrum_transform import SpectrumTransform
from datasets.survey import Survey
from models.property_heads import PropertyHead, fit_head
from models.spectral_basis import SpectralBasis, fit_basis
from models.spectrum_prior import CONDITIONS, REDSHIFT, SNR, SpectrumPrior, informative
from utils.core.checkpoints import TrainedContrastive, read_checkpoint
from utils.core.config import GenerativeConfig
from utils.core.model_factory import Ranges
from utils.core.survey_rows import random_subset
from utils.generation.conditions import (
    COLUMNS,
    catalogue_conditions,
    condition_column,
    image_features,
)
from utils.training.distributed import on_first_rank

FITTED_GALAXIES = 20_000  # that the prior and the heads are fitted to
COMPONENT_GALAXIES = 2000  # that the basis is fitted to: more do not change the first components
BATCH = 256  # galaxies at once


@dataclass(frozen=True)
class TrainingFeatures:
    """The galaxies that prior and heads are fitted to, and the features of their images.

    Args:
        survey: The survey.
        training, validation: Rows (N,) and (n,) of the survey.
        views: (2, N, F) features of the training images: the central view and a random one.
        validation_views: (n, F) features of the validation images, central.
        seed: Of everything random.
        device: Where to compute.
    """

    survey: Survey
    training: np.ndarray
    validation: np.ndarray
    views: Tensor
    validation_views: Tensor
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
    ) -> TrainingFeatures:
        """Features of a random subset of the training rows, and of the validation rows."""
        training = fitting_rows(survey, training, seed)
        generator = torch.Generator(device).manual_seed(seed)
        central, turned = [], []
        batches = tqdm(_images(survey, training, device), desc="encoding images", disable=None)
        for images in batches:
            central.append(image_features(towers, images).vector())
            turned.append(image_features(towers, images, generator).vector())
        unseen = [
            image_features(towers, images).vector()
            for images in _images(survey, validation, device)
        ]
        views = torch.stack([torch.cat(central), torch.cat(turned)])
        return cls(survey, training, validation, views, torch.cat(unseen), seed, device)

    def values(self, name: str) -> tuple[Tensor, Tensor]:
        """A condition of the training (N,) and of the validation galaxies (n,)."""
        values = torch.from_numpy(condition_column(self.survey, name)).float().to(self.device)
        return values[self.training], values[self.validation]


def fitting_rows(survey: Survey, rows: np.ndarray, seed: int) -> np.ndarray:
    """At most `FITTED_GALAXIES` of `rows`, ascending, without those that are far noisier than the
    others: a random subset that does not depend on the order of the file."""
    snr = torch.from_numpy(condition_column(survey, SNR)[rows].astype(np.float64))
    return random_subset(survey, rows[informative(snr).numpy()], FITTED_GALAXIES, seed)


def _images(survey: Survey, rows: np.ndarray, device: torch.device) -> Iterator[Tensor]:
    starts = range(0, len(rows), BATCH)
    read = (survey.read("images", rows[start : start + BATCH]) for start in starts)
    return (torch.from_numpy(images).to(device) for images in read)


def training_ranges(survey: Survey, rows: np.ndarray, config: GenerativeConfig) -> Ranges:
    """The conditions that the network takes, each with the range of the galaxies.

    Args:
        survey: The survey.
        rows: Training and validation rows.
        config: The configuration.

    Raises:
        UserError: the catalogue lacks a condition for some of the galaxies, or a S/N is not
            positive.
    """
    ranges = {}
    for name in CONDITIONS:
        if config.compatibility == "original" or getattr(config.diffusion, name) == "unconditional":
            continue
        values = condition_column(survey, name)[rows]
        usable = np.isfinite(values) & (values > (0.0 if name == SNR else -1.0))
        if not usable.all():
            raise UserError(
                f"{survey.path}: {COLUMNS[name]} ({name}) of {np.sum(~usable)} of the training and "
                f"validation galaxies is missing or {'not positive' if name == SNR else '≤ −1'}; "
                f"build the survey without them, or train with --diffusion.{name} unconditional"
            )
        ranges[name] = float(values.min()), float(values.max())
    return ranges


class FittedPrior(NamedTuple):
    """Heads by the name of the condition, and the parameters (all, 2 + E) of the galaxies of the
    survey, or None for a network without a prior."""

    heads: dict[str, PropertyHead]
    parameters: Tensor | None


def fit_prior(
    prior: SpectrumPrior | None,
    towers: TrainedContrastive,
    spectra: SpectrumTransform,
    survey: Survey,
    training: np.ndarray,
    validation: np.ndarray,
    names: Collection[str],
    seed: int,
    saved: dict[str, Any] | None = None,
) -> FittedPrior:
    """Fit a prior, in place, and the heads of its conditions; the first process does it for all.

    Args:
        prior: From `empty_prior`, or None for a network without conditions.
        towers: The trained towers, on the device of the prior.
        spectra: Transform of the spectra, on the device of the prior.
        survey: The survey.
        training, validation: Rows of the survey.
        names: The conditions that the network takes.
        seed: Of everything random.
        saved: From `saved_fit`: restored instead.
    """
    if prior is None:
        return FittedPrior({}, None)
    device = prior.mean.device

    def fit() -> dict[str, Any]:
        features = TrainingFeatures.of(towers, survey, training, validation, seed, device)
        fit_spectrum_prior(prior, spectra, features, names)
        heads = {name: fit_property_head(name, features).state_dict() for name in names}
        return {"prior": prior.state_dict(), "heads": heads}

    def project() -> Tensor:
        rows = np.concatenate([training, validation])
        return galaxy_parameters(prior, spectra, survey, rows, names)

    state = saved or on_first_rank(fit, device)
    prior.load_state_dict(state["prior"])
    heads = {name: PropertyHead.from_state(head) for name, head in state["heads"].items()}
    heads = {name: head.to(device) for name, head in heads.items()}
    return FittedPrior(heads, on_first_rank(project, torch.device("cpu")))


def saved_fit(path: Path) -> dict[str, Any] | None:
    """The state of prior and heads in the checkpoint `path` of a stopped run; None without one."""
    if not path.exists():
        return None
    checkpoint = read_checkpoint(path, "generative")
    weights = {
        name.removeprefix("prior."): tensor
        for name, tensor in checkpoint["network"].items()
        if name.startswith("prior.")
    }
    return {"prior": weights, "heads": checkpoint["heads"]}


def fit_spectrum_prior(
    prior: SpectrumPrior,
    spectra: SpectrumTransform,
    features: TrainingFeatures,
    names: Collection[str],
) -> None:
    """Fit a prior to the training galaxies, in place.

    Args:
        prior: From `empty_prior`, on the device.
        spectra: Transform of the spectra, on the device.
        features: The galaxies it is fitted to.
        names: The conditions that the network takes.
    """
    survey, rows, seed = features.survey, features.training, features.seed
    if prior.basis is not None:
        some = random_subset(survey, rows, COMPONENT_GALAXIES, seed)
        _fill_basis(prior.basis, spectra, survey, some)
    both = np.concatenate([rows, features.validation])
    parameters = galaxy_parameters(prior, spectra, survey, both, names).to(features.device)
    if prior.basis is not None:
        z, validation_z = features.values(REDSHIFT)
        prior.fit_coefficient_sampler(
            torch.cat([features.views, z[None, :, None].expand(2, -1, 1)], dim=2),
            parameters[rows, 2:],
            (
                torch.cat([features.validation_views, validation_z[:, None]], dim=1),
                parameters[features.validation, 2:],
            ),
            seed,
        )
    prior.fit(_encoded(spectra, survey, rows), parameters[rows])


def galaxy_parameters(
    prior: SpectrumPrior,
    spectra: SpectrumTransform,
    survey: Survey,
    rows: np.ndarray,
    names: Collection[str],
) -> Tensor:
    """Redshift, S/N and coefficients of the galaxies of a survey (all, 2 + E), on the CPU.

    The coefficients are those of the true spectra; for super resolution those of the true
    low-resolution spectra, since generation has no others.

    Args:
        prior: With a fitted basis, or none.
        spectra: Transform of the spectra, on the device of the prior.
        survey: The survey.
        rows: The galaxies whose coefficients are computed; those of the others are NaN.
        names: The conditions that the network takes; the others are NaN.
    """
    conditions = catalogue_conditions(survey, names)
    if prior.basis is None:
        return conditions
    coefficients = torch.full((len(survey), len(prior.basis) - 1), torch.nan)
    for start in range(0, len(rows), BATCH):
        part = rows[start : start + BATCH]
        flux = torch.from_numpy(survey.read("spectra", part)).to(spectra.mean.device)
        low = spectra.representation == "super"
        x = spectra.encode_low(flux) if low else spectra.encode(flux)
        coefficients[part] = prior.project(x, conditions[part, 0].to(x.device)).cpu()
    return torch.cat([conditions, coefficients], dim=1)


def _fill_basis(
    basis: SpectralBasis, spectra: SpectrumTransform, survey: Survey, rows: np.ndarray
) -> None:
    flux = torch.from_numpy(survey.read("spectra", rows)).to(spectra.mean.device)
    fitted = fit_basis(
        spectra.standardised(flux).cpu(),
        torch.from_numpy(condition_column(survey, REDSHIFT)[rows]).float(),
        torch.from_numpy(np.log10(spectra.output_grid.angstrom)),
        basis.rest_start.item(),
        basis.templates.shape[1],
        len(basis),
    )
    basis.templates.copy_(fitted)


def _encoded(spectra: SpectrumTransform, survey: Survey, rows: np.ndarray) -> Tensor:
    """Standardised spectra (N, C, L) of rows of the survey."""
    parts = (survey.read("spectra", rows[i : i + BATCH]) for i in range(0, len(rows), BATCH))
    device = spectra.mean.device
    return torch.cat([spectra.encode(torch.from_numpy(part).to(device)) for part in parts])


def fit_property_head(name: str, features: TrainingFeatures) -> PropertyHead:
    """p(property | image) for the condition `name`, calibrated on the validation galaxies."""
    values, validation_values = features.values(name)
    return fit_head(
        (features.views[1], values), (features.validation_views, validation_values), features.seed
    )
