"""Observed and rest frame, pixels and resolution.

All rest-frame fits share one logarithmic grid of the SDSS step, 10⁻⁴ in log₁₀ λ or 69 km/s, on
which a redshift is a translation by log₁₀(1 + z) and a velocity width does not depend on λ.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from datasets.constants import SPEED_OF_LIGHT_KM_S

SDSS_LOG_STEP = 1e-4  # of log₁₀ λ: the pixels of the SDSS spectrographs
FWHM_PER_SIGMA = 2.0 * np.sqrt(2.0 * np.log(2.0))  # of a Gaussian
DEFAULT_REDSHIFT_RANGE = (-0.01, 0.4)  # of searches: templates overlap SDSS spectra in all of it


def sdss_line_spread_km_s(wavelength_angstrom: ArrayLike) -> np.ndarray:
    """Typical Gaussian width of the SDSS line spread function at observed wavelengths.

    Medians of the column `wdisp` of a dozen spec files of legacy and BOSS plates; single fibres
    differ by 10 %. R = 1600 in the blue to 2500 in the red, with the step between the two arms.
    """
    wavelength = (3900.0, 4500.0, 5000.0, 5500.0, 5900.0, 6250.0, 7000.0, 8000.0, 9000.0)
    sigma_km_s = (78.0, 70.0, 63.0, 58.0, 61.0, 65.0, 57.0, 52.0, 50.0)
    return np.interp(wavelength_angstrom, wavelength, sigma_km_s)


@dataclass(frozen=True)
class LogGrid:
    """Pixel centres 10^(start + step · k) Å in vacuum, k = 0 … count − 1."""

    start: float
    count: int
    step: float = SDSS_LOG_STEP

    @property
    def log10(self) -> np.ndarray:
        return self.start + self.step * np.arange(self.count)

    @property
    def angstrom(self) -> np.ndarray:
        return 10.0**self.log10

    @property
    def km_s(self) -> float:
        """Width of a pixel as a velocity."""
        return self.step * np.log(10.0) * SPEED_OF_LIGHT_KM_S

    def part(self, low_angstrom: float, high_angstrom: float) -> slice:
        """The pixels whose centres lie in [low, high]."""
        return slice(*np.searchsorted(self.angstrom, (low_angstrom, high_angstrom)))

    def window(self, low_angstrom: float, high_angstrom: float) -> LogGrid:
        """The grid of those pixels."""
        part = self.part(low_angstrom, high_angstrom)
        return LogGrid(self.start + self.step * part.start, part.stop - part.start, self.step)


REST_GRID = LogGrid(start=3.35, count=6251)  # 2239 … 9441 Å: templates, all rest-frame fits


def good_pixels(flux: np.ndarray, sigma: np.ndarray | None) -> np.ndarray:
    """Pixels that carry a measurement: finite flux and, if given, finite positive σ; (N, n)."""
    good = np.isfinite(flux)
    return good if sigma is None else good & np.isfinite(sigma) & (sigma > 0)


def fill_bad_pixels(flux: np.ndarray, good: np.ndarray) -> np.ndarray:
    """A copy of flux (N, n) with bad pixels interpolated; a row without a good one becomes 0."""
    filled = np.where(good, flux, 0.0)
    pixel = np.arange(flux.shape[1])
    for row in np.flatnonzero(~good.all(axis=1) & good.any(axis=1)):
        measured = good[row]
        filled[row, ~measured] = np.interp(pixel[~measured], pixel[measured], flux[row, measured])
    return filled


def resample(
    wavelength_angstrom: np.ndarray, flux: np.ndarray, redshift: np.ndarray, grid: LogGrid
) -> np.ndarray:
    """Cubic interpolation of spectra to a grid in their rest frames.

    Linear interpolation would broaden narrow lines, by up to 35 km/s on SDSS pixels.

    Args:
        wavelength_angstrom: (n,) observed wavelengths, increasing, n ≥ 4.
        flux: (N, n) without gaps.
        redshift: (N,); 0 keeps the observed frame.
        grid: m pixels.

    Returns:
        (N, m), 0 outside the coverage. Values stay per observed Å: nothing is scaled by 1 + z.
    """
    if len(redshift) and np.ptp(redshift) == 0:  # all at the same places
        redshift = redshift[:1]
    position, outside = _positions(wavelength_angstrom, redshift, grid)
    left = np.clip(position.astype(np.intp), 1, wavelength_angstrom.size - 3)
    t = position - left
    lagrange = (
        -t * (t - 1.0) * (t - 2.0) / 6.0,
        (t + 1.0) * (t - 1.0) * (t - 2.0) / 2.0,
        -(t + 1.0) * t * (t - 2.0) / 2.0,
        (t + 1.0) * t * (t - 1.0) / 6.0,
    )
    rest = np.zeros((len(flux), grid.count))
    for offset, share in enumerate(lagrange, start=-1):
        rest += share * _pixels(flux, left + offset)
    return np.where(outside, 0.0, rest)


def _pixels(values: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Pixels of spectra (N, n) with `numbers` (N, m), or (1, m) for the same of all: (N, m)."""
    return values[:, numbers[0]] if len(numbers) == 1 else np.take_along_axis(values, numbers, 1)


def _positions(
    wavelength_angstrom: np.ndarray, redshift: np.ndarray, grid: LogGrid
) -> tuple[np.ndarray, np.ndarray]:
    """Pixel numbers (N, m) of a rest-frame grid in the spectra, and whether they lie outside."""
    target = grid.angstrom[None, :] * (1.0 + np.asarray(redshift, float)[:, None])
    position = np.interp(target, wavelength_angstrom, np.arange(wavelength_angstrom.size))
    return position, (target < wavelength_angstrom[0]) | (target > wavelength_angstrom[-1])


def weights_on_grid(
    wavelength_angstrom: np.ndarray,
    good: np.ndarray,
    sigma: np.ndarray | None,
    redshift: np.ndarray,
    grid: LogGrid,
) -> np.ndarray:
    """Inverse variances (N, m) on a rest-frame grid, 0 unless both pixels around are good.

    Variances are interpolated linearly, as if resampled pixels were independent. Where the pixels
    of the spectra are wider than those of the grid, which then repeat the same noise, variances are
    multiplied by the ratio of the widths: sums over pixels have the right errors.
    """
    position, outside = _positions(wavelength_angstrom, redshift, grid)
    if sigma is None and good.all():
        return (~outside).astype(float)
    variance = np.where(good, 1.0 if sigma is None else sigma, np.inf) ** 2
    if sigma is not None:
        variance *= pixel_widths(wavelength_angstrom, grid)
    left = np.minimum(position.astype(np.intp), wavelength_angstrom.size - 2)
    share = position - left
    low, high = (np.take_along_axis(variance, left + k, axis=1) for k in (0, 1))
    with np.errstate(invalid="ignore"):  # 0 · ∞ at a bad pixel's very centre
        on_grid = (1.0 - share) * low + share * high
    usable = np.isfinite(on_grid) & ~outside
    return np.divide(1.0, on_grid, out=np.zeros_like(on_grid), where=usable)


def pixel_widths(wavelength_angstrom: np.ndarray, grid: LogGrid) -> np.ndarray:
    """Widths (n,) of pixels in units of those of a grid, at least 1.

    So many pixels of the grid share the noise of one.
    """
    return np.maximum(np.gradient(np.log10(wavelength_angstrom)) / grid.step, 1.0)


def pixel_edges(wavelength_angstrom: np.ndarray) -> np.ndarray:
    """The n + 1 edges of pixels (n,): midpoints of the centres, the outermost extrapolated."""
    middle = 0.5 * (wavelength_angstrom[1:] + wavelength_angstrom[:-1])
    first = 2.0 * wavelength_angstrom[0] - middle[0]
    last = 2.0 * wavelength_angstrom[-1] - middle[-1]
    return np.concatenate([[first], middle, [last]])
