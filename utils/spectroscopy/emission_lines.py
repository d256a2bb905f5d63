"""Fluxes and equivalent widths of the strong nebular lines.

The spectrum minus its continuum is fitted, in the rest frame and in x = ln λ, with

    M(λ) = Σ_l A_l / (√(2π) s λ) · exp(−(x − x_l − v/c)² / 2s²)

so that A_l is the flux ∫ M dλ. All lines of a galaxy share the velocity v and the width s: weak
lines are measured at the velocity of the strong ones, and blends (Hα + [N II]) are separated.
Levenberg–Marquardt with weights 1/σ², all galaxies at once; wide Gaussian priors on v and ln s keep
galaxies without lines at rest. Fluxes may be negative, and are therefore unbiased at low S/N.
Errors follow from the curvature matrix and from the covariance of the continuum, which includes the
uncertainty of the Balmer absorption. Equivalent widths are in the rest frame, positive in emission,
and refer to the mean of the fitted continuum beside the line, outside the stellar absorption.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datasets.constants import SPEED_OF_LIGHT_KM_S
from datasets.line_list import LINES
from utils.spectroscopy.continuum import CONTINUUM_GRID, ContinuumFit

VELOCITY_PRIOR_KM_S = 150.0  # σ
WIDTH_KM_S, WIDTH_PRIOR_DEX = 130.0, 0.2  # mean of the prior on s, σ of its logarithm
REACH_KM_S = 1800.0  # of the fitted pixels around a line
CORE_KM_S = 250.0  # of the pixels that must be covered
SIDE_KM_S = (1000.0, 3000.0)  # where the continuum of an EW is taken: beside the stellar absorption
ITERATIONS = 10  # of Levenberg–Marquardt


@dataclass(frozen=True)
class LineFit:
    """By line name: flux (N,) in flux unit × observed Å, rest-frame EW in Å, and their errors.

    velocity_km_s is relative to the redshift, width_km_s the observed Gaussian σ, both (N,).
    """

    flux: dict[str, np.ndarray]
    flux_err: dict[str, np.ndarray]
    ew: dict[str, np.ndarray]
    ew_err: dict[str, np.ndarray]
    velocity_km_s: np.ndarray
    width_km_s: np.ndarray


def _near(reach_km_s: float) -> np.ndarray:
    """(m, L) pixels of the grid within reach of each line."""
    log_wavelength = np.log(CONTINUUM_GRID.angstrom)[:, None]
    centres = np.array([np.mean(line) for line in LINES.values()])
    return np.abs(log_wavelength - np.log(centres)) < reach_km_s / SPEED_OF_LIGHT_KM_S


def fit_lines(spectra: ContinuumFit, redshift: np.ndarray) -> LineFit:
    """Measure all `LINES`.

    Args:
        spectra: from `fit_continuum`.
        redshift: (N,) the same as there; scales the fluxes to observed Å.

    Returns:
        LineFit; NaN for lines of which less than 60 % of ±`CORE_KM_S` is covered.
    """
    pixels = _near(REACH_KM_S).any(axis=1)
    scale = np.abs(np.median(spectra.flux, axis=1))[:, None]
    scale = np.where(scale > np.finfo(np.float32).tiny, scale, 1.0)  # of an empty spectrum
    data = ((spectra.flux - spectra.continuum)[:, pixels]) / scale
    weight = spectra.weight[:, pixels] * scale**2
    model = _LineModel(CONTINUUM_GRID.angstrom[pixels])
    parameters, variance, response = model.fit(data, weight)
    amplitude = parameters[:, :-2] * scale
    velocity, width = (
        x * SPEED_OF_LIGHT_KM_S for x in (parameters[:, -2], np.exp(parameters[:, -1]))
    )
    core = _near(CORE_KM_S) / _near(CORE_KM_S).sum(axis=0)  # (m, L), means over the line
    covered = (spectra.weight > 0) @ core
    amplitude = np.where(covered >= 0.6, amplitude, np.nan)
    nothing = np.isnan(amplitude).all(axis=1)  # then these are only what was assumed of them
    velocity, width = (np.where(nothing, np.nan, x) for x in (velocity, width))
    side = _near(SIDE_KM_S[1]) & ~_near(SIDE_KM_S[0])
    side = side / side.sum(axis=0)
    level = spectra.continuum @ side
    level = np.where(level > 0, level, np.nan)
    variance, response = variance[:, :-2] * scale**2, response[:, :-2]
    slow = [spectra.running_mean(np.mean(line)) for line in LINES.values()]
    mean_basis, mean_variance = (np.stack(part, axis=1) for part in zip(*slow, strict=True))
    by_basis = response @ spectra.basis[:, pixels].T  # (N, L, K)

    def error(level_share: np.ndarray | float) -> np.ndarray:
        """Of the flux plus a share (N, L) of the error of the level, in units of the flux.

        The error of the continuum is that of the model around its running mean, and of the running
        mean of the data, which are correlated.
        """
        level_share = np.asarray(level_share)
        total = (response.sum(axis=-1) + level_share)[..., None]
        model = by_basis + level_share[..., None] * (side.T @ spectra.basis.T) - total * mean_basis
        covariance = model @ spectra.covariance
        by_model = np.sum(covariance * (model + 2.0 * total * mean_basis), axis=-1)
        return np.sqrt(variance + by_model + total[..., 0] ** 2 * mean_variance)

    ew = amplitude / level
    observed = (1.0 + redshift)[:, None]
    flux_error = np.where(np.isnan(amplitude), np.nan, error(0.0))
    columns = (amplitude * observed, flux_error * observed, ew, error(ew) / level)
    named = (dict(zip(LINES, column.T, strict=True)) for column in columns)
    return LineFit(*named, velocity, width)


class _LineModel:
    """The model on fixed pixels (m,) and its Levenberg–Marquardt fit; parameters A_l, v/c, ln s."""

    def __init__(self, wavelength_angstrom: np.ndarray) -> None:
        self.wavelength = wavelength_angstrom
        self.x = np.log(wavelength_angstrom)
        self.count = len(LINES)
        self.start = np.log(WIDTH_KM_S / SPEED_OF_LIGHT_KM_S)
        self.prior = np.zeros(self.count + 2)
        self.prior[-2] = (SPEED_OF_LIGHT_KM_S / VELOCITY_PRIOR_KM_S) ** 2
        self.prior[-1] = 1.0 / (WIDTH_PRIOR_DEX * np.log(10.0)) ** 2
        self.centre = np.append(np.zeros(self.count + 1), self.start)

    def model(self, parameters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The spectrum M (N, m) and its derivatives ∂M (N, P, m) with respect to the parameters."""
        spectrum = np.zeros((len(parameters), self.x.size))
        slopes = np.zeros((*parameters.shape, self.x.size))
        shift, width = parameters[:, -2, None], np.exp(parameters[:, -1, None])
        for k, line in enumerate(LINES.values()):
            amplitude = parameters[:, k, None]
            for centre in line:
                near = self.near(centre)
                u = (self.x[near] - np.log(centre) - shift) / width
                norm = len(line) * np.sqrt(2.0 * np.pi) * width * self.wavelength[near]
                profile = np.exp(-0.5 * u**2) / norm
                slopes[:, k, near] += profile
                profile *= amplitude
                spectrum[:, near] += profile
                slopes[:, -2, near] += profile * u / width
                slopes[:, -1, near] += profile * (u**2 - 1.0)
        return spectrum, slopes

    def near(self, centre_angstrom: float) -> slice:
        """The pixels within reach of a line; increasing wavelengths make them one run."""
        reach = REACH_KM_S / SPEED_OF_LIGHT_KM_S
        return slice(*np.searchsorted(self.x, np.log(centre_angstrom) + np.array([-reach, reach])))

    def linearise(
        self, parameters: np.ndarray, data: np.ndarray, weight: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """χ² with priors (N,), curvature (N, P, P), downhill gradient (N, P) and w ∂M (N, P, m)."""
        spectrum, slopes = self.model(parameters)
        residual = data - spectrum
        offset = self.centre - parameters
        chi2 = np.sum(weight * residual**2, axis=1) + np.sum(self.prior * offset**2, axis=1)
        weighted = slopes * weight[:, None]
        curvature = weighted @ np.swapaxes(slopes, 1, 2) + np.diag(self.prior)
        gradient = (weighted @ residual[..., None])[..., 0] + self.prior * offset
        return chi2, curvature, gradient, weighted

    def fit(
        self, data: np.ndarray, weight: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Parameters (N, P), their variances (N, P), response to changes of the data (N, P, m)."""
        parameters = np.tile(self.centre, (len(data), 1))
        damping = np.full(len(data), 1e-3)
        state = self.linearise(parameters, data, weight)[:3]
        for _ in range(ITERATIONS):
            trial = parameters + self._step(state, damping)
            trial[:, -1] = np.clip(trial[:, -1], self.start - 1.0, self.start + 1.5)
            trial_state = self.linearise(trial, data, weight)[:3]
            better = trial_state[0] <= state[0]
            parameters = np.where(better[:, None], trial, parameters)
            state = tuple(
                np.where(better.reshape(-1, *[1] * (old.ndim - 1)), new, old)
                for new, old in zip(trial_state, state, strict=True)
            )
            damping = np.where(better, damping * 0.1, damping * 10.0)
        _, curvature, _, weighted = self.linearise(parameters, data, weight)
        covariance = np.linalg.inv(self._regular(curvature))
        return parameters, np.diagonal(covariance, axis1=1, axis2=2), covariance @ weighted

    @staticmethod
    def _regular(curvature: np.ndarray) -> np.ndarray:
        """Unit curvature for lines that no pixel constrains."""
        diagonal = np.diagonal(curvature, axis1=1, axis2=2)
        return curvature + np.eye(diagonal.shape[1]) * (diagonal <= 0)[:, None]

    def _step(self, state: tuple, damping: np.ndarray) -> np.ndarray:
        """Damped Gauss–Newton step (N, P)."""
        curvature = self._regular(state[1])
        scale = np.sqrt(np.diagonal(curvature, axis1=1, axis2=2))
        normalised = curvature / (scale[:, :, None] * scale[:, None])
        normalised += damping[:, None, None] * np.eye(scale.shape[1])
        return np.linalg.solve(normalised, (state[2] / scale)[..., None])[..., 0] / scale
