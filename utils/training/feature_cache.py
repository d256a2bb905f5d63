"""Features of augmented views of all training images, computed once."""

from __future__ import annotations

import torch
from torch import Tensor
from tqdm import tqdm

from datasets.survey_dataset import SurveyDataset
from models.conditioning import FrozenCondition
from utils.core.checkpoints import TrainedContrastive

BATCH = 256  # galaxies at once


class FrozenFeatures:
    """Features of augmented views of all training images, computed once.

    The frozen tower gives the same features for the same view at every epoch; computing them for a
    few views ahead of the training saves its whole forward pass. Held in half precision.

    Args:
        condition: The frozen condition, on its device.
        towers: Gives the image transform.
        dataset: The training split.
        views: Augmented views V per image.
        seed: Seed of the augmentation.
        device: Where to compute.
    """

    def __init__(
        self,
        condition: FrozenCondition,
        towers: TrainedContrastive,
        dataset: SurveyDataset,
        views: int,
        seed: int,
        device: torch.device,
    ):
        self.device = device
        self.views = views
        self.position = {int(row): number for number, row in enumerate(dataset.rows)}
        generator = torch.Generator(device).manual_seed(seed)
        parts: list[tuple[Tensor, Tensor]] = []
        starts = range(0, len(dataset), BATCH)
        for start in tqdm(starts, desc="encoding images", unit="batch", disable=None):
            rows = range(start, min(start + BATCH, len(dataset)))
            items = dataset.__getitems__(list(rows))
            images = torch.stack([item["image"] for item in items]).to(device)
            views_of = [
                condition.features(towers.images.training(images, generator)) for _ in range(views)
            ]
            parts.append(tuple(torch.stack(f, dim=1).half() for f in zip(*views_of, strict=True)))
        self.tensors = tuple(torch.cat(part) for part in zip(*parts, strict=True))

    def __call__(self, rows: Tensor, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Features of one random view of each of the survey's `rows` (B,)."""
        position = torch.tensor([self.position[row] for row in rows.tolist()], device=self.device)
        view = torch.randint(
            self.views, position.shape, generator=generator, device=generator.device
        )
        return tuple(tensor[position, view].float() for tensor in self.tensors)
