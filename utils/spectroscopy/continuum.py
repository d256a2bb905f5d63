"""The stellar continuum under the emission lines, Balmer absorption included.

Model: C(λ) = Σ_k [p_k(λ) S_k(λ) + a_k S_k″(λ)] + p_0(λ), with stellar patterns S_k (an old and a
young population, `galaxy_templates`) and polynomials p of low degree, fitted by linear least
squares with weights 1/σ² to the pixels without emission lines. The curvature terms change
the width of the features to first order: σ★ and resolution need not agree. The Balmer absorption
under a line follows from its wings and from the other features of the patterns. A running mean of
the residuals over `SMOOTHING_PIXELS` is added (as Tremonti et al. 2004, ApJ 613, 898, do with a
median). Pixels beyond `CLIP` σ are dropped and the fit is repeated.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.polynomial import legendre
from scipy.ndimage import uniform_filter1d

from datasets.constants import SPEED_OF_LIGHT_KM_S
from datasets.line_list import ABSORPTION_ANGSTROM, EMISSION_ANGSTROM
from utils.spectroscopy.galaxy_templates import kcorrect_stars
from utils.spectroscopy.wavelength import (
    REST_GRID,
    LogGrid,
    fill_bad_pixels,
    good_pixels,
    resample,
    weights_on_grid,
)

CONTINUUM_GRID = REST_GRID.window(3500.0, 7000.0)
CONTINUUM_PIXELS = REST_GRID.part(3500.0, 7000.0)  # the same pixels in arrays on `REST_GRID`
MASK_KM_S = 600.0  # on both sides of an emission line
PATTERN_DEGREE = 2  # of the polynomials that multiply the stellar patterns
FREE_DEGREE = 3  # of the additive polynomial
SMOOTHING_PIXELS = 301  # 0.03 dex, 350 Å at Hβ
CLIP = 4.0  # σ
CORRELATION_PIXELS = 10  # longest lag of the noise correlation
RIDGE = 1e-8  # of the normal equations, relative to their trace
LEAST_VARIANCE = 1e-12  # of the noise, relative to the mean square of the flux
# Emission lines of galaxies and interstellar Na D; H8 blends with He I 3889.
MASKED_ANGSTROM = (
    *(wavelength for name, wavelength in EMISSION_ANGSTROM.items() if name != "H8"),
    ABSORPTION_ANGSTROM["NaD1"],
    ABSORPTION_ANGSTROM["NaD2"],
)


@dataclass(frozen=True)
class ContinuumFit:
    """Rest-frame spectra on `CONTINUUM_GRID`, every array (N, m), per observed Å.

    weight is 1/σ², 0 where there is no measurement; without σ it comes from the local scatter of
    the residuals and their correlation between neighbouring pixels. used are the fitted pixels;
    covariance (N, K, K) is that of the coefficients of basis (K, m).
    """

    flux: np.ndarray
    weight: np.ndarray
    continuum: np.ndarray
    basis: np.ndarray
    covariance: np.ndarray
    used: np.ndarray

    def running_mean(self, wavelength_angstrom: float) -> tuple[np.ndarray, np.ndarray]:
        """The running mean that is added to the model, at a rest wavelength: the same mean of the
        basis (N, K), and its variance (N,) by the noise."""
        middle = np.searchsorted(CONTINUUM_GRID.angstrom, wavelength_angstrom)
        half = SMOOTHING_PIXELS // 2
        nearby = slice(max(middle - half, 0), middle + half + 1)
        mean, variance = self._mean(nearby, slice(None))
        alone = ~self.used[:, nearby].any(axis=1)
        mean[alone], variance[alone] = self._mean(slice(None), alone)
        return mean, variance

    def _mean(self, pixels: slice, rows: slice | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        used, weight = self.used[rows, pixels], self.weight[rows, pixels]
        count = np.maximum(used.sum(axis=1), 1)
        noise = np.divide(1.0, weight, out=np.zeros_like(weight), where=used)
        return used @ self.basis[:, pixels].T / count[:, None], noise.sum(axis=1) / count**2


def line_free(
    grid: LogGrid,
    lines_angstrom: Iterable[float] = MASKED_ANGSTROM,
    distance_km_s: float = MASK_KM_S,
) -> np.ndarray:
    """(m,) bool: pixels of a rest-frame grid farther than a distance from every line."""
    offset = np.log(grid.angstrom)[:, None] - np.log(list(lines_angstrom))
    return np.all(np.abs(offset) * SPEED_OF_LIGHT_KM_S > distance_km_s, axis=1)


def continuum_basis(patterns: np.ndarray) -> np.ndarray:
    """(K, m) terms of the model for stellar patterns (P, `REST_GRID.count`)."""
    polynomials = legendre.legvander(np.linspace(-1.0, 1.0, CONTINUUM_GRID.count), FREE_DEGREE).T
    tilted = patterns[:, None, CONTINUUM_PIXELS] * polynomials[None, : PATTERN_DEGREE + 1]
    curvature = np.gradient(np.gradient(patterns, axis=1), axis=1)[:, CONTINUUM_PIXELS]
    curvature /= curvature.std(axis=1, keepdims=True)
    return np.concatenate([np.concatenate(tilted), curvature, polynomials])


@cache
def default_basis() -> np.ndarray:
    """`continuum_basis` of kcorrect's stellar patterns."""
    return continuum_basis(kcorrect_stars())


def fit_continuum(
    wavelength_angstrom: np.ndarray,
    flux: np.ndarray,
    sigma: np.ndarray | None,
    redshift: np.ndarray,
    basis: np.ndarray | None = None,
) -> ContinuumFit:
    """Fit the continuum of spectra.

    Args:
        wavelength_angstrom: (n,) vacuum, observed frame, increasing.
        flux: (N, n) F_λ in any unit; NaN marks bad pixels.
        sigma: (N, n) in the unit of flux, not finite or 0 where there is no measurement, or None.
        redshift: (N,) finite.
        basis: (K, m) terms of the model, default `default_basis()`.

    Returns:
        ContinuumFit.
    """
    basis = default_basis() if basis is None else basis
    good = good_pixels(flux, sigma)
    filled = fill_bad_pixels(flux, good)
    rest = resample(wavelength_angstrom, filled, redshift, CONTINUUM_GRID)
    weight = weights_on_grid(wavelength_angstrom, good, sigma, redshift, CONTINUUM_GRID)
    used = (weight > 0) & line_free(CONTINUUM_GRID)
    model, _ = _linear_fit(rest, weight * used, basis)
    if sigma is None:
        weight = weight / np.maximum(local_mean((rest - model) ** 2, used), _least_variance(rest))
        weight = weight / correlated_pixels(rest - model, used)
    used &= (rest - model) ** 2 * weight < CLIP**2 * _scatter(rest - model, weight, used)
    model, covariance = _linear_fit(rest, weight * used, basis)
    continuum = model + local_mean(rest - model, used)
    return ContinuumFit(rest, weight, continuum, basis, covariance, used)


def _least_variance(flux: np.ndarray) -> np.ndarray:
    """Variance (N, 1) that noise is taken to have at least, for spectra that a model fits exactly:
    10⁻¹² of the mean square, or 1 of spectra of zeros."""
    square = np.mean(flux**2, axis=1, keepdims=True)
    return _positive(LEAST_VARIANCE * square)


def _positive(values: np.ndarray) -> np.ndarray:
    """The values, 1 in the place of those that are 0."""
    return np.where(values > 0, values, 1.0)


def _linear_fit(
    flux: np.ndarray, weight: np.ndarray, basis: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Weighted least squares of all rows at once: models (N, m), covariances (N, K, K)."""
    terms = len(basis)
    scale = _positive(weight.max(axis=1))[:, None]
    weight = weight / scale
    products = (basis[:, None] * basis[None]).reshape(terms * terms, -1)
    matrix = (weight @ products.T).reshape(-1, terms, terms)
    size = np.trace(matrix, axis1=1, axis2=2)[:, None, None]
    matrix += RIDGE * _positive(size) * np.eye(terms)
    vector = (weight * flux) @ basis.T
    covariance = np.linalg.inv(matrix)
    coefficients = (covariance @ vector[..., None])[..., 0]
    return coefficients @ basis, covariance / scale[..., None]


def local_mean(values: np.ndarray, used: np.ndarray) -> np.ndarray:
    """Running mean (N, m) over the used pixels; the mean of the row where there are none nearby."""
    fraction = uniform_filter1d(used.astype(float), SMOOTHING_PIXELS, axis=1, mode="constant")
    total = uniform_filter1d(values * used, SMOOTHING_PIXELS, axis=1, mode="constant")
    whole = np.sum(values * used, axis=1, keepdims=True) / np.maximum(used.sum(1), 1)[:, None]
    enough = fraction * SMOOTHING_PIXELS > 0.5
    return np.where(enough, total / np.where(enough, fraction, 1.0), whole)


def correlated_pixels(residual: np.ndarray, used: np.ndarray) -> np.ndarray:
    """Pixels (N, 1) per independent value of the noise: 1 + 2 Σ_k ρ_k of the residuals.

    A sum over many pixels has this times the variance of independent ones. The sum of the
    autocorrelation ends at `CORRELATION_PIXELS` or where it drops below 0.1.
    """
    values = np.where(used, residual, 0.0)
    variance = np.maximum(np.sum(values**2, axis=1), np.finfo(float).tiny)
    pixels, rising = np.ones(len(values)), np.ones(len(values), bool)
    for lag in range(1, CORRELATION_PIXELS + 1):
        correlation = np.sum(values[:, lag:] * values[:, :-lag], axis=1) / variance
        rising &= correlation > 0.1
        pixels += 2.0 * correlation * rising
    return pixels[:, None]


def _scatter(residual: np.ndarray, weight: np.ndarray, used: np.ndarray) -> np.ndarray:
    """χ² per used pixel (N, 1), at least 1, so that a bad fit does not clip everything."""
    chi2 = np.sum(np.where(used, residual**2 * weight, 0.0), axis=1, keepdims=True)
    return np.maximum(chi2 / np.maximum(used.sum(axis=1, keepdims=True), 1), 1.0)
