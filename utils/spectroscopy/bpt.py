"""The excitation class of a galaxy from its emission lines (Baldwin, Phillips & Terlevich 1981).

With x = log [N II]6584/Hα and y = log [O III]5007/Hβ:

    Kauffmann et al. (2003, MNRAS 346, 1055)    y = 0.61 / (x − 0.05) + 1.30,  x < 0.05
    Kewley et al. (2001, ApJ 556, 121)          y = 0.61 / (x − 0.47) + 1.19,  x < 0.47
    Schawinski et al. (2007, MNRAS 382, 1415)   y = 1.05 x + 0.45

Star forming below the first, composite between the first two, above the second Seyfert above the
third line and LINER below it. A line fainter than `MINIMUM_SN` leaves the class undetermined.
"""

from __future__ import annotations

import numpy as np

MINIMUM_SN = 3.0  # of each of the four lines
BPT_CLASSES = ("undetermined", "star forming", "composite", "Seyfert", "LINER")
BPT_RATIOS = {  # the axes x and y: lines above and below
    "log_nii_halpha": ("NII6584", "Halpha"),
    "log_oiii_hbeta": ("OIII5007", "Hbeta"),
}


def kauffmann_2003(log_nii_halpha: np.ndarray) -> np.ndarray:
    """Upper limit of pure star formation, log [O III]/Hβ; −∞ right of its pole."""
    return _hyperbola(log_nii_halpha, 0.05, 1.30)


def kewley_2001(log_nii_halpha: np.ndarray) -> np.ndarray:
    """Upper limit of the strongest starbursts, log [O III]/Hβ; −∞ right of its pole."""
    return _hyperbola(log_nii_halpha, 0.47, 1.19)


def schawinski_2007(log_nii_halpha: np.ndarray) -> np.ndarray:
    """The line between Seyferts and LINERs, log [O III]/Hβ."""
    return 1.05 * np.asarray(log_nii_halpha) + 0.45


def _hyperbola(x: np.ndarray, pole: float, offset: float) -> np.ndarray:
    distance = np.minimum(np.asarray(x, float) - pole, -np.finfo(float).tiny)
    return np.where(x < pole, 0.61 / distance + offset, -np.inf)


def bpt_class(log_nii_halpha: np.ndarray, log_oiii_hbeta: np.ndarray) -> np.ndarray:
    """Class (N,) out of `BPT_CLASSES` from the two ratios (N,); NaN gives "undetermined"."""
    x, y = np.asarray(log_nii_halpha, float), np.asarray(log_oiii_hbeta, float)
    agn = np.where(y > schawinski_2007(x), "Seyfert", "LINER")
    above = np.where(y > kewley_2001(x), agn, "composite")
    determined = np.where(y > kauffmann_2003(x), above, "star forming")
    return np.where(np.isfinite(x) & np.isfinite(y), determined, "undetermined")


def measure_bpt(
    flux: dict[str, np.ndarray], flux_err: dict[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Line ratios, their errors and the excitation classes.

    Args:
        flux, flux_err: by line name, (N,) each, in one unit.

    Returns:
        The logarithms of `BPT_RATIOS` and their errors under the name + "_err", (N,) each and NaN
        unless both lines are positive; and the class (N,), "undetermined" unless all four lines
        have S/N ≥ `MINIMUM_SN`.
    """
    result = {}
    detected = np.ones(len(next(iter(flux.values()))), bool)
    for name, lines in BPT_RATIOS.items():
        above, below = (np.where(flux[line] > 0, flux[line], np.nan) for line in lines)
        noise = np.hypot(flux_err[lines[0]] / above, flux_err[lines[1]] / below)
        result[name], result[f"{name}_err"] = np.log10(above / below), noise / np.log(10.0)
        detected &= np.all([flux[line] >= MINIMUM_SN * flux_err[line] for line in lines], axis=0)
    x, y = (result[name] for name in BPT_RATIOS)
    return result, bpt_class(np.where(detected, x, np.nan), y)
