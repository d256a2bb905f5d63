"""Synthetic AB photometry: spectra through the SDSS u, g, r, i, z filters.

The AB flux of a spectrum f_lambda through a filter of (photon) response R is

    f_b = ∫ f_lambda R lambda dlambda / ∫ f_AB R lambda dlambda ,  f_AB = 3631 Jy · c / lambda² ,

in maggies. On a fixed wavelength grid this is a matrix product with the weights computed here.
The filter curves are those of Doi et al. (2010, AJ 139, 1628), read from speclite.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from datasets.survey import Survey
from datasets.survey_description import SurveyDescription

SDSS_BANDS = ("u", "g", "r", "i", "z")
LIGHT_KMS = 299792.458
# 3631 Jy times c, in 1e-17 erg/s/cm² Å: f_lambda of a source of magnitude 0 at 1 Å.
AB_ZERO_1E17 = 3631e-23 * LIGHT_KMS * 1e13 * 1e17


def filter_weights(
    wavelength_angstrom: np.ndarray, bands: tuple[str, ...] = SDSS_BANDS
) -> np.ndarray:
    """Weights per Å that turn a spectrum into nanomaggies.

    Arguments: `wavelength_angstrom` (P,) increasing, vacuum Å, observed frame; `bands` of
    "u", "g", "r", "i", "z".
    Returns (B, P) float64 `w`: `np.trapezoid(flux * w, wavelength_angstrom)` is the flux in
    nanomaggies for `flux` in 1e-17 erg/s/cm²/Å. A filter that reaches beyond the grid counts
    only what lies inside, in the numerator: the caller chooses a grid that covers it.
    Raises ValueError for an unknown band.
    """
    from speclite.filters import load_filter  # slow to import, and only the photometry needs it

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


def photometry(images: np.ndarray, pixel_scale_arcsec: float) -> np.ndarray:
    """Photometric features of images: asinh magnitudes, colours and concentration.

    Args:
        images: (N, bands, H, W) flux per pixel, galaxy in the middle.
        pixel_scale_arcsec: Pixel scale.

    Returns:
        (N, 2 bands): total (12 arcsec aperture) asinh flux of the middle band, colours in
        the total and in a 3 arcsec aperture, ratio of the two apertures in the middle band.
    """
    size = images.shape[-1]
    axis = (np.arange(size) - (size - 1) / 2) * pixel_scale_arcsec
    radius = np.hypot(axis[:, None], axis)
    total = images[..., radius < 6.0].sum(-1)
    fibre = images[..., radius < 1.5].sum(-1)
    magnitude_total, magnitude_fibre = _asinh_magnitude(total), _asinh_magnitude(fibre)
    middle = images.shape[1] // 2
    return np.concatenate(
        [
            magnitude_total[:, middle : middle + 1],
            -np.diff(magnitude_total, axis=1),
            -np.diff(magnitude_fibre, axis=1),
            (magnitude_fibre - magnitude_total)[:, middle : middle + 1],
        ],
        axis=1,
    )


def _asinh_magnitude(flux: np.ndarray, softening: float = 0.5) -> np.ndarray:
    """Asinh magnitudes (Lupton et al. 1999), finite at zero and negative flux, in magnitudes."""
    return -2.5 / np.log(10) * np.arcsinh(flux / (2 * softening))


FIBRE_DIAMETER_ARCSEC = 3.0  # SDSS spectrographs; 2″ since BOSS
MIN_COVERAGE = 0.999  # of a band's response to be inside the spectrum
SUBPIXELS = 10


def aperture_nanomaggies(
    images: np.ndarray,
    pixel_scale_arcsec: float,
    diameter_arcsec: float = FIBRE_DIAMETER_ARCSEC,
) -> np.ndarray:
    """Flux (..., bands) within a circle in the centre of images (..., bands, height, width).

    Pixels count by the part of their area inside, to 1/100 of a pixel.
    """
    height, width = images.shape[-2:]
    y, x = (
        ((np.arange(side * SUBPIXELS) + 0.5) / SUBPIXELS - side / 2) * pixel_scale_arcsec
        for side in (height, width)
    )
    inside = np.hypot(x[None], y[:, None]) <= diameter_arcsec / 2
    weights = inside.reshape(height, SUBPIXELS, width, SUBPIXELS).mean((1, 3))
    return np.einsum("...yx,yx->...", images.astype(np.float64), weights)


def synthetic_nanomaggies(
    wavelength_angstrom: np.ndarray, flux: np.ndarray, bands: Sequence[str]
) -> np.ndarray:
    """AB flux (..., bands) in nanomaggies of spectra (..., pixels) in 1e-17 erg/s/cm²/Å.

    Raises:
        ValueError: for bands that SDSS has not.
    """
    weights = filter_weights(wavelength_angstrom, tuple(bands))
    return np.trapezoid(np.asarray(flux)[..., None, :] * weights, wavelength_angstrom)


def covered_bands(wavelength_angstrom: np.ndarray) -> tuple[str, ...]:
    """The SDSS bands whose response lies within the wavelengths."""
    flat = 1e-9 * AB_ZERO_1E17 / np.asarray(wavelength_angstrom) ** 2  # AB source of 1 nanomaggy
    seen = synthetic_nanomaggies(wavelength_angstrom, flat, SDSS_BANDS)
    return tuple(band for band, part in zip(SDSS_BANDS, seen, strict=True) if part > MIN_COVERAGE)


def scale_to_photometry(
    wavelength_angstrom: np.ndarray, flux: np.ndarray, nanomaggies: Mapping[str, float]
) -> float | None:
    """The factor that takes a normalised spectrum to 1e-17 erg/s/cm²/Å.

    Args:
        wavelength_angstrom: (pixels,), vacuum, observed frame.
        flux: (pixels,), normalised.
        nanomaggies: measured flux by band, through the fibre's aperture.
    Returns:
        The factor, or None if no measured band is covered, or there is no flux in them.
    """
    bands = [band for band in covered_bands(wavelength_angstrom) if band in nanomaggies]
    measured = sum(nanomaggies[band] for band in bands)
    synthetic = float(synthetic_nanomaggies(wavelength_angstrom, flux, bands).sum()) if bands else 0
    return measured / synthetic if min(measured, synthetic) > 0 else None


COLOURS = (("g", "r"), ("r", "i"))
COLOUR_NAMES = tuple(f"delta_{blue}{red}" for blue, red in COLOURS)
EDGE_ANGSTROM = 50.0
BLUE_LIMIT_ANGSTROM = 3700.0  # of the g filter's response
MIN_COLOUR_COVERAGE = 0.95  # of a filter's response inside the spectrum
NANOMAGGY = "nanomaggy"
_BANDS = ("g", "r", "i")


def synthetic_colours(wavelength_angstrom: np.ndarray, flux: np.ndarray) -> np.ndarray:
    """g − r and r − i (..., 2) in AB magnitudes of spectra (..., n), in any unit.

    NaN where a filter is not covered or its flux is not positive.
    """
    matrix = _band_matrix(np.asarray(wavelength_angstrom, np.float64))
    return _colours(np.asarray(flux) @ matrix.T.astype(np.float32))


def has_colours(survey: Survey | SurveyDescription) -> bool:
    """Whether a survey's images are calibrated and have g, r and i."""
    return survey.image_unit == NANOMAGGY and set(_BANDS) <= set(survey.bands)


def image_colours(images: np.ndarray, survey: Survey | SurveyDescription) -> np.ndarray:
    """Colours of images inside the fibre's aperture.

    Args:
        images: (..., bands, H, W).
        survey: they belong to, or a description of it.

    Returns:
        g − r and r − i (..., 2) in AB magnitudes; NaN where the survey `has_colours` not, or the
        flux is not positive.
    """
    if not has_colours(survey):
        return np.full((*images.shape[:-3], len(COLOURS)), np.nan)
    seen = aperture_nanomaggies(images, survey.pixel_scale_arcsec)
    return _colours(seen[..., [survey.bands.index(band) for band in _BANDS]])


def _colours(nanomaggies: np.ndarray) -> np.ndarray:
    magnitude = -2.5 * np.log10(np.where(nanomaggies > 0, nanomaggies, np.nan))
    return -np.diff(magnitude, axis=-1)


def _band_matrix(wavelength: np.ndarray) -> np.ndarray:
    """(3, n): the product with a spectrum is its flux in g, r and i; NaN for bands not covered."""
    width = np.gradient(wavelength)
    width[[0, -1]] *= 0.5  # trapezoidal rule
    weights = filter_weights(wavelength, _BANDS) * width
    below = np.arange(BLUE_LIMIT_ANGSTROM, wavelength[0], 1.0)
    if below.size:
        edge = wavelength < wavelength[0] + EDGE_ANGSTROM
        weights[:, edge] += filter_weights(below, _BANDS).sum(axis=1)[:, None] / edge.sum()
    ab_source = 1e-9 * AB_ZERO_1E17 / wavelength**2  # one nanomaggy in every band
    inside = filter_weights(wavelength, _BANDS) @ (ab_source * width)
    return np.where((inside > MIN_COLOUR_COVERAGE)[:, None], weights, np.nan)
