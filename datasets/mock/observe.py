"""The fibre and the spectrograph: from light to a noisy spectrum with its inverse variance.

Spectra are sampled on SDSS's own grid (1e-4 in log10 lambda). The error per pixel, fitted to 1386
SDSS galaxy spectra, is

    sigma² = (sigma_sky e(lambda))² + (k e(lambda))² F + (c F)² ,

with F the flux in 1e-17 erg/s/cm²/Å and e the error's dependence on wavelength, from the throughput
of the spectrograph and the lines of the night sky. The measured spectrum is

    F c(lambda) + sigma n + sigma Σ_l g_l k_l p_l(lambda) ,

with c a smooth error of the flux calibration (4 % rms over the spectrum), n normal noise whose
correlation between neighbouring pixels is 0.35, and residuals of the sky lines l of profile p_l,
which sigma does not include. Some pixels are bad: their flux is wrong, and their inverse variance
0. The sizes of all of these are those measured in 1210 SDSS spectra (`docs/mock.md`).

The fibre has the seeing of the night in which its plate was observed, not that of the image, and
is not exactly on the galaxy's centre.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.special import eval_legendre as legendre

from datasets.mock.stars import LOG_WAVELENGTH, PIXEL_KMS, WAVELENGTH_ANGSTROM, pixel_of
from datasets.mock.tables import ERROR_CONTINUUM, SKY_LINES
from datasets.wavelengths import DN4000_BANDS_AIR_ANGSTROM, air_to_vacuum

# Observed part of the grid: a little more than the method's 4000–8499 Å.
FIRST_PIXEL, FIBRE_PIXELS = 1900, 3500
FIBRE = slice(FIRST_PIXEL, FIRST_PIXEL + FIBRE_PIXELS)
FIBRE_ANGSTROM = WAVELENGTH_ANGSTROM[FIBRE]
SKY_ERROR = 0.55  # sigma_sky, 1e-17 erg/s/cm²/Å
POISSON = 0.025  # k², 1e-17 erg/s/cm²/Å
CALIBRATION = 0.0125  # c, relative
SKY_LINE_KMS = 90.0  # √2 σ of a sky line
NEIGHBOUR = 0.18  # weight of the noise of each of the two neighbouring pixels
# Residual of a sky line, in σ at its peak: of [O I] 5577, and of the others.
OXYGEN_ANGSTROM, OXYGEN_RESIDUAL, SKY_RESIDUAL = 5578.3, 2.5, 1.2
RESIDUAL_WIDTH = 1.5  # of a residual, in widths of the line
BAD_RUNS = 0.3  # per spectrum; the length of a run is log-normal, in pixels:
RUN_LENGTH, RUN_SCATTER, LONGEST_RUN = 14.0, 1.2, 200
BAD_FLUX = 8.0  # error of a bad pixel, in σ
# Flux calibration: σ of the coefficients of the Legendre polynomials of degree 1, 2 and 3 in
# log lambda, and the scatter of ln σ among galaxies, which makes large errors more frequent.
CALIBRATION_SIGMA, CALIBRATION_TAIL = np.array([0.058, 0.032, 0.030]), 0.7
FIBRE_SEEING_ARCSEC, FIBRE_SEEING_SCATTER = 1.5, 0.15  # in r; of its logarithm
CENTRING_ARCSEC = 0.2  # per axis


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


def calibration_error(streams: list[np.random.Generator]) -> np.ndarray:
    """c(lambda): measured over true flux (n, FIBRE_PIXELS), smooth, positive."""
    normal = np.array([stream.standard_normal(4) for stream in streams])
    tail = np.exp(CALIBRATION_TAIL * normal[:, :1] - CALIBRATION_TAIL**2)  # of unit mean square
    x = np.linspace(-1, 1, FIBRE_PIXELS)
    polynomials = np.stack([legendre(degree, x) for degree in (1, 2, 3)])
    return np.exp(np.einsum("nd,dp->np", tail * CALIBRATION_SIGMA * normal[:, 1:], polynomials))


@lru_cache(maxsize=1)
def _sky_profiles() -> np.ndarray:
    """k_l p_l(lambda) of the sky lines, (L, FIBRE_PIXELS)."""
    pixel = np.arange(FIBRE_PIXELS)
    centres = np.array([wavelength for wavelength, _ in SKY_LINES])
    offset = (pixel - (pixel_of(centres) - FIRST_PIXEL)[:, None]) * PIXEL_KMS / SKY_LINE_KMS
    offset = offset / RESIDUAL_WIDTH
    oxygen = np.abs(centres - OXYGEN_ANGSTROM) < 1
    return np.where(oxygen, OXYGEN_RESIDUAL, SKY_RESIDUAL)[:, None] * np.exp(-(offset**2))


def expose(flux: np.ndarray, streams: list[np.random.Generator]) -> tuple[np.ndarray, np.ndarray]:
    """Measured spectra and their inverse variance, both like `flux` (n, FIBRE_PIXELS)."""
    flux = flux * calibration_error(streams)
    sigma = error(flux)
    white = np.stack([stream.standard_normal(FIBRE_PIXELS + 2) for stream in streams])
    noise = np.sqrt(1 - 2 * NEIGHBOUR**2) * white[:, 1:-1]
    noise += NEIGHBOUR * (white[:, :-2] + white[:, 2:])
    profiles = _sky_profiles()
    lines = np.array([stream.standard_normal(len(profiles)) for stream in streams])
    noise += np.einsum("nl,lp->np", lines, profiles)
    measured, ivar = flux + sigma * noise, 1 / sigma**2
    for row, stream in enumerate(streams):
        for bad in _bad_runs(stream):
            measured[row, bad] += BAD_FLUX * sigma[row, bad] * stream.standard_normal()
            ivar[row, bad] = 0.0
    return measured, ivar


def _bad_runs(stream: np.random.Generator) -> list[slice]:
    """Runs of bad pixels; the first and the last pixel of a spectrum stay good, as SDSS's spectra
    go on where those of the mock survey end."""
    runs = []
    for _ in range(stream.poisson(BAD_RUNS)):
        length = RUN_LENGTH * np.exp(RUN_SCATTER * stream.standard_normal())
        start = int(stream.integers(FIBRE_PIXELS))
        stop = start + int(np.clip(length, 1, LONGEST_RUN))
        runs.append(slice(max(start, 1), min(stop, FIBRE_PIXELS - 1)))
    return runs


def placement(streams: list[np.random.Generator]) -> tuple[np.ndarray, np.ndarray]:
    """Seeing of the fibres (n, 1) and their offsets from the centre (2, n), arcsec."""
    normal = np.array([stream.standard_normal(3) for stream in streams])
    seeing = FIBRE_SEEING_ARCSEC * np.exp(FIBRE_SEEING_SCATTER * normal[:, :1])
    return seeing, CENTRING_ARCSEC * normal[:, 1:].T


def dn4000(flux: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Narrow 4000 Å break (Balogh et al. 1999) in the rest frame of spectra (n, FIBRE_PIXELS); NaN
    where a spectrum does not cover it."""
    log_rest = LOG_WAVELENGTH[FIBRE] - np.log10(1 + z)[:, None]
    f_nu = flux * FIBRE_ANGSTROM**2
    width = FIBRE_ANGSTROM  # of a pixel, up to a factor: the means are over wavelength

    def mean(window: tuple[float, float]) -> np.ndarray:
        low, high = np.log10(air_to_vacuum(window))
        inside = (log_rest >= low) & (log_rest < high)
        return (f_nu * width * inside).sum(axis=1) / (width * inside).sum(axis=1)

    blue, red = DN4000_BANDS_AIR_ANGSTROM
    covered = log_rest[:, 0] <= np.log10(air_to_vacuum(blue))[0]
    return np.where(covered, mean(red) / mean(blue), np.nan)
