"""What the spectrograph makes of the light in the fibre.

Spectra are sampled on SDSS's own grid (1e-4 in log10 lambda). The error per pixel, fitted to 1386
SDSS galaxy spectra, is

    sigma² = (sigma_sky e(lambda))² + (k e(lambda))² F + (c F)² ,

with F the flux in 1e-17 erg/s/cm²/Å and e the error's dependence on wavelength: the throughput of
the spectrograph and the lines of the night sky.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from datasets.mock.stars import LOG_WAVELENGTH, PIXEL_KMS, WAVELENGTH_ANGSTROM, pixel_of
from datasets.mock.tables import ERROR_CONTINUUM, SKY_LINES
from datasets.wavelengths import DN4000_BANDS_AIR_ANGSTROM, air_to_vacuum

# Part of the grid that is "observed": a little more than the method's 4000–8499 Å.
FIRST_PIXEL, FIBRE_PIXELS = 1900, 3500
FIBRE = slice(FIRST_PIXEL, FIRST_PIXEL + FIBRE_PIXELS)
FIBRE_ANGSTROM = WAVELENGTH_ANGSTROM[FIBRE]
SKY_ERROR = 0.55
POISSON = 0.025
CALIBRATION = 0.0125
SKY_LINE_KMS = 90.0


@lru_cache(maxsize=1)
def error_shape() -> np.ndarray:
    """e(lambda) on the fibre's pixels, 1 at the median of 5500–7000 Å."""
    nodes, ratio = np.array(ERROR_CONTINUUM).T
    smooth = np.interp(FIBRE_ANGSTROM, nodes, ratio)
    lines = np.zeros(FIBRE_PIXELS)
    pixel = np.arange(FIBRE_PIXELS)
    for wavelength, height in SKY_LINES:
        offset = (pixel - (pixel_of(wavelength) - FIRST_PIXEL)) * PIXEL_KMS / SKY_LINE_KMS
        lines += height**2 * np.exp(-(offset**2))
    return smooth * np.sqrt(1 + lines)


def error(flux: np.ndarray) -> np.ndarray:
    """Standard deviation per pixel of fluxes (n, FIBRE_PIXELS) in 1e-17 erg/s/cm²/Å."""
    shape = error_shape()
    variance = (SKY_ERROR * shape) ** 2 + POISSON * shape**2 * np.clip(flux, 0, None)
    return np.sqrt(variance + (CALIBRATION * flux) ** 2)


def expose(flux: np.ndarray, streams: list[np.random.Generator]) -> tuple[np.ndarray, np.ndarray]:
    """Noisy spectra and their inverse variance, both like `flux` (n, FIBRE_PIXELS)."""
    sigma = error(flux)
    noise = np.stack([stream.standard_normal(FIBRE_PIXELS) for stream in streams])
    return flux + sigma * noise, 1 / sigma**2


def dn4000(flux: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Narrow 4000 Å break (Balogh et al. 1999) in the rest frame of spectra (n, FIBRE_PIXELS)."""
    log_rest = LOG_WAVELENGTH[FIBRE] - np.log10(1 + z)[:, None]
    f_nu = flux * FIBRE_ANGSTROM**2
    width = FIBRE_ANGSTROM  # of a pixel, up to a factor: the means are over wavelength

    def mean(window: tuple[float, float]) -> np.ndarray:
        low, high = np.log10(air_to_vacuum(window))
        inside = (log_rest >= low) & (log_rest < high)
        return (f_nu * width * inside).sum(axis=1) / (width * inside).sum(axis=1)

    blue, red = DN4000_BANDS_AIR_ANGSTROM
    return mean(red) / mean(blue)
