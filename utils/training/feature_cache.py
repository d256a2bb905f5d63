"""Features of augmented views of all training images, computed once."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from datasets.survey_dataset import SurveyDataset
from models.conditioning import FrozenCondition, ImageFeatures, JointCondition
from utils.core.checkpoints import TrainedContrastive
from utils.core.config import GenerativeConfig
from utils.training.distributed import on_first_rank

BATCH = 256  # galaxies at once


class FrozenFeatures:
    """Features of augmented views of all training images.

    The frozen tower gives the same features for the same view at every epoch; computing them for a
    few views before the training saves its whole forward pass.

    Args:
        maps, embeddings: (N, V, F, h, w) and (N, V, D) of V views of each image.
        rows: (N,) of the survey.
    """

    def __init__(self, maps: Tensor, embeddings: Tensor, rows: np.ndarray):
        self.maps, self.embeddings = maps, embeddings
        self.position = {int(row): number for number, row in enumerate(rows)}

    def __call__(self, rows: Tensor, generator: torch.Generator) -> ImageFeatures:
        """Features of one random view of each of the survey's `rows` (B,)."""
        device, views = self.maps.device, self.maps.shape[1]
        position = torch.tensor([self.position[row] for row in rows.tolist()], device=device)
        view = torch.randint(views, position.shape, generator=generator, device=generator.device)
        return ImageFeatures(
            self.maps[position, view].float(), self.embeddings[position, view].float()
        )


def encode_views(
    condition: FrozenCondition | JointCondition,
    towers: TrainedContrastive,
    dataset: SurveyDataset,
    config: GenerativeConfig,
    device: torch.device,
) -> FrozenFeatures | None:
    """Features of `diffusion.condition_views` views of each image, in half precision.

    The first process computes them for all. None where every step encodes its views.

    Args:
        condition: The condition, on `device`.
        towers: Gives the image transform.
        dataset: The training split.
        config: The configuration.
        device: Where to compute and to keep them.
    """
    count = config.diffusion.condition_views
    if count == 0 or config.diffusion.condition == "joint":
        return None

    @torch.no_grad()
    def encode() -> tuple[Tensor, Tensor]:
        generator = torch.Generator(device).manual_seed(config.run.seed)
        maps, embeddings = [], []
        starts = range(0, len(dataset), BATCH)
        for start in tqdm(starts, desc="encoding images", unit="batch", disable=None):
            items = dataset.__getitems__(list(range(start, min(start + BATCH, len(dataset)))))
            images = torch.stack([item["image"] for item in items]).to(device)
            views = [towers.images.training(images, generator) for _ in range(count)]
            features = [condition.features(view) for view in views]
            maps.append(torch.stack([view.map for view in features], dim=1).half())
            embeddings.append(torch.stack([view.embedding for view in features], dim=1).half())
        return torch.cat(maps), torch.cat(embeddings)

    return FrozenFeatures(*on_first_rank(encode, device), dataset.rows)
