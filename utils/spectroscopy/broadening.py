"""Galaxies and population libraries on common rest-frame pixels at matched resolution.

A population at velocity dispersion σ★ is convolved, at every pixel, with a Gaussian of variance
s² = σ★² + σ_galaxy²(λ) − σ_library²(λ), cut at 0 where the library is the coarser one.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from utils.spectroscopy.continuum import line_free
from utils.spectroscopy.ssp_library import SspLibrary
from utils.spectroscopy.wavelength import (
    REST_GRID,
    LogGrid,
    fill_bad_pixels,
    good_pixels,
    pixel_widths,
    resample,
    weights_on_grid,
)

FIT_RANGE_ANGSTROM = (3650.0, 7000.0)  # rest frame
LEVELS_KM_S = np.arange(0.0, 631.0, 30.0)  # Gaussian widths that are interpolated between


class BroadenedLibrary:
    """A library on the fitted pixels, convolved with Gaussians whose width varies with wavelength.

    Convolutions with the constant widths `LEVELS_KM_S` are made once; others are interpolated
    between them, linearly in the variance.
    """

    def __init__(self, library: SspLibrary) -> None:
        low, high = library.covered_angstrom
        limits = max(FIT_RANGE_ANGSTROM[0], 1.003 * low), min(FIT_RANGE_ANGSTROM[1], high / 1.003)
        part = REST_GRID.part(*limits)
        self.library = library
        self.grid: LogGrid = REST_GRID.window(*limits)
        self.sigma_km_s = library.sigma_km_s[part]
        covered = REST_GRID.part(low, high)
        inside = slice(part.start - covered.start, part.stop - covered.start)
        pixels = np.maximum(LEVELS_KM_S / REST_GRID.km_s, 0.01)  # a filter of width 0 divides by it
        flux = library.flux[:, covered]
        self.levels = np.stack(
            [gaussian_filter1d(flux, s, axis=1, mode="nearest")[:, inside] for s in pixels], axis=1
        )  # (K, levels, m)

    def part(self, rows: np.ndarray) -> BroadenedLibrary:
        """The populations of the given numbers (k,) alone, for `at`."""
        chosen = copy(self)
        chosen.levels = self.levels[rows]
        return chosen

    def at(self, variance: np.ndarray) -> np.ndarray:
        """(m, K) populations, convolved with a kernel of variance (m,) in (km/s)²."""
        squares = LEVELS_KM_S**2
        variance = np.clip(variance, 0.0, squares[-1])
        lower = np.minimum(np.searchsorted(squares, variance, side="right") - 1, squares.size - 2)
        fraction = (variance - squares[lower]) / (squares[lower + 1] - squares[lower])
        flat = self.levels.reshape(len(self.levels), -1)
        place = lower * variance.size + np.arange(variance.size)
        below, above = (flat.take(p, axis=1) for p in (place, place + variance.size))
        return ((1.0 - fraction) * below + fraction * above).T


@dataclass(frozen=True)
class Galaxy:
    """One spectrum on the fitted pixels, every array (m,).

    flux has median 1; root_weight is 1/σ, 0 on emission lines and bad pixels; excess_variance is
    σ_galaxy² − σ_library² in (km/s)². independent counts the good pixels of the spectrum itself,
    where these are the wider ones.
    """

    flux: np.ndarray
    root_weight: np.ndarray
    excess_variance: np.ndarray
    independent: float

    def kernel(self, sigma_star_km_s: float) -> np.ndarray:
        """Variance (m,) of the kernel that brings the library to the width of this galaxy."""
        return sigma_star_km_s**2 + self.excess_variance


@dataclass(frozen=True)
class Observation:
    """A spectrum (1, n) in the observed frame and its σ or None.

    resolution_km_s is the Gaussian width (n,) of the line spread function.
    """

    wavelength_angstrom: np.ndarray
    flux: np.ndarray
    sigma: np.ndarray | None
    resolution_km_s: np.ndarray

    def at_rest(self, redshift: float, bank: BroadenedLibrary) -> Galaxy:
        """The spectrum in the rest frame, on the pixels of a library."""
        z = np.array([redshift])
        good = good_pixels(self.flux, self.sigma)
        observed = bank.grid.angstrom * (1.0 + redshift)
        rest = resample(self.wavelength_angstrom, fill_bad_pixels(self.flux, good), z, bank.grid)[0]
        weight = weights_on_grid(self.wavelength_angstrom, good, self.sigma, z, bank.grid)[0]
        weight = weight * line_free(bank.grid)
        scale = (np.median(np.abs(rest[weight > 0])) if (weight > 0).any() else 0.0) or 1.0
        resolution = np.interp(observed, self.wavelength_angstrom, self.resolution_km_s)
        excess = resolution**2 - bank.sigma_km_s**2
        widths = pixel_widths(self.wavelength_angstrom, bank.grid)
        independent = np.sum((weight > 0) / np.interp(observed, self.wavelength_angstrom, widths))
        return Galaxy(rest / scale, np.sqrt(weight) * scale, excess, float(independent))
