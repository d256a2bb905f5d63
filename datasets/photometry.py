"""Photometry of images: fluxes inside apertures, and the feature vector of the generator.

Magnitudes are m = 22.5 − 2.5 log10(F / nanomaggy); colours are differences of magnitudes.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING

import numpy as np

from datasets.constants import SDSS_FIBRE_ARCSEC
from datasets.survey import Survey
from datasets.survey_description import SurveyDescription

if TYPE_CHECKING:
    from torch import Tensor

NANOMAGGY = "nanomaggy"  # unit of calibrated images: magnitude 22.5 in AB
BORDER_PIXELS = 6  # of a cutout, whose scatter is the sky noise
SUBPIXELS = 10  # per side of a pixel, in which areas of an aperture are counted
COLOUR_BANDS = ("g", "r", "i")  # whose filters SDSS spectra cover
COLOUR_NAMES = ("delta_gr", "delta_ri")  # synthetic minus measured colour

# Version of `photometric_features`: a trained network has learned one definition of its inputs, so
# that any change needs a new number.
PHOTOMETRY_VERSION = 2
TOTAL_RADIUS_ARCSEC = 6.0
FIBRE_RADIUS_ARCSEC = SDSS_FIBRE_ARCSEC / 2
RADII_ARCSEC = (1.0, 2.2, 3.0, 4.2)  # of further apertures
WINDOW_ARCSEC = 3.0  # σ of the window of what is weighted with the galaxy's profile
SOFTENING = 0.5  # of asinh magnitudes, in the unit of the flux
SMALLEST_SIZE = 0.01  # arcsec²
TINY = 1e-12  # instead of sums that are zero


def aperture_nanomaggies(
    images: np.ndarray, pixel_scale_arcsec: float, diameter_arcsec: float = SDSS_FIBRE_ARCSEC
) -> np.ndarray:
    """Flux within a circle in the centre of images.

    Args:
        images: (..., bands, height, width).
        pixel_scale_arcsec: Side of a pixel.
        diameter_arcsec: Of the circle.

    Returns:
        (..., bands); pixels count by the part of their area inside, to 1/100 of a pixel.
    """
    weights = _circle(*images.shape[-2:], pixel_scale_arcsec, diameter_arcsec)
    return np.einsum("...yx,yx->...", images.astype(np.float64), weights)


@functools.lru_cache(maxsize=8)  # making the weights takes 4 ms, using them 0.02 ms
def _circle(
    height: int, width: int, pixel_scale_arcsec: float, diameter_arcsec: float
) -> np.ndarray:
    """The part of each pixel's area (height, width) inside a circle in the centre."""
    y, x = (
        ((np.arange(side * SUBPIXELS) + 0.5) / SUBPIXELS - side / 2) * pixel_scale_arcsec
        for side in (height, width)
    )
    inside = np.hypot(x[None], y[:, None]) <= diameter_arcsec / 2
    weights = inside.reshape(height, SUBPIXELS, width, SUBPIXELS).mean((1, 3))
    weights.flags.writeable = False
    return weights


def aperture_errors(
    images: np.ndarray, survey: Survey | SurveyDescription
) -> tuple[np.ndarray, np.ndarray]:
    """Fluxes in the fibre's aperture, and their errors from the scatter of the border's pixels.

    Args:
        images: (N, bands, H, W).
        survey: That they belong to, or its description.

    Returns:
        (N, bands) each, in the unit of the images. Photon noise of the galaxy, which is smaller
        than that of the sky for all but the brightest, is left out.
    """
    from astropy.stats import mad_std  # takes half a second to import

    scale = survey.pixel_scale_arcsec
    border = np.ones(images.shape[-2:], bool)
    border[BORDER_PIXELS:-BORDER_PIXELS, BORDER_PIXELS:-BORDER_PIXELS] = False
    noise = mad_std(images[..., border], axis=-1)
    pixels = np.pi * (SDSS_FIBRE_ARCSEC / 2 / scale) ** 2
    return aperture_nanomaggies(images, scale), noise * np.sqrt(pixels)


def photometric_features(images: Tensor, pixel_scale_arcsec: float) -> Tensor:
    """What astronomers measure in an image.

    Args:
        images: (N, bands, H, W) flux per pixel, the galaxy in the centre.
        pixel_scale_arcsec: Side of a pixel.

    Returns:
        (N, `photometry_count`): after the `aperture_features` the colours, and the middle band's
        magnitude minus that within 6 arcsec, within circles of four radii and weighted with the
        galaxy's profile inside a Gaussian window; ellipticity and ln(size² / arcsec²) of that
        profile. Magnitudes are asinh.
    """
    import torch  # processes that only draw and write do without it

    first = aperture_features(images, pixel_scale_arcsec)
    middle = images.shape[1] // 2
    axis, radius = _coordinates(images, pixel_scale_arcsec)

    def relative(flux: Tensor) -> list[Tensor]:
        magnitude = _magnitude(flux)
        return [-torch.diff(magnitude, dim=1), magnitude[:, middle, None] - first[:, :1]]

    further = []
    for limit in RADII_ARCSEC:
        further += relative(_sum(images, radius < limit))
    smooth = torch.nn.functional.avg_pool2d(images.mean(1, keepdim=True), 3, 1, padding=1)
    weight = smooth.clamp(min=0) * torch.exp(-0.5 * (radius / WINDOW_ARCSEC) ** 2).to(images)
    weight = weight / weight.sum((-2, -1), keepdim=True).clamp(min=TINY)  # (N, 1, H, W)
    norm = weight.square().sum((-2, -1)).clamp(min=TINY)
    further += relative((images * weight).sum((-2, -1)) / norm)
    further += _shape(weight[:, 0], axis.to(images))
    return torch.cat([first, *further], dim=1)


def aperture_features(images: Tensor, pixel_scale_arcsec: float) -> Tensor:
    """Asinh magnitude, colours and concentration of images.

    Apertures count whole pixels, unlike `aperture_nanomaggies`: trained networks depend on it.

    Args:
        images: (N, bands, H, W) flux per pixel, the galaxy in the centre.
        pixel_scale_arcsec: Side of a pixel.

    Returns:
        (N, 2 bands): the magnitude of the middle band within 6 arcsec, the colours within 6 and
        within 1.5 arcsec, and the difference of the two magnitudes in the middle band.
    """
    import torch

    _, radius = _coordinates(images, pixel_scale_arcsec)
    total, fibre = (
        _magnitude(_sum(images, radius < limit))
        for limit in (TOTAL_RADIUS_ARCSEC, FIBRE_RADIUS_ARCSEC)
    )
    middle = slice(images.shape[1] // 2, images.shape[1] // 2 + 1)
    colours = (-torch.diff(total, dim=1), -torch.diff(fibre, dim=1))
    return torch.cat([total[:, middle], *colours, (fibre - total)[:, middle]], dim=1)


def _coordinates(images: Tensor, pixel_scale_arcsec: float) -> tuple[Tensor, Tensor]:
    """Coordinates (W,) and distances (W, W) from the centre of square images, in arcsec, float64 on
    the CPU."""
    import torch

    size = images.shape[-1]
    axis = (torch.arange(size, dtype=torch.float64) - (size - 1) / 2) * pixel_scale_arcsec
    return axis, torch.hypot(axis[:, None], axis)


def _magnitude(flux: Tensor) -> Tensor:
    return -2.5 / math.log(10) * (flux / (2 * SOFTENING)).asinh()


def _shape(weight: Tensor, axis: Tensor) -> list[Tensor]:
    """Ellipticity and ln(size² / arcsec²) (N, 1) each, of the second moments of weights (N, H, W)
    whose sum is one. Sums, not matrix products: those would be in half precision with the tower."""
    import torch

    vertical, horizontal = weight.sum(2), weight.sum(1)  # (N, H) and (N, W)
    y, x = (vertical * axis).sum(1), (horizontal * axis).sum(1)
    yy = (vertical * axis.square()).sum(1) - y.square()
    xx = (horizontal * axis.square()).sum(1) - x.square()
    xy = ((weight * axis).sum(2) * axis).sum(1) - x * y
    size = (xx + yy).clamp(min=SMALLEST_SIZE)
    return [(torch.hypot(xx - yy, 2 * xy) / size)[:, None], size.log()[:, None]]


def _sum(images: Tensor, inside: Tensor) -> Tensor:
    """The sums (N, bands) of images (N, bands, H, W) over the pixels that are `inside`."""
    pixels = inside.flatten().nonzero()[:, 0].to(images.device)
    return images.flatten(-2)[..., pixels].sum(dim=-1)


def photometry_count(bands: int) -> int:
    """How many `photometric_features` images of so many bands have."""
    return 2 * bands + (len(RADII_ARCSEC) + 1) * bands + 2


def has_colours(survey: Survey | SurveyDescription) -> bool:
    """Whether a survey's images are calibrated and have g, r and i."""
    return survey.image_unit == NANOMAGGY and set(COLOUR_BANDS) <= set(survey.bands)


def image_colours(images: np.ndarray, survey: Survey | SurveyDescription) -> np.ndarray:
    """Colours of images inside the fibre's aperture.

    Args:
        images: (..., bands, H, W).
        survey: That they belong to, or its description.

    Returns:
        g − r and r − i (..., 2) in AB magnitudes; NaN where the survey does not `has_colours`, or
        the flux is not positive.
    """
    if not has_colours(survey):
        return np.full((*images.shape[:-3], len(COLOUR_NAMES)), np.nan)
    flux = aperture_nanomaggies(images, survey.pixel_scale_arcsec)
    return colours(flux[..., [survey.bands.index(band) for band in COLOUR_BANDS]])


def colours(flux: np.ndarray) -> np.ndarray:
    """Colours (..., n − 1) in magnitudes of bands in order; NaN where flux (..., n) is not > 0."""
    magnitude = -2.5 * np.log10(np.where(flux > 0, flux, np.nan))
    return -np.diff(magnitude, axis=-1)
