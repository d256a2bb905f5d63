"""The same galaxies farther away, whose spectra then show what lies bluer in the rest frame.

A spectrum at redshift z is stretched by (1 + z') / (1 + z), with z' uniform between z and where its
first good pixel reaches the blue end of the grid, or the galaxy the limit of the SDSS spectroscopic
sample (r = 17.77, Strauss et al. 2002, AJ 124, 1810). It keeps its size and its light: with the
best mixture T of kcorrect's templates for the colours in its fibre, band fluxes change by

    F'_b / F_b = K_b(z') / K_b(z) · (D_L(z) / D_L(z'))² ,
    K_b(z) = ∫ T(λ / (1 + z)) R_b(λ) λ dλ / (1 + z) ,

and it shrinks with the angular-diameter distance. What stays is its spectrum's noise, and the
part of it that the fibre saw.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datasets.constants import SDSS_BANDS
from datasets.kcorrect_templates import read_templates
from datasets.mock.catalogue import arcsec_per_kpc, distance_modulus
from datasets.spectra import METHOD_GRID, SpectrumError
from datasets.synthetic_photometry import filter_weights

LIMIT_MAGNITUDE = 17.77  # r, of the spectroscopic sample
FILTER_ANGSTROM = np.arange(2960.0, 11300.0, 5.0)


@dataclass(frozen=True)
class Moved:
    """What becomes of n galaxies that are moved to other redshifts.

    Args:
        flux: (n, 5) factors of their fluxes in u, g, r, i, z.
        size: (n,) factors of their apparent sizes.
    """

    flux: np.ndarray
    size: np.ndarray

    @classmethod
    def of(cls, fibre: np.ndarray, z: np.ndarray, moved: np.ndarray) -> Moved:
        """Galaxies with fibre fluxes (n, 5) in nanomaggies, from `z` (n,) to `moved` (n,)."""
        dimming = 10 ** (0.4 * (distance_modulus(z) - distance_modulus(moved)))
        size = arcsec_per_kpc(moved) / arcsec_per_kpc(z)
        flux = _band_ratios(fibre, z, moved) * dimming[:, None]
        return cls(flux, size)


def farther_redshift(
    wavelength_angstrom: np.ndarray,
    ivar: np.ndarray,
    z: float,
    magnitude: float,
    stream: np.random.Generator,
) -> float:
    """A random larger redshift at which a galaxy might still be in the sample.

    Args:
        wavelength_angstrom, ivar: (n,) of the spectrum, whose pixels are good where `ivar` > 0.
        z: Its redshift.
        magnitude: Its r magnitude there, of all its light.
        stream: Of random numbers.

    Raises:
        SpectrumError: it reaches the blue end of the grid, or the limit, already where it is.
    """
    first = wavelength_angstrom[np.argmax(ivar > 0)]
    largest = (1 + z) * METHOD_GRID.start / first - 1
    grid = np.linspace(z, max(largest, z), 200)
    bright = magnitude + distance_modulus(grid) - distance_modulus(z) <= LIMIT_MAGNITUDE
    if not (largest > z and bright[1]):
        raise SpectrumError("its blue end, or its brightness, is at the limit: it cannot be moved")
    return float(stream.uniform(z, grid[bright][-1]))


def _band_ratios(fibre: np.ndarray, z: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """Ratios (n, 5) of the fluxes of the best mixtures of templates at `moved` to those at `z`."""
    from scipy.optimize import nnls  # slow to import

    wavelength, templates = read_templates()
    weights = filter_weights(FILTER_ANGSTROM, SDSS_BANDS)

    def seen(redshift: float) -> np.ndarray:
        rest = FILTER_ANGSTROM / (1 + redshift)
        flux = np.array([np.interp(rest, wavelength, one) for one in templates]) / (1 + redshift)
        return weights @ flux.T  # (5, T)

    ratios = []
    for flux, here, there in zip(fibre, z, moved, strict=True):
        design = seen(here)
        level = design.mean(axis=0)
        mixture = nnls(design / level / flux[:, None], np.ones(len(flux)))[0] / level
        ratios.append((seen(there) @ mixture) / (design @ mixture))
    return np.array(ratios)
