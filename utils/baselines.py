"""What a generator has to beat: predictors that need no network of their own.

Each gives P candidates per galaxy, so that every figure exists for it too.

* constant: the training mean, P times;
* climatology: P random training spectra;
* nearest neighbours in photometry: the spectra of the P training galaxies whose magnitude, colours
  and concentration, measured on the images, are nearest;
* nearest neighbours in embedding: the same with the unit vectors of the image tower.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree


def constant(training: np.ndarray, count: int, candidates: int) -> np.ndarray:
    """The mean training spectrum for each of `count` galaxies.

    Args:
        training: (M, n) flux.

    Returns:
        (count, candidates, n), a view of one spectrum.
    """
    mean = training.mean(axis=0, dtype=np.float64).astype(training.dtype)
    return np.broadcast_to(mean, (count, candidates, mean.size))


def climatology(training_count: int, count: int, candidates: int, seed: int) -> np.ndarray:
    """Rows of random training spectra, without repetition within a galaxy: (count, candidates)."""
    generator = np.random.default_rng(seed)
    return np.stack(
        [generator.choice(training_count, candidates, replace=False) for _ in range(count)]
    )


def nearest(training: np.ndarray, test: np.ndarray, candidates: int) -> np.ndarray:
    """Rows of the nearest training galaxies, nearest first.

    Args:
        training: (M, d) features; each dimension is standardised on these.
        test: (N, d) features.

    Returns:
        (N, candidates) int64.
    """
    mean, sigma = training.mean(axis=0), training.std(axis=0) + 1e-12
    tree = cKDTree((training - mean) / sigma)
    return tree.query((test - mean) / sigma, k=candidates, workers=-1)[1].reshape(len(test), -1)


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
