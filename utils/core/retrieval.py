r"""How well images find their own spectra, with and without the help of the noise.

R@k is the share of images whose own spectrum is among the k most similar of a pool. A network can
reach a high R@k by matching the noise level of a spectrum to the brightness of an image, so every
figure also exists with the noise of another galaxy on the spectrum,

.. math:: \tilde f_g = c_g + (f_{g-1} - c_{g-1}),

c the noiseless spectrum where the survey knows it (a mock), else a smoothed one.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

from datasets.image_transform import ImageTransform
from datasets.spectrum_transform import LOG_FLOOR, SpectrumTransform
from datasets.survey import Survey
from models.contrastive import ContrastiveModel, recall_at, retrieval_ranks
from utils.core.config import DataConfig
from utils.core.survey_rows import split_rows

BATCH = 256  # rows that go through a tower together
POOL = 500  # galaxies in the pool, or the split where it is smaller
RECALLS = (1, 5, 10)
SMOOTHING_PX = 10.0  # of the stand-in for a noiseless spectrum
CLIP_SIGMA = 3.0  # residuals beyond this are lines rather than noise


def swap_noise(flux: np.ndarray, noiseless: np.ndarray | None = None) -> np.ndarray:
    """Every spectrum with the noise of the one before it.

    Args:
        flux: (N, n) normalised flux.
        noiseless: (N, n) the same without noise; by default a smoothed spectrum stands in, and
            residuals that stick out (lines) stay where they are.

    Returns:
        (N, n) float32.
    """
    if noiseless is not None:
        return (noiseless + np.roll(flux - noiseless, 1, axis=0)).astype(np.float32)
    residual = flux - gaussian_filter1d(flux, SMOOTHING_PX, axis=1)
    sigma = 1.4826 * np.median(np.abs(residual), axis=1, keepdims=True)
    noise = np.where(np.abs(residual) < CLIP_SIGMA * sigma, residual, 0.0)
    return (flux - noise + np.roll(noise, 1, axis=0)).astype(np.float32)


def embed_images(network: ContrastiveModel, transform: ImageTransform, images: Tensor) -> Tensor:
    """Unit vectors (N, D), on the CPU, of raw images (N, bands, H, W), in evaluation mode."""
    return _embed(network, lambda part: network.encode_images(transform.evaluation(part)), images)


def embed_spectra(network: ContrastiveModel, transform: SpectrumTransform, flux: Tensor) -> Tensor:
    """Unit vectors (N, D), on the CPU, of linear normalised flux (N, n), in evaluation mode."""
    return _embed(network, lambda part: network.encode_spectra(transform.encode(part)), flux)


@torch.no_grad()
def _embed(network: ContrastiveModel, encode: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    network.eval()
    device = next(network.parameters()).device
    return torch.cat([encode(part.to(device)).cpu() for part in rows.split(BATCH)])


def retrieval_metrics(images: Tensor, spectra: Tensor, swapped: Tensor) -> dict[str, float]:
    """R@1, R@5 and R@10, plain and with swapped noise, the median rank, and the pool's size.

    Args:
        images, spectra, swapped: (N, D) unit vectors of images, of their spectra, and of their
            spectra with swapped noise.
    """
    figures: dict[str, float] = {"pool": float(len(images))}
    for name, other in {"": spectra, "_swapped": swapped}.items():
        ranks = retrieval_ranks(images, other)
        figures |= {f"recall_{k}{name}": recall_at(ranks, k) for k in RECALLS}
        figures[f"median_rank{name}"] = float(ranks.median()) + 1.0
    return figures


def validation_pool(
    survey: Survey, split: str, count: int, config: DataConfig | None = None
) -> dict[str, Tensor]:
    """The first `count` galaxies of a split: raw images, flux, and flux with swapped noise.

    Where `config` wants positive spectra only, others are left out, and swapped noise ends at the
    floor of the logarithm.
    """
    config = config or DataConfig()
    rows = split_rows(survey, split, config)[:count]
    flux = survey.read("spectra", rows)
    noiseless = survey.truth("noiseless", rows) if "noiseless" in survey.truth_names else None
    swapped = swap_noise(flux, noiseless)
    if config.positive_only:
        swapped = swapped.clip(min=LOG_FLOOR)
    return {
        "images": torch.from_numpy(survey.read("images", rows)),
        "flux": torch.from_numpy(flux),
        "swapped": torch.from_numpy(swapped),
        "rows": torch.from_numpy(np.asarray(rows, dtype=np.int64)),
    }
