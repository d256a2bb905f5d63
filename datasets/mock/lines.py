"""Emission lines of star-forming gas and of active nuclei.

Star-forming ratios run along the abundance sequence of local galaxies (Kewley et al. 2013,
ApJ 774, 100, eq. 5 at z = 0), y = 0.61/(x + 0.08) + 1.1, with x = log [N II]6584/Hα set by the
oxygen abundance (Pettini & Pagel 2004, MNRAS 348, L59, N2 calibration with a slope of 0.57,
saturating at the metal-rich end) and y = log [O III]5007/Hβ. Balmer lines follow case B,
Hα : Hβ : Hγ : Hδ : Hε : H8 = 2.86 : 1 : 0.468 : 0.259 : 0.159 : 0.105, and all are reddened by the
dust of the stars times 1.6. Active nuclei have Seyfert or LINER ratios; doublets their atomic
ratio. Equivalent widths are rest frame, in Å, positive in emission.
"""

from __future__ import annotations

import numpy as np

from datasets.mock.catalogue import NO_AGN, QUIESCENT, SEYFERT
from datasets.mock.stars import LOG_STEP, PIVOT_ANGSTROM, PIXEL_KMS, pixel_of
from datasets.mock.tables import EMISSION_LINES

LINE_NAMES = tuple(name for name, _ in EMISSION_LINES)
LINE_ANGSTROM = np.array([wavelength for _, wavelength in EMISSION_LINES])
INSTRUMENT_KMS = 65.0  # σ of the line spread function
FROSTING_ANGSTROM = 900.0  # EW of Hα over the square of the share of young light
HALF_WINDOW = 40  # pixels on each side that a line's profile covers


def _index(name: str) -> int:
    return LINE_NAMES.index(name)


def halpha_width(catalogue: dict, stream_normal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """EW of Hα on the disc's light and, from nucleus or old stars, on the fibre's, each (n,)."""
    disc = 10 ** (1.45 + 0.8 * (catalogue["log_ssfr"] + 10) + 0.15 * catalogue["line_scatter"])
    # the young stars among the old ones of a quiescent galaxy light some gas, too
    disc = disc + FROSTING_ANGSTROM * catalogue["frosting"] ** 2 * (catalogue["type"] == QUIESCENT)
    nucleus = catalogue["nucleus"]
    active = 10 ** (0.45 + 0.50 * (nucleus == SEYFERT) + 0.30 * stream_normal)
    retired = 10 ** (-0.35 + 0.2 * stream_normal) * (1 - catalogue["young_share"])
    return disc, np.where(nucleus == NO_AGN, retired, active)


def star_forming_ratios(catalogue: dict) -> np.ndarray:
    """Dust-free line fluxes relative to Hα of the discs' gas, (n, L)."""
    rise = (catalogue["log_oh"] - 8.96) / 0.57
    x = -0.37 - 0.08 * np.logaddexp(0, -(rise + 0.37) / 0.08) + 0.04 * catalogue["line_scatter"]
    y = 0.61 / (np.minimum(x, -0.34) + 0.08) + 1.1 + 0.07 * catalogue["ionisation"]
    sulphur = -0.42 + 0.15 * np.clip(x + 0.5, -0.6, 0.0) + 0.03 * catalogue["ionisation"]
    oxygen2 = -0.15 + 0.30 * np.clip(-x - 0.4, -0.1, 0.5)
    return _ratios(x, y, sulphur, -1.60 + 0.2 * np.clip(-x - 0.5, 0, 1), oxygen2, helium=0.042)


def nuclear_ratios(catalogue: dict) -> np.ndarray:
    """The same for gas lit by an active nucleus or, LINER-like, by old stars, (n, L)."""
    seyfert = catalogue["nucleus"] == SEYFERT
    x = np.where(seyfert, -0.02, 0.12) + 0.08 * catalogue["line_scatter"]
    y = np.where(seyfert, 0.92, 0.20) + 0.10 * catalogue["ionisation"]
    sulphur = np.where(seyfert, -0.25, -0.05)
    oxygen1 = np.where(seyfert, -0.90, -0.65)
    return _ratios(x, y, sulphur, oxygen1, np.where(seyfert, 0.05, 0.30), helium=0.03)


def _ratios(nitrogen, oxygen3, sulphur, oxygen1, oxygen2, helium: float) -> np.ndarray:
    """Fluxes relative to Hα from the logarithms of the bright ratios ([O III] relative to Hβ)."""
    hbeta = 1 / 2.86
    o3 = hbeta * 10**oxygen3
    n2, s2, o1, o2 = (10**log for log in (nitrogen, sulphur, oxygen1, oxygen2))
    one = np.ones_like(n2)
    flux = {
        "oii_3727": 0.42 * o2, "oii_3730": 0.58 * o2, "neiii_3870": 0.08 * o3,
        "h8": 0.105 * hbeta * one, "hepsilon": 0.159 * hbeta * one,
        "hdelta": 0.259 * hbeta * one, "hgamma": 0.468 * hbeta * one, "hbeta": hbeta * one,
        "oiii_4960": o3 / 3, "oiii_5008": o3, "hei_5877": helium * one, "oi_6302": o1,
        "oi_6365": o1 / 3, "nii_6550": n2 / 3, "halpha": one, "nii_6585": n2,
        "sii_6718": 0.57 * s2, "sii_6733": 0.43 * s2, "ariii_7138": 0.02 * one,
    }  # fmt: skip
    return np.stack([flux[name] for name in LINE_NAMES], axis=-1)


def reddening(a_v: np.ndarray) -> np.ndarray:
    """Transmission of the lines relative to that at Hα, (n, L)."""
    curve = (LINE_ANGSTROM / PIVOT_ANGSTROM) ** -0.9
    return 10 ** (-0.4 * 1.6 * a_v[:, None] * (curve - curve[_index("halpha")]))


def gas_width_kms(catalogue: dict, factor: np.ndarray) -> np.ndarray:
    """Velocity dispersion of the gas; `factor` (n,) in 0…1 places it within 0.68–0.86 σ★."""
    width = (0.68 + 0.18 * factor) * catalogue["sigma_star_kms"]
    return width * np.where(catalogue["nucleus"] == NO_AGN, 1.0, 1.25)


def add_lines(
    spectra: np.ndarray, flux: np.ndarray, sigma_kms: np.ndarray, z: np.ndarray, first_pixel: int
) -> None:
    """Add lines to observed-frame spectra, in place.

    Args:
        spectra: (n, P) per Å.
        flux: (n, L) integrated over wavelength.
        sigma_kms: (n,) without the instrument.
        z: (n,) redshifts.
        first_pixel: Of the spectra on the logarithmic grid.
    """
    observed = LINE_ANGSTROM * (1 + z[:, None])
    centre = pixel_of(observed) - first_pixel
    sigma = (np.hypot(sigma_kms, INSTRUMENT_KMS) / PIXEL_KMS)[:, None, None]
    pixel = np.rint(centre).astype(int)[..., None] + np.arange(-HALF_WINDOW, HALF_WINDOW + 1)
    profile = np.exp(-0.5 * ((pixel - centre[..., None]) / sigma) ** 2)
    # One pixel is ln(10) · step · wavelength Å wide.
    height = flux / (np.log(10) * LOG_STEP * observed)
    profile *= height[..., None] / (sigma * np.sqrt(2 * np.pi))
    inside = (pixel >= 0) & (pixel < spectra.shape[1])
    row = np.broadcast_to(np.arange(len(spectra))[:, None, None], pixel.shape)
    np.add.at(spectra, (row[inside], pixel[inside]), profile[inside])


def bpt_class(flux: np.ndarray) -> np.ndarray:
    """0 star forming, 1 composite, 2 active, from line fluxes (n, L).

    Below Kauffmann et al. (2003), between, and above Kewley et al. (2001).
    """
    x = np.log10(flux[:, _index("nii_6585")] / flux[:, _index("halpha")])
    y = np.log10(flux[:, _index("oiii_5008")] / flux[:, _index("hbeta")])
    forming = (x < 0.05) & (y < 0.61 / (np.minimum(x, 0.04) - 0.05) + 1.30)
    active = (x >= 0.47) | (y > 0.61 / (np.minimum(x, 0.46) - 0.47) + 1.19)
    return np.where(active, 2, np.where(forming, 0, 1)).astype(np.int8)
