"""Features of the training images: of a few augmented views, computed once, or of new ones.

The frozen tower gives the same features for the same view at every epoch; computing them for a few
views before the training saves its whole forward pass. A run that is stopped finds them again in
its folder: reading a view takes a hundredth of the time of encoding it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from datasets.atomic_files import atomic_path
from datasets.photometry import PHOTOMETRY_VERSION, photometric_features
from datasets.survey import Survey
from models.conditioning import ImageFeatures
from utils.core.checkpoints import TrainedContrastive
from utils.core.config import GenerativeConfig
from utils.core.device import autocast
from utils.core.run_log import shielded
from utils.core.survey_identity import survey_identity
from utils.generation.conditions import image_features
from utils.training.distributed import on_first_rank

BATCH = 256  # galaxies at once
NAMES = ("maps", "embeddings", "photometry")
VIEWS = "views.safetensors"  # in the folder of a run, until it is finished

# Features (B, …) of one random view of each galaxy of a batch of the training loader.
Views = Callable[[dict[str, Tensor], torch.Generator], ImageFeatures]


class CachedViews:
    """A random one of the views that were encoded before training.

    Args:
        maps, embeddings: (N, V, F, h, w) and (N, V, D) of V views of each image.
        photometry: (N, m).
        rows: (N,) of the survey, ascending.
    """

    def __init__(self, maps: Tensor, embeddings: Tensor, photometry: Tensor, rows: np.ndarray):
        self.maps, self.embeddings, self.photometry = maps, embeddings, photometry
        self.rows = torch.from_numpy(rows)

    def __call__(self, batch: dict[str, Tensor], generator: torch.Generator) -> ImageFeatures:
        device, views = self.maps.device, self.maps.shape[1]
        position = torch.searchsorted(self.rows, batch["index"]).to(device, non_blocking=True)
        view = torch.randint(views, position.shape, generator=generator, device=generator.device)
        return ImageFeatures(
            self.maps[position, view].float(),
            self.embeddings[position, view].float(),
            self.photometry[position],
        )


class NewViews:
    """A new view of each image in every step."""

    def __init__(self, towers: TrainedContrastive, precision: str):
        self.towers, self.precision = towers, precision

    def __call__(self, batch: dict[str, Tensor], generator: torch.Generator) -> ImageFeatures:
        images = batch["image"].to(self.towers.images.mean.device, non_blocking=True)
        with autocast(images.device, self.precision):
            return image_features(self.towers, images, generator)


def training_views(
    towers: TrainedContrastive,
    survey: Survey,
    rows: np.ndarray,
    config: GenerativeConfig,
    folder: Path | None = None,
) -> Views:
    """Views of training images, as `diffusion.condition_views` says.

    The first process encodes them for all, in half precision. `rows` (N,) are ascending; the
    `folder` of the run keeps the encoded views, None keeps nothing.
    """
    count, device = config.diffusion.condition_views, towers.images.mean.device
    if count == 0:
        return NewViews(towers, config.run.precision)

    def encode() -> tuple[Tensor, Tensor, Tensor]:
        generator = torch.Generator(device).manual_seed(config.run.seed)
        maps, embeddings, photometry = [], [], []
        encoder, scale = towers.network.image_encoder, towers.survey.pixel_scale_arcsec
        starts = range(0, len(rows), BATCH)
        for start in tqdm(starts, desc="encoding images", unit="batch", disable=None):
            images = torch.from_numpy(survey.read("images", rows[start : start + BATCH])).to(device)
            numbers = photometric_features(images, scale).to(towers.images.mean)
            views = [
                ImageFeatures.of(encoder, towers.images.training(images, generator), numbers)
                for _ in range(count)
            ]
            maps.append(torch.stack([view.map for view in views], dim=1).half())
            embeddings.append(torch.stack([view.embedding for view in views], dim=1).half())
            photometry.append(numbers)
        return torch.cat(maps), torch.cat(embeddings), torch.cat(photometry)

    def kept() -> tuple[Tensor, Tensor, Tensor]:
        if folder is None:
            return encode()
        weights = b"".join(w.cpu().numpy().tobytes() for w in towers.network.state_dict().values())
        settings = (survey_identity(survey), count, config.run.seed, PHOTOMETRY_VERSION)
        identity = hashlib.sha256(weights + rows.tobytes() + repr(settings).encode()).hexdigest()
        return _kept(folder / VIEWS, identity, device, encode)

    return CachedViews(*on_first_rank(kept, device), rows)


def _kept(
    path: Path, identity: str, device: torch.device, encode: Callable[[], tuple[Tensor, ...]]
) -> tuple[Tensor, ...]:
    """The tensors in a file; where it is missing, damaged or of another identity, those of
    `encode`, which it then keeps."""
    with suppress(OSError, SafetensorError), safe_open(path, "pt", device=str(device)) as file:
        if (file.metadata() or {}).get("identity") == identity:
            return tuple(file.get_tensor(name) for name in NAMES)
    tensors = encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    with shielded("keeping the encoded views"), atomic_path(path) as temporary:
        save_file(dict(zip(NAMES, tensors, strict=True)), temporary, {"identity": identity})
    return tensors


def central_features(towers: TrainedContrastive, survey: Survey, rows: np.ndarray) -> ImageFeatures:
    """Features of the central views of `rows` (N,)."""
    device, parts = towers.images.mean.device, []
    for start in range(0, len(rows), BATCH):
        images = torch.from_numpy(survey.read("images", rows[start : start + BATCH]))
        parts.append(image_features(towers, images.to(device)))
    return ImageFeatures(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))
