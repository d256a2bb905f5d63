"""The absolute scale of a generated spectrum, from the photometry of its cutout.

Networks generate spectra divided by their own normalisation. An SDSS spectrum sees the galaxy
through a fibre of 3″, and so does the cutout: with F_b the flux of the image in a circle of that
diameter and S_b the synthetic photometry of the normalised spectrum f in the same band,

    flux_λ = s f_λ,    s = Σ_b F_b / Σ_b S_b,

over the bands that lie within the spectrum's wavelengths (r and i for 4000 … 8499 Å). The images'
seeing and the fibre's centring are those of SDSS within some per cent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from datasets.photometry import AB_ZERO_1E17, SDSS_BANDS, filter_weights

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
