"""Synthetic AB photometry: spectra through the SDSS u, g, r, i, z filters.

The AB flux of a spectrum f_λ through a filter of (photon) response R is

    f_b = ∫ f_λ R λ dλ / ∫ f_AB R λ dλ ,    f_AB = 3631 Jy · c / λ² ,

in maggies. On a fixed wavelength grid this is a matrix product with the weights computed here. The
filter curves are those of Doi et al. (2010, AJ 139, 1628), read from speclite.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from datasets.constants import SDSS_BANDS, SPEED_OF_LIGHT_KM_S
from datasets.photometry import COLOUR_BANDS, colours

# 3631 Jy times c, in 1e-17 erg/s/cm² Å: f_λ of a source of magnitude 0 at 1 Å.
AB_ZERO_1E17 = 3631e-23 * SPEED_OF_LIGHT_KM_S * 1e13 * 1e17
MIN_COVERAGE = 0.999  # of a band's response inside the spectrum, for an absolute flux
MIN_COLOUR_COVERAGE = 0.95  # and for a colour, whose missing part is extrapolated
BLUE_LIMIT_ANGSTROM = 3700.0  # of the g filter's response
SCALE_BAND = "r"  # whose photometry sets the absolute flux of a spectrum
EDGE_ANGSTROM = 50.0  # at the blue end of a spectrum, whose mean extrapolates it through g


def filter_weights(
    wavelength_angstrom: np.ndarray, bands: Sequence[str] = SDSS_BANDS
) -> np.ndarray:
    """Weights per Å that turn a spectrum into nanomaggies.

    Args:
        wavelength_angstrom: (P,) increasing, vacuum Å, observed frame. The part of a filter's
            response outside them is missing in the flux, not in its normalisation.
        bands: Of `SDSS_BANDS`.

    Returns:
        (B, P) float64 w: `np.trapezoid(flux * w, wavelength_angstrom)` is the flux in nanomaggies
        for `flux` in 1e-17 erg/s/cm²/Å.

    Raises:
        ValueError: for another band.
    """
    from speclite.filters import load_filter  # slow to import, and only photometry needs it

    unknown = set(bands) - set(SDSS_BANDS)
    if unknown:
        raise ValueError(f"unknown bands {sorted(unknown)}; SDSS has {SDSS_BANDS}")
    rows = []
    for band in bands:
        curve = load_filter(f"sdss2010-{band}")
        nodes, response = np.asarray(curve.wavelength), np.asarray(curve.response)
        zero = np.trapezoid(AB_ZERO_1E17 / nodes * response, nodes)
        inside = np.interp(wavelength_angstrom, nodes, response, left=0.0, right=0.0)
        rows.append(1e9 * inside * wavelength_angstrom / zero)
    return np.array(rows)


def synthetic_nanomaggies(
    wavelength_angstrom: np.ndarray, flux: np.ndarray, bands: Sequence[str]
) -> np.ndarray:
    """AB flux (..., bands) in nanomaggies of spectra (..., pixels) in 1e-17 erg/s/cm²/Å.

    Raises:
        ValueError: for bands that SDSS does not have.
    """
    weights = filter_weights(wavelength_angstrom, bands)
    return np.trapezoid(np.asarray(flux)[..., None, :] * weights, wavelength_angstrom)


def ab_source(wavelength_angstrom: np.ndarray) -> np.ndarray:
    """f_λ in 1e-17 erg/s/cm²/Å of a source of 1 nanomaggy in every band."""
    return 1e-9 * AB_ZERO_1E17 / np.asarray(wavelength_angstrom) ** 2


def covered_bands(wavelength_angstrom: np.ndarray) -> tuple[str, ...]:
    """The SDSS bands whose response lies within the wavelengths."""
    flat = ab_source(wavelength_angstrom)
    parts = synthetic_nanomaggies(wavelength_angstrom, flat, SDSS_BANDS)
    return tuple(band for band, part in zip(SDSS_BANDS, parts, strict=True) if part > MIN_COVERAGE)


def scale_to_photometry(
    wavelength_angstrom: np.ndarray, flux: np.ndarray, nanomaggies: Mapping[str, float]
) -> float | None:
    """The factor from a normalised spectrum to 1e-17 erg/s/cm²/Å.

    The r flux of the scaled spectrum is the measured one. Without r it is that of all covered bands
    together.

    Args:
        wavelength_angstrom: (pixels,), vacuum, observed frame.
        flux: (pixels,), normalised.
        nanomaggies: Measured flux by band, through the fibre's aperture.

    Returns:
        The factor, or None if the spectrum covers none of the bands or has no flux in them.
    """
    bands = [band for band in covered_bands(wavelength_angstrom) if band in nanomaggies]
    bands = [SCALE_BAND] if SCALE_BAND in bands else bands
    measured = sum(nanomaggies[band] for band in bands)
    synthetic = float(synthetic_nanomaggies(wavelength_angstrom, flux, bands).sum()) if bands else 0
    return float(measured / synthetic) if min(measured, synthetic) > 0 else None


def synthetic_colours(wavelength_angstrom: np.ndarray, flux: np.ndarray) -> np.ndarray:
    """g − r and r − i (..., 2) in AB magnitudes of spectra (..., n), in any unit.

    NaN where a filter is not covered or its flux is not positive.
    """
    return colours(synthetic_fluxes(wavelength_angstrom, flux))


def synthetic_fluxes(wavelength_angstrom: np.ndarray, flux: np.ndarray) -> np.ndarray:
    """AB flux in g, r and i (..., 3) of spectra (..., n), in nanomaggies if these are in 1e-17
    erg/s/cm²/Å. The blue end of g is extrapolated with the mean of the first 50 Å of a spectrum;
    NaN where a filter is not covered otherwise."""
    matrix = _band_matrix(np.asarray(wavelength_angstrom, np.float64))
    return np.asarray(flux) @ matrix.T.astype(np.float32)


def _band_matrix(wavelength: np.ndarray) -> np.ndarray:
    """(3, n): the product with a spectrum is its flux in g, r and i; NaN for bands not covered."""
    width = np.gradient(wavelength)
    width[[0, -1]] *= 0.5  # trapezoidal rule
    weights = filter_weights(wavelength, COLOUR_BANDS) * width
    below = np.arange(BLUE_LIMIT_ANGSTROM, wavelength[0], 1.0)
    if below.size:
        edge = wavelength < wavelength[0] + EDGE_ANGSTROM
        weights[:, edge] += filter_weights(below, COLOUR_BANDS).sum(axis=1)[:, None] / edge.sum()
    inside = filter_weights(wavelength, COLOUR_BANDS) @ (ab_source(wavelength) * width)
    return np.where((inside > MIN_COLOUR_COVERAGE)[:, None], weights, np.nan)
