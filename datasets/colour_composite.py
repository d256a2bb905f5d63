"""Colour composites of cutouts, for display."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# Bands shown as red, green and blue, of which the first set that an image has is taken, and the
# factors that make a galaxy of average colour (g − r = 0.7, r − i = 0.35, r − z = 0.6) grey-gold.
DISPLAY_BANDS = (
    (("i", "r", "g"), (0.80, 1.00, 1.55)),
    (("z", "r", "g"), (0.65, 1.00, 1.55)),
)


def to_rgb(image: np.ndarray, bands: Sequence[str], softening: float = 8.0) -> np.ndarray:
    """Colour composite of one cutout for display, after Lupton et al. 2004 (PASP 116, 133).

    The intensity, not each channel, is stretched by asinh, so that the colour of a pixel does not
    depend on its brightness; a channel that overflows dims its pixel in all channels.

    Args:
        image: (bands, height, width), linear flux; values 0 … 1 for the bands R, G, B.
        bands: Names of the bands, e.g. ("u", "g", "r", "i", "z").
        softening: Q of the paper, how much the bright end is compressed.

    Returns:
        (height, width, 3) float32 in 0 … 1; grey without bands that make a colour.
    """
    planes = dict(zip(bands, np.asarray(image, dtype=np.float32), strict=True))
    if set("RGB") <= planes.keys():
        return np.clip(np.stack([planes[band] for band in "RGB"], -1), 0, 1)
    chosen, factors = next(
        ((names, factors) for names, factors in DISPLAY_BANDS if set(names) <= planes.keys()),
        ((bands[len(bands) // 2],) * 3, (1.0,) * 3),
    )
    colours = np.stack([planes[b] * f for b, f in zip(chosen, factors, strict=True)], -1)
    intensity = colours.mean(-1, keepdims=True)
    black, linear = _display_levels(intensity)
    excess = np.maximum(intensity - black, np.finfo(np.float32).tiny)
    stretched = np.arcsinh(softening * excess / linear) / np.arcsinh(softening * 2.5)
    shown = np.maximum(colours - black, 0) * (stretched / excess)
    return shown / np.maximum(shown.max(-1, keepdims=True), 1)


def _display_levels(intensity: np.ndarray) -> tuple[float, float]:
    """Black level, a little below the sky, and the range of intensities shown as linear."""
    from astropy.stats import mad_std  # slow to import, and only pictures need it

    sky, noise = float(np.median(intensity)), float(mad_std(intensity))
    bright = float(np.quantile(intensity, 0.995)) - sky
    return sky - noise, max(0.4 * bright, 30 * noise, 1e-6)
