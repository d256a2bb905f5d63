"""Retrieval of spectra by images in the pools of a split."""

from __future__ import annotations

from datasets.survey import Survey
from utils.core.checkpoints import TrainedContrastive
from utils.core.retrieval import (
    POOL,
    embed_images,
    embed_spectra,
    retrieval_metrics,
    validation_pool,
)

LARGE_POOL = 2000  # galaxies of the second pool, or the split where it is smaller


def retrieval_of_split(
    survey: Survey, split: str, towers: TrainedContrastive
) -> dict[str, dict[str, float]]:
    """R@1, 5 and 10, plain and with swapped noise, in a small and a large pool of a split; nothing
    for all splits together, since the towers were trained on one of them."""
    if split == "all":
        return {}
    network = towers.network
    pool = validation_pool(survey, split, LARGE_POOL, towers.config.data)
    flux, swapped = (embed_spectra(network, towers.spectra, pool[n]) for n in ("flux", "swapped"))
    scale = towers.survey.pixel_scale_arcsec
    vectors = (embed_images(network, towers.images, pool["images"], scale), flux, swapped)
    small = [rows[:POOL] for rows in vectors]
    return {
        "retrieval": retrieval_metrics(*small),
        "retrieval_large": retrieval_metrics(*vectors),
    }
