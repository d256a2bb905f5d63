"""Observing conditions of the mock survey: seeing, sky, zero points and Galactic dust by field.

Galaxies come in fields of `FIELD_GALAXIES` that share a night and a line of sight. For band b of a
field, with independent standard normal numbers g,

    seeing_b = median_b · exp(0.12 g + 0.04 g_b),
    sky noise_b = median_b · exp(0.10 g' + 0.06 g'_b),
    zero point_b = 0.01 g''_b mag,
    E(B−V) = 0.03 exp(0.6 g''') mag, corrected with a relative error of 16 %
             (Schlegel, Finkbeiner & Davis 1998, ApJ 500, 525),

of which the residual reddens image and spectrum alike: A_b = R_b · E(B−V), with R_b of Schlafly &
Finkbeiner (2011, ApJ 737, 103, table 6, R_V = 3.1) and, between the bands, linear in log λ.

The conditions of a field depend on the seed and the field's number alone.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from datasets.constants import SDSS_BANDS, SDSS_PIXEL_ARCSEC
from datasets.errors import UserError
from datasets.mock.catalogue import REDSHIFT_LIMITS

FIELD_GALAXIES = 8
FIELD_STREAM = 1 << 40  # beyond all numbers of galaxies: keeps fields' random numbers apart
SEEING_SCATTER, BAND_SEEING_SCATTER = 0.12, 0.04
SKY_SCATTER, BAND_SKY_SCATTER = 0.10, 0.06
ZERO_POINT_MAG = 0.01
MEDIAN_EBV, EBV_SCATTER, EBV_ERROR = 0.03, 0.6, 0.16
EXTINCTION = np.array([4.239, 3.303, 2.285, 1.698, 1.263])  # R_b of u g r i z
EFFECTIVE_ANGSTROM = np.array([3551.0, 4686.0, 6166.0, 7480.0, 8932.0])
LOWEST_REDSHIFT, HIGHEST_REDSHIFT = 0.01, 0.2  # for which the wavelength grid has room


@dataclass(frozen=True)
class Shift:
    """How a survey differs from the default one, to test a generator on what it was not trained on.

    Args:
        seeing: factor of the seeing of images, > 0.
        depth: factor of the exposure of images: their noise changes by its inverse square root.
        pixel_scale_error: factor by which pixels are larger than the survey file says.
        redshifts: lowest and highest, within 0.01 … 0.2.

    Raises:
        UserError: a value is out of range.
    """

    seeing: float = 1.0
    depth: float = 1.0
    pixel_scale_error: float = 1.0
    redshifts: tuple[float, float] = REDSHIFT_LIMITS

    def __post_init__(self) -> None:
        for name in ("seeing", "depth", "pixel_scale_error"):
            if not 0.2 <= getattr(self, name) <= 5:
                option = f"--{name.replace('_', '-')}"
                raise UserError(f"{option} {getattr(self, name):g}: give a factor from 0.2 to 5")
        low, high = self.redshifts
        if not LOWEST_REDSHIFT <= low < high <= HIGHEST_REDSHIFT:
            raise UserError(
                f"--redshifts {low:g} {high:g}: give two rising numbers from {LOWEST_REDSHIFT} to "
                f"{HIGHEST_REDSHIFT}"
            )

    @property
    def pixel_arcsec(self) -> float:
        """Side of a pixel of the images."""
        return SDSS_PIXEL_ARCSEC * self.pixel_scale_error

    def to_dict(self) -> dict:
        """For the provenance of a survey."""
        return {**asdict(self), "redshifts": list(self.redshifts)}


DEFAULT = Shift()


@dataclass(frozen=True)
class Conditions:
    """Conditions of n galaxies.

    Args:
        seeing, sky: (n, 5) factors of the median seeing and sky noise.
        zero_point: (n, 5) errors of the photometric zero points, mag.
        residual_ebv: (n,) E(B−V) that the correction for Galactic dust left over, mag; < 0 where it
            corrected too much.
    """

    seeing: np.ndarray
    sky: np.ndarray
    zero_point: np.ndarray
    residual_ebv: np.ndarray

    def image_factor(self) -> np.ndarray:
        """Transmission (n, 5) of zero points and residual dust, by band."""
        return 10 ** (-0.4 * (self.zero_point + self.residual_ebv[:, None] * EXTINCTION))

    def spectrum_factor(self, wavelength_angstrom: np.ndarray) -> np.ndarray:
        """Transmission (n, P) of the residual dust."""
        curve = np.interp(np.log(wavelength_angstrom), np.log(EFFECTIVE_ANGSTROM), EXTINCTION)
        return 10 ** (-0.4 * self.residual_ebv[:, None] * curve)


def conditions(seed: int, first: int, count: int, shift: Shift = DEFAULT) -> Conditions:
    """Conditions of the galaxies `first` … `first + count - 1` of the survey `seed`."""
    fields = (first + np.arange(count)) // FIELD_GALAXIES
    different, place = np.unique(fields, return_inverse=True)
    bands = len(SDSS_BANDS)
    rows = [
        np.random.default_rng([seed, FIELD_STREAM + field]).standard_normal(4 + 3 * bands)
        for field in different
    ]
    normal = np.array(rows)[place]
    common, by_band = normal[:, :4], normal[:, 4:].reshape(count, 3, bands)
    seeing = SEEING_SCATTER * common[:, :1] + BAND_SEEING_SCATTER * by_band[:, 0]
    sky = SKY_SCATTER * common[:, 1:2] + BAND_SKY_SCATTER * by_band[:, 1]
    dust = MEDIAN_EBV * np.exp(EBV_SCATTER * common[:, 2])
    return Conditions(
        shift.seeing * np.exp(seeing),
        np.exp(sky),
        ZERO_POINT_MAG * by_band[:, 2],
        EBV_ERROR * dust * common[:, 3],
    )
