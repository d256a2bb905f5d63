"""Images of the mock galaxies: profiles, spiral arms, neighbours, seeing, noise.

A galaxy is a sum of components c (bulge, old disc, young disc, nucleus) with maps M_c(x) of unit
flux and fluxes F_cb in band b. Bulges follow the de Vaucouleurs, discs the exponential law, each
as a mixture of Gaussians (Hogg & Lang 2013, PASP 125, 719), so that inclination and smoothing
are exact. Young discs carry logarithmic spiral arms and lumps. With the PSF P_b,

    I_b(x) = FFT^-1[ P_b(k) Σ_c F_cb M_c(k) ] .

The maps are already smoothed with a Gaussian of `PRESMOOTH` pixels, by which P_b(k) is narrower;
they are larger than the cutout, so that the periodic convolution does not wrap into it.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.fft import fftfreq, irfft2, rfft2, rfftfreq
from scipy.optimize import nnls
from scipy.special import j1

from datasets.constants import SDSS_FIBRE_ARCSEC, SDSS_PIXEL_ARCSEC

SIZE, MARGIN = 64, 8  # pixels
FRAME = SIZE + 2 * MARGIN
PRESMOOTH = 0.8  # pixels
FWHM = 2.354820045  # in σ of a Gaussian

# u g r i z: seeing, sky noise and nanomaggies per photo-electron, as in SDSS frames.
SEEING_ARCSEC = np.array([1.42, 1.38, 1.30, 1.24, 1.22])
SKY_NANOMAGGY = np.array([0.038, 0.014, 0.022, 0.040, 0.178])
NANOMAGGY_PER_ELECTRON = np.array([0.0055, 0.0010, 0.0011, 0.0014, 0.0070])
WING_SHARE, WING_FACTOR = 0.10, 2.5  # of the PSF: a second, wider Gaussian

DE_VAUCOULEURS, EXPONENTIAL = (4.0, 8.0, 11, (0.012, 3.5)), (1.0, 4.0, 7, (0.10, 1.9))


@lru_cache(maxsize=2)
def mixture(profile: tuple) -> tuple[np.ndarray, np.ndarray]:
    """Gaussians whose sum is a Sérsic profile of unit half-light radius.

    Args:
        profile: Index n, truncation radius, number of Gaussians, range of widths, in units of the
            half-light radius. Beyond 0.85 of the truncation radius the profile fades to zero.

    Returns:
        Their weights (sum 1) and widths.
    """
    index, edge, count, (low, high) = profile
    sigma = np.geomspace(low, high, count)
    x = np.geomspace(low / 3, edge, 600)
    b = 2 * index - 1 / 3 + 0.009876 / index
    intensity = np.exp(-b * (x ** (1 / index) - 1))
    intensity *= np.clip((edge - x) / (0.15 * edge), 0, 1)
    gauss = np.exp(-0.5 * (x[:, None] / sigma) ** 2) / (2 * np.pi * sigma**2)
    weight = x / np.sqrt(intensity + 1e-3)  # between absolute and relative, per ring
    weights, _ = nnls(gauss * weight[:, None], intensity * weight)
    weights, sigma = weights[weights > 0] / weights.sum(), sigma[weights > 0]
    growth = 1 - np.exp(-0.5 * (x[:, None] / sigma) ** 2) @ weights
    return weights, sigma / np.interp(0.5, growth, x)  # truncation makes it smaller


@lru_cache(maxsize=1)
def _frame() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Pixel coordinates relative to the frame's centre and frequencies in cycles per pixel."""
    axis = np.arange(FRAME, dtype=np.float32) - FRAME / 2
    return axis[None, :], axis[:, None], rfftfreq(FRAME)[None, :], fftfreq(FRAME)[:, None]


def ellipse(profile, radius, ratio, angle, x0, y0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Elliptical Sérsic maps of unit flux on the frame, presmoothed.

    Args:
        profile: See `mixture`.
        radius: (n,) half-light radius along the major axis in pixels.
        ratio, angle: (n,) axis ratio; position angle in radians.
        x0, y0: (n,) centre in pixels from the frame's.

    Returns:
        The maps (n, F, F), and the coordinates along the major and the minor axis.
    """
    column = [np.asarray(v, np.float32)[:, None, None] for v in (radius, ratio, angle, x0, y0)]
    radius, ratio, angle, x0, y0 = column
    x, y = _frame()[0] - x0, _frame()[1] - y0
    u = np.cos(angle) * x + np.sin(angle) * y
    v = np.cos(angle) * y - np.sin(angle) * x
    u2, v2 = -0.5 * u * u, -0.5 * v * v
    total = np.zeros_like(u)
    for weight, sigma in zip(*mixture(profile), strict=True):
        along = (np.float32(sigma) * radius) ** 2 + np.float32(PRESMOOTH**2)
        across = (np.float32(sigma) * radius * ratio) ** 2 + np.float32(PRESMOOTH**2)
        term = np.exp(u2 / along + v2 / across)
        term *= np.float32(weight) / (2 * np.pi * np.sqrt(along * across))
        total += term
    return total, u, v


def scene(
    shape: dict, streams: list[np.random.Generator], pixel_arcsec: float = SDSS_PIXEL_ARCSEC
) -> np.ndarray:
    """Fourier maps (n, 4, F, F//2+1) of bulge, old disc, young disc and nucleus, unit flux each.

    Args:
        shape: (n,) arrays: `radius_arcsec`, `bulge_total`, `bulge_axis_ratio`, `cos_inclination`,
            `position_angle` (radians), `arm_strength` 0…1, `arm_count`, `arm_pitch`, `lumpiness`
            and the centre `x0`, `y0` (pixels).
        streams: n random streams.
        pixel_arcsec: Side of a pixel.
    """
    radius = shape["radius_arcsec"] / pixel_arcsec
    centre = shape["x0"], shape["y0"]
    bulge_radius = radius * (0.35 + 0.6 * shape["bulge_total"])
    angle = shape["position_angle"]
    bulge, _, _ = ellipse(DE_VAUCOULEURS, bulge_radius, shape["bulge_axis_ratio"], angle, *centre)
    thickness = 0.18  # intrinsic axis ratio of discs
    ratio = np.sqrt(thickness**2 + (1 - thickness**2) * shape["cos_inclination"] ** 2)
    disc, u, v = ellipse(EXPONENTIAL, 1.15 * radius, ratio, angle, *centre)
    young = disc * _arms(u, v, radius, ratio, shape) * _lumps(shape["lumpiness"], streams)
    young *= disc.sum(axis=(1, 2), keepdims=True) / young.sum(axis=(1, 2), keepdims=True)
    maps = rfft2(np.stack([bulge, disc, young], axis=1))
    return np.concatenate([maps, _point(*centre)[:, None]], axis=1)


def _point(x0: np.ndarray, y0: np.ndarray) -> np.ndarray:
    """Fourier map of a presmoothed point source at pixels (x0, y0) from the frame's centre."""
    kx, ky = _frame()[2:]
    x, y = (FRAME / 2 + np.asarray(c)[:, None, None] for c in (x0, y0))
    blur = np.exp(-2 * (np.pi * PRESMOOTH) ** 2 * (kx**2 + ky**2))
    return (blur * np.exp(-2j * np.pi * (kx * x + ky * y))).astype(np.complex64)


def _arms(u, v, radius, ratio, shape: dict) -> np.ndarray:
    """Brightness of logarithmic spiral arms relative to the smooth disc, (n, F, F)."""
    names = ("arm_strength", "arm_count", "arm_pitch")
    strength, count, pitch = (np.asarray(shape[n], np.float32)[:, None, None] for n in names)
    scale = np.asarray(radius, np.float32)[:, None, None]
    x, y = u / scale, v / (scale * np.asarray(ratio, np.float32)[:, None, None])
    r2 = x * x + y * y + np.float32(1e-3)
    phase = count * (np.arctan2(y, x) - np.log(r2) / (2 * np.tan(pitch)))
    crest = (0.5 + 0.5 * np.cos(phase)) ** 3 * np.float32(16 / 5)  # of mean 1
    strength = strength * (r2 / (r2 + np.float32(0.12)))
    return 1 + strength * (crest - 1)


def _lumps(lumpiness: np.ndarray, streams: list[np.random.Generator]) -> np.ndarray:
    """Log-normal field of star-forming regions, correlated over the resolution, (n, F, F)."""
    white = np.stack([s.standard_normal((FRAME, FRAME), dtype=np.float32) for s in streams])
    kx, ky = _frame()[2:]
    width = 1.6  # pixels; the factor below brings the smoothed field back to unit variance
    blur = 2 * np.sqrt(np.pi) * width * np.exp(-2 * (np.pi * width) ** 2 * (kx**2 + ky**2))
    field = irfft2(rfft2(white) * blur.astype(np.float32), s=(FRAME, FRAME))
    return np.exp(np.asarray(lumpiness, np.float32)[:, None, None] * field)


def neighbours(
    streams: list[np.random.Generator], pixel_arcsec: float = SDSS_PIXEL_ARCSEC
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Other stars and galaxies in the field, 0.5 per image on average.

    Returns:
        Image that each belongs to (m,), Fourier maps (m, F, F//2+1), fluxes (m, 5) in nanomaggies.
    """
    rows = []
    for i, stream in enumerate(streams):
        for _ in range(min(stream.poisson(0.5), 3)):
            rows.append((i, *stream.random(6), *stream.standard_normal(5)))
    table = np.array(rows).reshape(-1, 12)
    owner, u, normal = table[:, 0].astype(int), table[:, 1:7].T, table[:, 7:].T
    distance = np.sqrt(10.0**2 + (36.0**2 - 10.0**2) * u[0])
    x0, y0 = distance * np.cos(2 * np.pi * u[1]), distance * np.sin(2 * np.pi * u[1])
    # Counts rise as 10^(0.35 m) between 18 and 22.
    r = 18 + np.log10(1 + u[2] * (10**1.4 - 1)) / 0.35
    star = u[3] < 0.35
    radius = np.where(star, 0.02, 0.9 * np.exp(0.4 * normal[0])) / pixel_arcsec
    g_r = np.clip(0.75 + 0.35 * normal[1], 0.1, 1.6)
    r_i, i_z = 0.08 + 0.40 * g_r + 0.05 * normal[2], 0.05 + 0.25 * g_r + 0.05 * normal[3]
    u_g = 0.55 + 1.0 * g_r + 0.2 * normal[4]
    magnitude = r[:, None] + np.stack([u_g + g_r, g_r, 0 * r, -r_i, -r_i - i_z], axis=1)
    maps, _, _ = ellipse(EXPONENTIAL, radius, 0.3 + 0.7 * u[4], np.pi * u[5], x0, y0)
    return owner, rfft2(maps), 10 ** (0.4 * (22.5 - magnitude))


def seeing(fwhm_arcsec: np.ndarray, pixel_arcsec: float = SDSS_PIXEL_ARCSEC) -> np.ndarray:
    """Fourier PSFs (n, bands, F, F//2+1) of a seeing (n, bands), beyond the presmoothing."""
    kx, ky = _frame()[2:]
    k2 = (-2 * np.pi**2 * (kx**2 + ky**2)).astype(np.float32)
    sigma = fwhm_arcsec / FWHM / pixel_arcsec
    core, wing = (
        np.maximum((sigma * scale) ** 2 - PRESMOOTH**2, 0).astype(np.float32)[..., None, None]
        for scale in (1.0, WING_FACTOR)
    )
    return (1 - WING_SHARE) * np.exp(core * k2) + WING_SHARE * np.exp(wing * k2)


def fibre_shares(
    maps: np.ndarray,
    psf: np.ndarray,
    x0: np.ndarray,
    y0: np.ndarray,
    pixel_arcsec: float = SDSS_PIXEL_ARCSEC,
) -> np.ndarray:
    """Share of each component's light inside the fibre, through each band's PSF: (n, 4, bands).

    The aperture sum is the map convolved with a disc, at the fibre's centre (x0, y0): a sum over
    half of the frequencies, in which the complex conjugates count double.
    """
    radius = SDSS_FIBRE_ARCSEC / 2 / pixel_arcsec
    kx, ky = _frame()[2:]
    k = 2 * np.pi * radius * np.hypot(kx, ky)
    k[0, 0] = 1.0
    disc = 2 * np.pi * radius**2 * j1(k) / k
    disc[0, 0] = np.pi * radius**2
    twice = np.full(kx.shape, 2.0)
    twice[0, 0] = twice[0, -1] = 1.0
    x, y = (FRAME / 2 + np.asarray(c)[:, None, None] for c in (x0, y0))
    there = disc * twice / FRAME**2 * np.exp(2j * np.pi * (kx * x + ky * y))
    at_fibre = (maps * there[:, None].astype(np.complex64)).real
    return np.einsum("ncyx,nbyx->ncb", at_fibre, psf)


def render(maps: np.ndarray, fluxes: np.ndarray, psf: np.ndarray, extra: tuple) -> np.ndarray:
    """Noiseless cutouts (n, 5, 64, 64) in nanomaggies per pixel.

    Args:
        maps: (n, 4, …) of `scene`.
        fluxes: (n, 4, 5) in nanomaggies.
        psf: Of `seeing`.
        extra: Of `neighbours`.
    """
    total = np.einsum("ncyx,ncb->nbyx", maps, fluxes.astype(np.float32))
    owner, other_maps, other_fluxes = extra
    light = other_maps[:, None] * other_fluxes[:, :, None, None].astype(np.float32)
    np.add.at(total, owner, light)
    full = irfft2(total * psf, s=(FRAME, FRAME))
    return full[..., MARGIN:-MARGIN, MARGIN:-MARGIN]


def add_noise(
    images: np.ndarray,
    streams: list[np.random.Generator],
    sky: np.ndarray | float = 1.0,
    depth: float = 1.0,
) -> np.ndarray:
    """The cutouts with sky and photon noise, float32.

    Args:
        images: (n, 5, H, W) in nanomaggies per pixel.
        streams: n random streams.
        sky: (n, 5) factors of the median sky noise.
        depth: factor of the exposure.
    """
    background = (np.ones((1, 1)) * sky * SKY_NANOMAGGY)[..., None, None]
    photon = NANOMAGGY_PER_ELECTRON[:, None, None]
    variance = (background**2 + photon * np.clip(images, 0, None)) / depth
    noise = np.stack([s.standard_normal(images.shape[1:], dtype=np.float32) for s in streams])
    return images + np.sqrt(variance).astype(np.float32) * noise
