"""Features of augmented views of all training images, computed once."""

from __future__ import annotations

import torch
from torch import Tensor
from tqdm import tqdm

from datasets.survey_dataset import SurveyDataset
from models.conditioning import FrozenCondition, ImageFeatures
from utils.core.checkpoints import TrainedContrastive

BATCH = 256  # galaxies at once


class FrozenFeatures:
    """Features of augmented views of all training images.

    The frozen tower gives the same features for the same view at every epoch; computing them for a
    few views before the training saves its whole forward pass.

    Args:
        views: From `encode_views`, for the galaxies `rows`.
        rows: (N,) of the survey.
        device: Where to keep them.
    """

    def __init__(self, views: tuple[Tensor, Tensor], rows: list[int], device: torch.device):
        self.map, self.embedding = (tensor.to(device) for tensor in views)
        self.position = {int(row): number for number, row in enumerate(rows)}

    def __call__(self, rows: Tensor, generator: torch.Generator) -> ImageFeatures:
        """Features of one random view of each of the survey's `rows` (B,)."""
        device, count = self.map.device, self.map.shape[1]
        position = torch.tensor([self.position[row] for row in rows.tolist()], device=device)
        view = torch.randint(count, position.shape, generator=generator, device=generator.device)
        return ImageFeatures(
            self.map[position, view].float(), self.embedding[position, view].float()
        )


@torch.no_grad()
def encode_views(
    condition: FrozenCondition,
    towers: TrainedContrastive,
    dataset: SurveyDataset,
    count: int,
    seed: int,
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    """Maps (N, V, F, h, w) and embeddings (N, V, D), in half precision, of V views of each image.

    Args:
        condition: The frozen condition, on its device.
        towers: Gives the image transform.
        dataset: The training split.
        count: Augmented views V per image.
        seed: Seed of the augmentation.
        device: Where to compute.
    """
    generator = torch.Generator(device).manual_seed(seed)
    maps, embeddings = [], []
    starts = range(0, len(dataset), BATCH)
    for start in tqdm(starts, desc="encoding images", unit="batch", disable=None):
        items = dataset.__getitems__(list(range(start, min(start + BATCH, len(dataset)))))
        images = torch.stack([item["image"] for item in items]).to(device)
        views = [
            condition.features(towers.images.training(images, generator)) for _ in range(count)
        ]
        maps.append(torch.stack([view.map for view in views], dim=1).half())
        embeddings.append(torch.stack([view.embedding for view in views], dim=1).half())
    return torch.cat(maps), torch.cat(embeddings)
