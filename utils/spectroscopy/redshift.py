"""Redshift by template fitting on a log λ grid.

On that grid a redshift is a lag s. For every lag the templates T_j are fitted to the spectrum d
with weights w by linear least squares; the gain over no template is

    Δχ²(s) = bᵀ A⁻¹ b,    A_jk(s) = Σ_i w_i T_j(i − s) T_k(i − s),   b_j(s) = Σ_i w_i d_i T_j(i − s)

and all A and b are cross-correlations, hence FFTs (cross-correlation: Tonry & Davis 1979, AJ 84,
1511; χ² of linear templates: Bolton et al. 2012, AJ 144, 144). A running mean is subtracted from
data and templates first, so that flux calibration and dust do not matter.

Emission lines may only be added. The highest peaks of the unconstrained gain are therefore solved
again without the lines that were negative, and the best of them is taken. A parabola through the
peak gives the redshift between the lags, Δχ² = 1 its error; the margin is the gain of the peak over
the best peak more than `SEPARATION_KM_S` away.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import fft

from datasets.errors import UserError
from utils.spectroscopy.continuum import correlated_pixels, local_mean
from utils.spectroscopy.galaxy_templates import RedshiftTemplates
from utils.spectroscopy.wavelength import (
    DEFAULT_REDSHIFT_RANGE,
    REST_GRID,
    LogGrid,
    fill_bad_pixels,
    good_pixels,
    pixel_widths,
    resample,
    weights_on_grid,
)

SEPARATION_KM_S = 1000.0  # between peaks
PEAKS = 5  # that are solved with non-negative lines
NARROWEST_RANGE = 0.001  # of redshift, relative to 1 + z: four pixels, for the parabola
MINIMUM_PIXELS = 500  # that spectra and templates must share
RIDGE = 1e-6  # of the normal equations, relative: templates may leave the coverage


@dataclass(frozen=True)
class RedshiftFit:
    """redshift, its error and the margin Δχ² to the next best redshift, each (N,)."""

    redshift: np.ndarray
    error: np.ndarray
    margin: np.ndarray


def fit_redshift(
    wavelength_angstrom: np.ndarray,
    flux: np.ndarray,
    sigma: np.ndarray | None = None,
    *,
    templates: RedshiftTemplates | None = None,
    redshift_range: tuple[float, float] = DEFAULT_REDSHIFT_RANGE,
) -> RedshiftFit:
    """Best redshift of every spectrum.

    Args:
        wavelength_angstrom: (n,) vacuum, increasing.
        flux: (N, n) in any unit; NaN marks bad pixels.
        sigma: (N, n) in the same unit, not finite or 0 where there is no measurement. If the best
            fit is worse than σ allows, σ is scaled up to it for error and margin; without σ all
            pixels have the same weight, and the residuals give the noise and its correlation.
        templates: default `RedshiftTemplates.default()`.
        redshift_range: lower and upper end of the search.

    Returns:
        RedshiftFit; NaN where a spectrum has no good pixel. The margin is NaN where the range holds
        no second redshift `SEPARATION_KM_S` away.

    Raises:
        UserError: if `redshift_range` is empty, or if templates and spectra overlap too little
            over it.
    """
    low, high = redshift_range
    if not (low > -1.0 and NARROWEST_RANGE * (1.0 + low) <= high - low < np.inf):
        raise UserError(
            f"redshift range {low:g} to {high:g}: the lower end must be above −1, and the upper "
            f"one at least {NARROWEST_RANGE} (1 + z) above it"
        )
    templates = RedshiftTemplates.default() if templates is None else templates
    grid = _data_grid(wavelength_angstrom, redshift_range)
    lags, first = _lags(grid, redshift_range)
    data, weight = _flattened(wavelength_angstrom, flux, sigma, grid)
    patterns = remove_continuum(templates.flux)
    patterns /= patterns.std(axis=1, keepdims=True)
    matrix, vector = _normal_equations(data, weight, patterns, first)
    gain = _gain(matrix, vector)
    peaks = _peaks(gain, int(np.ceil(SEPARATION_KM_S / grid.km_s)))
    best, margin, coefficient = _choose(matrix, vector, gain, peaks, templates.lines)
    noise = _reduced_chi2(data, weight, gain, best)
    if sigma is None:
        shifted = patterns[:, first[best][:, None] + np.arange(data.shape[1])]  # (K, N, n)
        residual = data - np.einsum("nk,kni->ni", coefficient, shifted)
        noise *= correlated_pixels(residual, weight > 0)[:, 0]
    else:
        noise = np.maximum(noise * pixel_widths(wavelength_angstrom, grid).mean(), 1.0)
    pixel, error = parabola(gain / noise[:, None], best)
    margin /= noise
    scale = grid.step * np.log(10.0)
    redshift = np.expm1((lags[0] + pixel) * scale)
    dead = ~(weight > 0).any(axis=1)
    return RedshiftFit(
        *(np.where(dead, np.nan, x) for x in (redshift, (1.0 + redshift) * error * scale, margin))
    )


def remove_continuum(flux: np.ndarray) -> np.ndarray:
    """flux (N, n) minus its running mean, over fewer pixels near the ends."""
    return flux - local_mean(flux, np.ones(flux.shape, bool))


def _data_grid(wavelength_angstrom: np.ndarray, redshift_range: tuple[float, float]) -> LogGrid:
    """Whole pixels of `REST_GRID` that the spectrum covers and, at any redshift, the templates."""
    always = REST_GRID.log10[[0, -1]] + np.log10(1.0 + np.asarray(redshift_range))[::-1]
    covered = np.log10(wavelength_angstrom[[0, -1]])
    low, high = max(always[0], covered[0]), min(always[1], covered[1])
    tolerance = 1e-6  # pixels: spectra on the same grid keep their ends
    start = int(np.ceil((low - REST_GRID.start) / REST_GRID.step - tolerance))
    stop = int(np.floor((high - REST_GRID.start) / REST_GRID.step + tolerance))
    if stop - start < MINIMUM_PIXELS:
        raise UserError(
            f"spectra over {wavelength_angstrom[0]:.0f}–{wavelength_angstrom[-1]:.0f} Å overlap "
            f"too little with the templates at redshifts {redshift_range}: narrow the range"
        )
    return LogGrid(REST_GRID.start + start * REST_GRID.step, stop - start + 1)


def _lags(grid: LogGrid, redshift_range: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Lags of the range, and for each the template pixel under the first data pixel."""
    low, high = np.log10(1.0 + np.asarray(redshift_range)) / grid.step
    lags = np.arange(int(np.ceil(low)), int(np.floor(high)) + 1)
    return lags, round((grid.start - REST_GRID.start) / grid.step) - lags


def _flattened(
    wavelength_angstrom: np.ndarray, flux: np.ndarray, sigma: np.ndarray | None, grid: LogGrid
) -> tuple[np.ndarray, np.ndarray]:
    """Spectra without continuum and their weights on the grid, (N, n) each."""
    good = good_pixels(flux, sigma)
    observed = np.zeros(len(flux))
    data = resample(wavelength_angstrom, fill_bad_pixels(flux, good), observed, grid)
    weight = weights_on_grid(wavelength_angstrom, good, sigma, observed, grid)
    return remove_continuum(data), weight


def _normal_equations(
    data: np.ndarray, weight: np.ndarray, patterns: np.ndarray, first: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """A, lower triangle only, and b (K, N, S) for all lags at once.

    A is (K, K, N, S), or (K, K, 1, S) where all spectra have the same weights, as those without σ
    and bad pixels have: most of the time goes into it.
    """
    if (weight == weight[:1]).all():
        weight = weight[:1]
    length = fft.next_fast_len(REST_GRID.count, real=True)
    data_spectrum = np.conj(fft.rfft(data * weight, length))
    weight_spectrum = np.conj(fft.rfft(weight, length))

    def correlate(spectrum: np.ndarray, template: np.ndarray) -> np.ndarray:
        return fft.irfft(spectrum * fft.rfft(template, length), length)[:, first]

    count, lags = len(patterns), len(first)
    matrix = np.zeros((count, count, len(weight), lags))
    vector = np.empty((count, len(data), lags))
    for j in range(count):
        vector[j] = correlate(data_spectrum, patterns[j])
        for k in range(j + 1):
            matrix[j, k] = correlate(weight_spectrum, patterns[j] * patterns[k])
        level = matrix[j, j].mean(axis=1, keepdims=True)
        # Of a line that is outside the spectrum at every lag, the level is rounding: the ridge is
        # then that of one that is covered at one lag in a thousand.
        least = 1e-3 * weight.mean(axis=1, keepdims=True) * np.sum(patterns[j] ** 2)
        level = np.maximum(level, np.where(least > 0, least, 1.0))
        matrix[j, j] += RIDGE * (matrix[j, j] + level)
    return matrix, vector


def _gain(matrix: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """bᵀ A⁻¹ b (N, S): a Cholesky factorisation written out, vectorised over spectra and lags."""
    solved = vector.copy()
    columns: list[np.ndarray] = []  # of the factor, each from its diagonal downwards
    for j in range(len(vector)):
        column = matrix[j:, j].copy()
        for k, earlier in enumerate(columns):
            column -= earlier[j - k :] * earlier[j - k]
            solved[j] -= earlier[j - k] * solved[k]
        inverse = 1.0 / np.sqrt(np.maximum(column[0], np.finfo(float).tiny))
        columns.append(column * inverse)
        solved[j] *= inverse
    return np.sum(solved**2, axis=0)


def _peaks(gain: np.ndarray, separation: int) -> np.ndarray:
    """(N, PEAKS) lags of the highest gains more than `separation` pixels apart; −1 where the range
    has fewer."""
    rows = np.arange(len(gain))
    remaining = gain.copy()
    peaks = np.empty((len(gain), PEAKS), np.intp)
    near = np.arange(-separation, separation + 1)
    for p in range(PEAKS):
        highest = remaining.argmax(axis=1)
        peaks[:, p] = np.where(np.isneginf(remaining[rows, highest]), -1, highest)
        taken = np.clip(highest[:, None] + near, 0, gain.shape[1] - 1)
        np.put_along_axis(remaining, taken, -np.inf, axis=1)
    return peaks


def _choose(
    matrix: np.ndarray, vector: np.ndarray, gain: np.ndarray, peaks: np.ndarray, lines: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The best peak (N,) without negative lines, its margin (N,) over the next, and the
    coefficients (N, K) of the templates there."""
    rows = np.arange(len(gain))[:, None]
    matrix = np.broadcast_to(matrix, (*matrix.shape[:2], *gain.shape))
    lower = np.moveaxis(matrix[:, :, rows, peaks], (0, 1), (-2, -1))  # (N, PEAKS, K, K)
    full = lower + np.swapaxes(np.tril(lower, -1), -2, -1)
    right = np.moveaxis(vector[:, rows, peaks], 0, -1)  # (N, PEAKS, K)
    keep = np.ones(right.shape, bool)
    for _ in range(1 + lines.sum()):
        masked = np.where(keep[..., None] & keep[..., None, :], full, np.eye(len(lines)))
        coefficient = np.linalg.solve(masked, (right * keep)[..., None])[..., 0]
        keep &= ~(lines & (coefficient < 0))
    value = np.where(peaks < 0, -np.inf, np.sum(coefficient * right * keep, axis=-1))
    order = np.argsort(value, axis=1)
    best, second = order[:, -1:], order[:, -2:-1]
    margin = np.take_along_axis(value, best, 1) - np.take_along_axis(value, second, 1)
    margin = np.where(np.isinf(margin), np.nan, margin)
    coefficient = np.take_along_axis(coefficient, best[..., None], 1)[:, 0]
    return np.take_along_axis(peaks, best, 1)[:, 0], margin[:, 0], coefficient


def _reduced_chi2(
    data: np.ndarray, weight: np.ndarray, gain: np.ndarray, best: np.ndarray
) -> np.ndarray:
    """χ² per good pixel (N,) of the best fit; with unit weights, the variance of its residuals."""
    total = np.sum(weight * data**2, axis=1) - gain[np.arange(len(gain)), best]
    return np.maximum(total, np.finfo(float).tiny) / np.maximum((weight > 0).sum(axis=1), 1)


def parabola(gain: np.ndarray, best: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Maximum of gain (N, S) near pixels (N,) and its Δχ² = 1 half width, (N,) each, in pixels."""
    middle = np.clip(best, 1, gain.shape[1] - 2)
    rows = np.arange(len(gain))
    left, centre, right = (gain[rows, middle + k] for k in (-1, 0, 1))
    curvature = centre - 0.5 * (left + right)
    # at least |right - left| / 2 at a maximum, but less at the rim or on a plateau
    floor = np.abs(right - left) / 8 + np.finfo(np.float32).tiny
    curvature = np.maximum(curvature, floor)
    shift = np.clip(0.25 * (right - left) / curvature, -1.0, 1.0)
    return middle + shift, 1.0 / np.sqrt(curvature)
