"""Rest-frame templates on `REST_GRID`: stellar patterns, emission lines, principal components.

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
from datasets.errors import UserError
from datasets.kcorrect_templates import DEFAULT, read_templates
from datasets.line_list import EMISSION_ANGSTROM
from utils.spectroscopy.wavelength import (
    REST_GRID,
    fill_bad_pixels,
    good_pixels,
    resample,
    weights_on_grid,
)

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
ITERATIONS = 30  # that find the principal components
# Flux over its median at which the pixels of a survey are clipped: cosmic rays, sky lines.
OUTLIERS = (-1.0, 20.0)


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

    @classmethod
    def from_spectra(
        cls,
        wavelength_angstrom: np.ndarray,
        flux: np.ndarray,
        sigma: np.ndarray | None,
        redshift: np.ndarray,
        components: int = 8,
    ) -> RedshiftTemplates:
        """Mean and principal components of a survey's rest-frame spectra.

        Args:
            wavelength_angstrom: (n,) vacuum, observed frame.
            flux, sigma: (N, n); σ may be None. N should exceed `components` many times.
            redshift: (N,).
            components: number of templates K, the mean included; at least 2.

        Returns:
            0 at rest wavelengths that no spectrum covers.

        Raises:
            UserError: there are not more spectra than components.

        Missing pixels are filled by the model itself while the components are found by expectation
        maximisation (Roweis 1998, NeurIPS 10, 626).
        """
        if len(flux) <= components:
            raise UserError(
                f"{components} templates need more than {components} spectra: {len(flux)}"
            )
        good = good_pixels(flux, sigma)
        rest = resample(wavelength_angstrom, fill_bad_pixels(flux, good), redshift, REST_GRID)
        weight = weights_on_grid(wavelength_angstrom, good, None, redshift, REST_GRID)
        measured = weight > 0
        covered = measured.sum(axis=0) > 2 * components
        rest, measured = rest[:, covered], measured[:, covered]
        scale = np.array([np.median(row[mask]) for row, mask in zip(rest, measured, strict=True)])
        usable = scale > 0
        rest, measured = rest[usable] / scale[usable, None], measured[usable]
        rest = np.clip(rest, *OUTLIERS)
        model = np.broadcast_to(np.sum(rest * measured, axis=0) / measured.sum(axis=0), rest.shape)
        basis = np.random.default_rng(0).normal(size=(components - 1, rest.shape[1]))
        for _ in range(ITERATIONS):
            filled = np.where(measured, rest, model)
            mean = filled.mean(axis=0)
            coefficients = (filled - mean) @ np.linalg.pinv(basis)
            basis = np.linalg.qr((coefficients.T @ (filled - mean)).T)[0].T
            model = mean + (filled - mean) @ basis.T @ basis
        result = np.zeros((components, REST_GRID.count))
        result[:, covered] = np.concatenate([mean[None], basis * np.sqrt(len(mean))])
        return cls(result, np.zeros(components, bool))


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
