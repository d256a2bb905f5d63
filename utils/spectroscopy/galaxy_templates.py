"""Rest-frame templates on `REST_GRID`: stellar patterns and emission lines.

Stellar patterns come from kcorrect's templates (Blanton & Roweis 2007, AJ 133, 734; vacuum, 257
km/s per pixel), of which two have no emission lines: luminous red galaxies and a post-starburst.
They have the metal and Balmer features of the stars of any galaxy; mixture, dust and featureless
young stars change the depth of these smoothly, which polynomials describe. A library of simple
stellar populations (`utils.spectroscopy.ssp_library`) can take their place.

Emission lines are Gaussians in log λ, grouped where atomic physics or nebulae keep their ratios.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.interpolate import CubicSpline

from datasets.constants import SPEED_OF_LIGHT_KM_S
from datasets.kcorrect_templates import DEFAULT, read_templates
from datasets.line_list import EMISSION_ANGSTROM
from utils.spectroscopy.wavelength import REST_GRID

# Relative fluxes: Balmer lines of case B with E(B−V) ≈ 0.1; doublets of Storey & Zeippen (2000)
# and, where they depend on density, of low density.
LINE_GROUPS = {
    "Balmer": {"Halpha": 3.2, "Hbeta": 1.0, "Hgamma": 0.45, "Hdelta": 0.24},
    "[O III]": {"OIII5007": 2.98, "OIII4959": 1.0},
    "[N II]": {"NII6584": 3.05, "NII6548": 1.0},
    "[S II]": {"SII6716": 1.3, "SII6731": 1.0},
    "[O II]": {"OII3726": 1.0, "OII3729": 1.3},
}
LINE_SIGMA_KM_S = 130.0  # Gaussian σ


@dataclass(frozen=True)
class RedshiftTemplates:
    """flux (K, m) on `REST_GRID`; lines (K,) bool marks those that may only be added."""

    flux: np.ndarray
    lines: np.ndarray

    @classmethod
    def default(cls) -> RedshiftTemplates:
        """kcorrect's stellar patterns and the groups of emission lines."""
        stars = kcorrect_stars()
        lines = _emission_lines()
        return cls(np.concatenate([stars, lines]), np.arange(len(stars) + len(lines)) >= len(stars))


@cache
def kcorrect_stars() -> np.ndarray:
    """(2, m) old and young stars, unit mean over 5000–6000 Å: the only templates without lines."""
    patterns = []
    for name, row in (("kcorrect-lrg1-v4.fits", 0), (DEFAULT, 4)):
        wavelength, flux = read_templates(name)
        optical = slice(*np.searchsorted(wavelength, (2000.0, 11000.0)))
        log_wavelength, flux = np.log10(wavelength[optical]), flux[row, optical]
        patterns.append(CubicSpline(log_wavelength, flux)(REST_GRID.log10))
    level = np.mean(np.array(patterns)[:, REST_GRID.part(5000.0, 6000.0)], axis=1, keepdims=True)
    return np.array(patterns) / level


def _emission_lines() -> np.ndarray:
    """(5, m) profiles of `LINE_GROUPS`, total flux Σ ratio."""
    width = LINE_SIGMA_KM_S / SPEED_OF_LIGHT_KM_S
    profiles = np.zeros((len(LINE_GROUPS), REST_GRID.count))
    for profile, group in zip(profiles, LINE_GROUPS.values(), strict=True):
        for name, ratio in group.items():
            centre = EMISSION_ANGSTROM[name]
            offset = (np.log(REST_GRID.angstrom) - np.log(centre)) / width
            amplitude = ratio / (np.sqrt(2.0 * np.pi) * width * centre)
            profile += amplitude * np.exp(-0.5 * offset**2)
    return profiles
