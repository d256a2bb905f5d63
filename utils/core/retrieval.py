"""Retrieval: how well images find their own spectra, with their own noise and with swapped noise.

R@k is the fraction of images whose own spectrum is among the k most similar of a pool. A network
can reach a high R@k by matching the noise level of a spectrum to the brightness of an image.
Therefore every metric is also computed with the noise of another galaxy on the spectrum,

    f̃_g = c_g + (f_{g-1} - c_{g-1}),

with c the noiseless spectrum if the survey has it (a mock), else a smoothed one.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

from datasets.image_transform import ImageTransform
from datasets.photometry import photometric_features
from datasets.spectrum_transform import LOG_FLOOR, SpectrumTransform
from datasets.survey import Survey
from models.contrastive import ContrastiveModel, recall_at, retrieval_ranks
from utils.core.config import DataConfig
from utils.core.survey_rows import split_rows

BATCH = 256  # rows that go through a tower together
POOL = 500  # galaxies in the pool, or the whole split if it is smaller
RECALLS = (1, 5, 10)  # k of R@k
SMOOTHING_PX = 10.0  # sigma of the Gaussian that smooths a spectrum whose noise is not known
CLIP_SIGMA = 3.0  # larger residuals are lines rather than noise


def swap_noise(flux: np.ndarray, noiseless: np.ndarray | None = None) -> np.ndarray:
    """Every spectrum with the noise of the one before it.

    Args:
        flux: (N, n) normalised flux.
        noiseless: (N, n) the same without noise; by default the smoothed spectrum, and residuals
            beyond `CLIP_SIGMA` (lines) are not swapped.

    Returns:
        (N, n) float32.
    """
    if noiseless is not None:
        return (noiseless + np.roll(flux - noiseless, 1, axis=0)).astype(np.float32)
    from astropy.stats import mad_std  # half a second to import, which mock surveys do not need

    residual = flux - gaussian_filter1d(flux, SMOOTHING_PX, axis=1)
    sigma = mad_std(residual, axis=1)[:, None]
    noise = np.where(np.abs(residual) < CLIP_SIGMA * sigma, residual, 0.0)
    return (flux - noise + np.roll(noise, 1, axis=0)).astype(np.float32)


def embed_images(
    network: ContrastiveModel, transform: ImageTransform, images: Tensor, pixel_scale_arcsec: float
) -> Tensor:
    """Unit vectors (N, D), on the CPU, of raw images (N, bands, H, W), in evaluation mode."""

    def encode(part: Tensor) -> Tensor:
        photometry = None
        if network.photometry_encoder is not None:
            photometry = photometric_features(part, pixel_scale_arcsec).float()
        return network.encode_images(transform.evaluation(part), photometry)

    return _embed(network, encode, images)


def embed_spectra(network: ContrastiveModel, transform: SpectrumTransform, flux: Tensor) -> Tensor:
    """Unit vectors (N, D), on the CPU, of linear normalised flux (N, n), in evaluation mode."""
    return _embed(network, lambda part: network.encode_spectra(transform.encode(part)), flux)


@torch.no_grad()
def _embed(network: ContrastiveModel, encode: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    network.eval()
    device = next(network.parameters()).device
    return torch.cat([encode(part.to(device)).cpu() for part in rows.split(BATCH)])


def retrieval_metrics(images: Tensor, spectra: Tensor, swapped: Tensor) -> dict[str, float]:
    """R@k for `RECALLS` and the median rank, plain and with swapped noise, and the pool's size.

    Args:
        images, spectra, swapped: (N, D) unit vectors of images, of their spectra, and of their
            spectra with swapped noise.

    Returns:
        `pool`, `recall_K`, `median_rank` (1 is best), and the last two with `_swapped` appended.
    """
    metrics: dict[str, float] = {"pool": float(len(images))}
    for name, other in {"": spectra, "_swapped": swapped}.items():
        ranks = retrieval_ranks(images, other)
        metrics |= {f"recall_{k}{name}": recall_at(ranks, k) for k in RECALLS}
        metrics[f"median_rank{name}"] = float(ranks.median()) + 1.0
    return metrics


def validation_pool(
    survey: Survey, split: str, count: int, config: DataConfig
) -> dict[str, Tensor]:
    """The first `count` galaxies of a split.

    With `data.positive_only`, spectra with swapped noise are raised to the floor of the logarithm.

    Returns:
        `images` (N, bands, H, W) raw, `flux` (N, n), `swapped` (N, n) flux with swapped noise, and
        `rows` (N,) of the survey.

    Raises:
        UserError: the split is empty.
    """
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
