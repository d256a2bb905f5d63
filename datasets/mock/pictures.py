"""Colour pictures of the mock galaxies, made the way the Legacy Surveys make their JPEGs.

Their viewer (github.com/legacysurvey/imagine) shows z, r and g as red, green and blue. With the
flux F_b in nanomaggies per pixel of 0.262″, gains s_b, an offset m and a softening Q, its mapping
`dr2_rgb`, after Lupton et al. 2004 (PASP 116, 133), is

    C_b = s_b F_b + m,    I = Σ_b max(C_b, 0) / 3,    picture_b = C_b asinh(Q I) / (√Q I) in 0 … 1 .

Here the stretch is applied to the survey's pixels of 0.396″, whereas a JPEG of 0.1″ per pixel is
stretched before it is averaged to 0.396″. The seeing is that of the SDSS images, the noise that of
the Legacy Surveys, which is lower.
"""

from __future__ import annotations

import numpy as np

from datasets.constants import SDSS_BANDS, SDSS_PIXEL_ARCSEC

SHOWN_BANDS = ("z", "r", "g")  # as red, green and blue
GAIN = np.array([2.2, 3.4, 6.0])
OFFSET, SOFTENING = 0.03, 20.0
LEGACY_PIXEL_ARCSEC = 0.262
# Sky noise of z, r, g per pixel of 0.396″, measured in the corners of Legacy Surveys DR9 JPEGs.
SKY_NANOMAGGY = np.array([0.013, 0.006, 0.003])
LEVELS = 255  # a JPEG has bytes


def picture(flux: np.ndarray) -> np.ndarray:
    """The colour picture (…, 3, H, W), 0 … 1, of `flux` in z, r, g in nanomaggies per pixel."""
    native = flux * (LEGACY_PIXEL_ARCSEC / SDSS_PIXEL_ARCSEC) ** 2
    colours = GAIN[:, None, None] * native + OFFSET
    intensity = np.maximum(colours, 0).mean(axis=-3, keepdims=True)
    intensity = np.maximum(intensity, np.finfo(np.float32).tiny)  # black stays black
    stretch = np.arcsinh(SOFTENING * intensity) / (np.sqrt(SOFTENING) * intensity)
    return (np.round(LEVELS * np.clip(colours * stretch, 0, 1)) / LEVELS).astype(np.float32)


def photograph(
    cutouts: np.ndarray, streams: list[np.random.Generator], depth: float = 1.0
) -> np.ndarray:
    """Pictures (n, 3, H, W) of noiseless ugriz `cutouts` (n, 5, H, W), with the sky noise of a
    `depth` times as long exposure."""
    flux = cutouts[:, [SDSS_BANDS.index(band) for band in SHOWN_BANDS]]
    noise = np.stack([s.standard_normal(flux.shape[1:], dtype=np.float32) for s in streams])
    return picture(flux + (SKY_NANOMAGGY / np.sqrt(depth))[:, None, None] * noise)
