"""Fitting the spectrum prior, and the parameters of the training galaxies.

Done once, before the two diffusion models are trained: the spectral basis, mean and σ of a spectrum
given its parameters, and the parameters of all galaxies: z and ln S/N from the catalogue, the
coefficients from the spectra.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from datasets.errors import UserError
from datasets.photometry import photometric_features
from datasets.spectrum_transform import SpectrumTransform
from datasets.survey import Survey
from models.spectral_basis import SpectralBasis, fit_basis
from models.spectrum_prior import CONDITIONS, REDSHIFT, SNR, SpectrumPrior, informative
from utils.core.checkpoints import read_checkpoint
from utils.core.config import GenerativeConfig, PriorConfig
from utils.core.model_factory import Ranges
from utils.core.run_directory import PARAMETERS, has_checkpoint
from utils.core.survey_rows import blocks, random_subset
from utils.generation.conditions import COLUMNS, catalogue_conditions, condition_column
from utils.training.distributed import on_first_rank
from utils.training.trainer import read_last

SMOOTHED_BAND = 1.0  # bandwidth times σ in px: beyond, smoothing left 5e-5 of the power


def informative_rows(survey: Survey, rows: np.ndarray, config: PriorConfig) -> np.ndarray:
    """Those of `rows` that are not far noisier than the others."""
    snr = torch.from_numpy(condition_column(survey, SNR)[rows].astype(np.float64))
    return rows[informative(snr, config.largest_q).numpy()]


def fitting_rows(survey: Survey, rows: np.ndarray, config: PriorConfig, seed: int) -> np.ndarray:
    """At most `prior.galaxies` informative ones of `rows`, ascending: a random subset that does not
    depend on the order of the file."""
    return random_subset(survey, informative_rows(survey, rows, config), config.galaxies, seed)


def training_ranges(survey: Survey, rows: np.ndarray, config: GenerativeConfig) -> Ranges:
    """Ranges of redshift and S/N of the training and validation galaxies; empty for a network
    without a prior.

    Raises:
        UserError: the catalogue lacks one of them for some of the galaxies, or a S/N is not
            positive.
    """
    if config.diffusion.prior == "none":
        return {}
    ranges = {}
    for name in CONDITIONS:
        values = condition_column(survey, name)[rows]
        usable = np.isfinite(values) & (values > (0.0 if name == SNR else -1.0))
        if not usable.all():
            raise UserError(
                f"{survey.path}: {COLUMNS[name]} ({name}) of {np.sum(~usable)} of the training and "
                f"validation galaxies is missing or {'not positive' if name == SNR else '≤ −1'}; "
                "build the survey without them, or train with --diffusion.prior none"
            )
        ranges[name] = float(values.min()), float(values.max())
    return ranges


def fit_prior(
    prior: SpectrumPrior | None,
    spectra: SpectrumTransform,
    survey: Survey,
    training: np.ndarray,
    config: GenerativeConfig,
    saved: dict[str, Tensor] | None = None,
) -> None:
    """Fit a prior, in place; the first process does it for all.

    Args:
        prior: From `empty_prior`; None for a network without one.
        spectra: Transform of the spectra, on the device of the prior.
        training: Training rows.
        saved: From `saved_prior`: restored instead.

    Raises:
        UserError: `saved` belongs to other redshifts or options; the spectra are smoothed too
            little; or there are fewer galaxies than components.
    """
    if prior is None:
        return
    settings, seed = config.prior, config.run.seed
    _check_bandwidth(prior, survey)

    def fit() -> dict[str, Tensor]:
        rows = fitting_rows(survey, training, settings, seed)
        some = random_subset(survey, rows, settings.basis_galaxies, seed)
        _fill_basis(prior.basis, spectra, survey, some)
        parameters = galaxy_parameters(prior, spectra, survey, rows)[rows]
        prior.fit(
            _encoded(spectra, survey, rows),
            parameters.to(spectra.mean.device),
            largest_q=settings.largest_q,
            clip_sigma=settings.clip_sigma,
            pseudo_count=settings.pseudo_count,
            variance_floor=settings.variance_floor,
            smoothing_pixels=settings.smoothing_pixels,
        )
        return prior.state_dict()

    state = saved or on_first_rank(fit, spectra.mean.device)
    try:
        prior.load_state_dict(state)
    except RuntimeError as error:  # shapes
        raise UserError(
            f"{config.run.output}: the run began with a survey of other redshifts than "
            f"{survey.path}, or with other options of prior: give the same, or begin anew in "
            "another folder with --run.output"
        ) from error


def _check_bandwidth(prior: SpectrumPrior, survey: Survey) -> None:
    """Refuse to leave out frequencies that the spectra of a survey have.

    Raises:
        UserError: the spectra are smoothed too little for `prior.bandwidth`.
    """
    kept = prior.whitening.kept / prior.whitening.channels
    smoothing = survey.preparation.smoothing_sigma_angstrom / np.diff(survey.grid.angstrom).max()
    if kept < min(1.0, SMOOTHED_BAND / max(smoothing, 1e-6)):
        raise UserError(
            f"{survey.path}: spectra smoothed with {smoothing:.2g} px have structure at the "
            f"frequencies that prior.bandwidth {kept:g} leaves out: raise it, to 1 at most"
        )


def saved_prior(folder: Path) -> dict[str, Tensor] | None:
    """The state of the prior that a stopped run in `folder` began with; None without one."""
    for part, kind in ((folder / PARAMETERS, "parameters"), (folder, "generative")):
        if has_checkpoint(part):
            checkpoint = read_checkpoint(read_last(part)[0], kind)
            state, prefix = checkpoint["network"], "prior."
            if kind == "parameters":
                return checkpoint["prior"]
            state = {n.removeprefix(prefix): w for n, w in state.items() if n.startswith(prefix)}
            return state or None
    return None


def galaxy_parameters(
    prior: SpectrumPrior, spectra: SpectrumTransform, survey: Survey, rows: np.ndarray
) -> Tensor:
    """Parameters (z, ln S/N, coefficients) of the galaxies of a survey (all, D), on the CPU.

    The coefficients are those of the true spectra; for super resolution those of the true
    low-resolution spectra, since generation has no others. They are computed for `rows`, and NaN
    for the others. The prior has a fitted basis; `spectra` is on its device.
    """
    parameters = torch.full((len(survey), prior.parameters_count), torch.nan)
    conditions = catalogue_conditions(survey)
    parameters[:, 0], parameters[:, 1] = conditions[:, 0], conditions[:, 1].log()
    for part in blocks(rows):
        flux = torch.from_numpy(survey.read("spectra", part)).to(spectra.mean.device)
        low = spectra.representation == "super"
        x = spectra.encode_low(flux) if low else spectra.encode(flux)
        z = conditions[part, 0].to(x.device)
        parameters[part, len(CONDITIONS) :] = prior.project(x, z).cpu()
    return parameters


def training_photometry(survey: Survey, rows: np.ndarray) -> Tensor:
    """Photometric features (N, m) of the images of `rows`."""
    scale = survey.pixel_scale_arcsec
    read = (torch.from_numpy(survey.read("images", part)) for part in blocks(rows))
    return torch.cat([photometric_features(images, scale) for images in read])


def _fill_basis(
    basis: SpectralBasis, spectra: SpectrumTransform, survey: Survey, rows: np.ndarray
) -> None:
    flux = torch.from_numpy(survey.read("spectra", rows)).to(spectra.mean.device)
    try:
        fitted = fit_basis(
            spectra.standardised(flux).cpu(),
            torch.from_numpy(condition_column(survey, REDSHIFT)[rows]).float(),
            torch.from_numpy(condition_column(survey, SNR)[rows]).float(),
            torch.from_numpy(np.log10(spectra.output_grid.angstrom)),
            basis.rest_start.item(),
            basis.templates.shape[1],
            len(basis),
        )
    except ValueError as error:
        raise UserError(
            f"{survey.path}: {error}: lower prior.components, or train with more galaxies"
        ) from error
    basis.templates.copy_(fitted)


def _encoded(spectra: SpectrumTransform, survey: Survey, rows: np.ndarray) -> Tensor:
    """Standardised spectra (N, C, L) of rows of the survey."""
    device, read = spectra.mean.device, (survey.read("spectra", part) for part in blocks(rows))
    return torch.cat([spectra.encode(torch.from_numpy(part).to(device)) for part in read])
