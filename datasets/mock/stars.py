"""Stellar light of bulge, old disc and young disc, redshifted and broadened.

Coarse shapes come from four of kcorrect's galaxy templates (Blanton & Roweis 2007, AJ 133, 734):
strong-lined, star forming, old and post-starburst. They are sampled at 257 km/s, too coarsely to
carry a velocity dispersion: everything finer than 600 km/s is removed and replaced by absorption
lines of tabulated equivalent width W_k (`tables`), at the resolution of SDSS,

    T(lambda) = T_600(lambda) exp(-[tau - tau_600]) ,   tau = Σ_k W_k phi_k(lambda) ,

with phi_k unit Gaussians and the index 600 a convolution with 600 km/s. A component is

    F(lambda) = Σ_j w_j T_j · (lambda/5500 Å)^(0.45 [Z/H]) · exp(-tau_metal (10^(0.35 [Z/H]) - 1))
                · exp(-b max([Z/H], 0) H(lambda)) · 10^(-0.4 A_V (lambda/5500 Å)^-0.9) ,

with H a step that is 1 below the 4000 Å break (old light only: line blanketing rises with [Z/H]).
T also carries `tables.FEATURES`, what kcorrect's templates lack in absorption, from SDSS spectra.

On a logarithmic grid a redshift is a shift and a velocity dispersion sigma* a convolution: both are
one multiplication by exp(-2 pi² s² k² - 2 pi i k log(1+z)) in Fourier space.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.fft import irfft, rfft
from scipy.ndimage import gaussian_filter1d

from datasets.constants import SPEED_OF_LIGHT_KM_S
from datasets.kcorrect_templates import read_templates
from datasets.mock.catalogue import GREEN, POST_STARBURST, QUIESCENT
from datasets.mock.tables import (
    ABSORPTION_WIDTHS_KMS,
    BALMER_LINES,
    EMISSION_LINES,
    FEATURE_START_ANGSTROM,
    FEATURE_STEP_KMS,
    FEATURES,
    METAL_LINES,
    TEMPLATE_LINES,
)

# One logarithmic grid for rest and observed frame: the step of SDSS spectra, a length of small
# prime factors for the FFT, wide enough for the u and z filters. The first 600 pixels are a margin
# for the redshift.
LOG_STEP = 1e-4
LOG_WAVELENGTH = 3.40 + LOG_STEP * np.arange(6912)
WAVELENGTH_ANGSTROM = 10**LOG_WAVELENGTH
PIXEL_KMS = np.log(10) * LOG_STEP * SPEED_OF_LIGHT_KM_S
COARSE_KMS = 600.0
PIVOT_ANGSTROM = 5500.0

BULGE, OLD_DISC, YOUNG_DISC = range(3)
STRONG_LINED, FORMING, OLD, STARBURST = range(4)
TEMPLATE_ROWS = (1, 2, 3, 4)  # of kcorrect's file; row 0 is dusty, which the dust law covers
# For each template: whether it has emission lines, whose removal removes Balmer absorption;
# its metal lines as a mixture of those of (old, young) light; the column of BALMER_LINES and a
# factor of the absorption to add.
MIXTURES = (
    (True, (0.0, 0.3), 3, 0.6),
    (True, (0.5, 0.5), 3, 1.0),
    (False, (1.0, 0.0), 1, 1.0),
    (False, (0.0, 1.0), 2, 1.0),
)
# Below 3700 Å the old template is steepened: its u - g was 0.15 mag bluer than SDSS ellipticals'.
NEAR_UV_ANGSTROM, NEAR_UV_SLOPE = 3700.0, 1.0
# The 4000 Å break: a smooth step, below which old light falls by exp(-BLANKETING) per dex of [Z/H]
# above solar, and young light rises, to keep Dn4000 at 1.3 with the deeper Ca K of `FEATURES`.
BREAK_ANGSTROM, BREAK_WIDTH_ANGSTROM = 3985.0, 12.0
BLANKETING, YOUNG_BREAK = 0.30, 0.08
METAL_SLOPE, FEATURE_SLOPE = 0.15, 0.6  # of the logarithm of optical depths with [Z/H]
TEMPLATE_LOG_AGE = np.array([7.0, 8.9, 9.95, 8.7])  # log years, a proxy for the light's age


@dataclass(frozen=True)
class StellarLibrary:
    """Stellar light at the resolution of SDSS, before broadening."""

    templates: np.ndarray  # (4, P), of unit flux at 5500 Å
    metals: np.ndarray  # (2, P), tau of the metal lines in old and in young light
    features: np.ndarray  # (P,), tau of `tables.FEATURES` in old light


def pixel_of(wavelength_angstrom: np.ndarray) -> np.ndarray:
    """Fractional pixel of a wavelength on the logarithmic grid."""
    return (np.log10(wavelength_angstrom) - LOG_WAVELENGTH[0]) / LOG_STEP


@lru_cache(maxsize=1)
def library() -> StellarLibrary:
    """The templates at SDSS resolution, made once per process."""
    nodes, fluxes = read_templates()
    fluxes = fluxes[list(TEMPLATE_ROWS)]

    metals = np.stack([_optical_depth(METAL_LINES, column) for column in (1, 2)])
    balmer = [(*line, 2) for line in BALMER_LINES]
    rows = []
    for flux, (emits, of_metals, column, share) in zip(fluxes, MIXTURES, strict=True):
        fine, whole = np.array(of_metals) @ metals, share * _optical_depth(balmer, column)
        if not emits:
            fine, whole = fine + whole, 0.0
        depth = fine - gaussian_filter1d(fine, COARSE_KMS / PIXEL_KMS) + whole
        row = _coarse(nodes, flux, emits) * np.exp(-depth)
        rows.append(row / np.interp(PIVOT_ANGSTROM, WAVELENGTH_ANGSTROM, row))
    rows[OLD] *= np.minimum(WAVELENGTH_ANGSTROM / NEAR_UV_ANGSTROM, 1) ** NEAR_UV_SLOPE
    features = _features()
    for row, depth in zip((OLD, FORMING, STRONG_LINED, STARBURST), features, strict=True):
        rise = 0.0 if row == OLD else YOUNG_BREAK * _below_break()
        rows[row] *= np.exp(rise - depth)
    tables = (np.array(rows), metals, features[0])
    return StellarLibrary(*(table.astype(np.float32) for table in tables))


def _coarse(nodes: np.ndarray, flux: np.ndarray, emits: bool) -> np.ndarray:
    """A template without emission lines and without structure finer than 600 km/s."""
    if emits:
        centres = [line for _, line in EMISSION_LINES] + list(TEMPLATE_LINES)
        away = np.min(np.abs(nodes[:, None] / np.array(centres) - 1), axis=1)
        clean = away > 900.0 / SPEED_OF_LIGHT_KM_S
        flux = np.interp(nodes, nodes[clean], flux[clean])
    return gaussian_filter1d(np.interp(WAVELENGTH_ANGSTROM, nodes, flux), COARSE_KMS / PIXEL_KMS)


def _optical_depth(lines: tuple, column: int) -> np.ndarray:
    """Sum of Gaussian lines on the grid; `column` chooses the equivalent width."""
    tau = np.zeros(LOG_WAVELENGTH.size)
    for line in lines:
        sigma = ABSORPTION_WIDTHS_KMS[line[-1]] / SPEED_OF_LIGHT_KM_S * line[0]
        offset = (WAVELENGTH_ANGSTROM - line[0]) / sigma
        tau += line[column] * np.exp(-0.5 * offset**2) / (sigma * np.sqrt(2 * np.pi))
    return tau


def _features() -> np.ndarray:
    """Optical depths (4, P) of `tables.FEATURES`, linear between the tabulated wavelengths."""
    depths = np.array(FEATURES).T * 1e-3
    step = FEATURE_STEP_KMS / SPEED_OF_LIGHT_KM_S / np.log(10)
    nodes = np.log10(FEATURE_START_ANGSTROM) + step * np.arange(depths.shape[1])
    return np.stack([np.interp(LOG_WAVELENGTH, nodes, row, 0.0, 0.0) for row in depths])


def _below_break() -> np.ndarray:
    """1 below the 4000 Å break, 0 above it."""
    return 1 / (1 + np.exp((WAVELENGTH_ANGSTROM - BREAK_ANGSTROM) / BREAK_WIDTH_ANGSTROM))


def template_weights(catalogue: dict) -> np.ndarray:
    """Shares of the four templates in the light at 5500 Å of each component, (n, 3, 4).

    The rows of the two discs are shares of the light of both and add up to one together.
    """
    y, frosting, kind = catalogue["young_share"], catalogue["frosting"], catalogue["type"]
    weights = np.zeros((y.size, 3, 4))
    old_bulge = np.isin(kind, (QUIESCENT, GREEN))
    bulge_share = np.where(kind == GREEN, 0.12 + frosting, frosting)
    weights[:, BULGE, FORMING] = np.where(old_bulge, bulge_share, 0.12 + 0.12 * y)
    weights[:, BULGE, STARBURST] = np.where(old_bulge, 0.3 * bulge_share, 0.12)
    weights[:, BULGE, OLD] = 1 - weights[:, BULGE].sum(axis=-1)
    weights[:, YOUNG_DISC, STRONG_LINED] = 0.25 * np.clip(y - 0.55, 0, None)
    weights[:, YOUNG_DISC, FORMING] = 0.52 * y
    weights[:, YOUNG_DISC, STARBURST] = 0.36 * y
    weights[:, OLD_DISC, OLD] = 1 - y
    weights[:, OLD_DISC, FORMING] = 0.04 + frosting
    burst = kind == POST_STARBURST
    weights[burst, BULGE] = weights[burst, OLD_DISC] = (0.0, 0.05, 0.30, 0.65)
    weights[:, BULGE] /= weights[:, BULGE].sum(axis=-1, keepdims=True)
    weights[:, OLD_DISC:] /= weights[:, OLD_DISC:].sum(axis=(-2, -1), keepdims=True)
    return weights


def component_spectra(catalogue: dict, weights: np.ndarray) -> np.ndarray:
    """Observed-frame f_lambda of bulge, old disc and young disc at SDSS resolution, (n, 3, P).

    The units are arbitrary but common to the discs of a galaxy.

    Args:
        catalogue: (n,) arrays z, metallicity, a_v and sigma_star_kms.
        weights: Of `template_weights`.
    """
    stars = library()
    ratio = WAVELENGTH_ANGSTROM / PIVOT_ANGSTROM
    metallicity, a_v = catalogue["metallicity"], catalogue["a_v"]
    # (n, 3, 4): exponents of the metallicity tilt, of dust and of the metal lines.
    dust = a_v[:, None] * np.array([0.6, 1.0, 1.0]) * (-0.4 * np.log(10))
    lines = 1 - 10 ** (METAL_SLOPE * metallicity)
    features = 1 - 10 ** (FEATURE_SLOPE * metallicity)
    old = np.array([1.0, 1.0, 0.0])  # of bulge, old disc and young disc
    factors = np.stack(
        [
            np.repeat(0.45 * metallicity[:, None], 3, axis=1),
            dust,
            lines[:, None] * old,
            lines[:, None] * (1 - old),
            features[:, None] * old,
            -BLANKETING * np.clip(metallicity, 0, None)[:, None] * old,
        ],
        axis=-1,
    ).astype(np.float32)
    basis = np.stack([np.log(ratio), ratio**-0.9, *stars.metals, stars.features, _below_break()])
    basis = basis.astype(np.float32)
    # einsum rather than a matrix product: its sums do not depend on threads or batch.
    spectra = np.einsum("nck,kp->ncp", weights.astype(np.float32), stars.templates)
    spectra *= np.exp(np.einsum("nck,kp->ncp", factors, basis))
    return broaden_and_shift(spectra, catalogue["sigma_star_kms"], catalogue["z"])


def broaden_and_shift(spectra: np.ndarray, sigma_kms: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Convolve (n, c, P) rest-frame spectra with Gaussians of `sigma_kms` and redshift them."""
    size = spectra.shape[-1]
    frequency = np.arange(size // 2 + 1) / size
    width = (sigma_kms / PIXEL_KMS)[:, None]
    shift = (np.log10(1 + z) / LOG_STEP)[:, None]
    kernel = np.exp(-2 * (np.pi * width * frequency) ** 2 - 2j * np.pi * shift * frequency)
    return irfft(rfft(spectra) * kernel[:, None].astype(np.complex64), n=size)


def mean_log_age(weights: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Light-weighted log age (yr) in the fibre, a proxy: (n, 3, 4) weights, (n, 3) light shares."""
    light = weights * shares[..., None]
    return (light.sum(axis=1) @ TEMPLATE_LOG_AGE) / light.sum(axis=(1, 2))
