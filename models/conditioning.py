"""From a cutout to the tokens that the U-Net attends to.

`FrozenCondition` (default) reads the tower that stage 1 has trained and never changes it; only the
projections to the U-Net's token width are learnt. `JointCondition` is the original's way: an
encoder of its own, trained together with the U-Net.

Both split the work in two, so that the expensive part can be done once per image: `features`, which
learns nothing, and `tokens`, which does.

Shapes: B batch, H W image height and width in pixels, F features, n = h·w pixels of the spatial map
(4 for 64-px cutouts), D embedding, W token width.
"""

from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.image_encoder import ImageEncoder


class FrozenCondition(nn.Module):
    """Tokens from a frozen image tower: its spatial map and its unit vector, projected.

    Args:
        image_encoder: the trained tower; it is kept in evaluation mode and gets no gradient.
        width: token width W.
    """

    def __init__(self, image_encoder: ImageEncoder, width: int = 512):
        super().__init__()
        self.image_encoder = image_encoder.requires_grad_(False).eval()
        self.width = width
        self.map_projection = _projection(image_encoder.features, width)
        self.embedding_projection = _projection(image_encoder.dimensions, width)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of the projections; batch norms of the tower keep their statistics."""
        super().train(mode)
        self.image_encoder.eval()
        return self

    @torch.no_grad()
    def features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, n, F) and unit vector (B, D), without gradient, of `images` (B, bands, H, W)."""
        feature_map = self.image_encoder.feature_map(images)
        embedding = F.normalize(self.image_encoder.embed(feature_map), dim=-1)
        return _flatten(feature_map), embedding

    def tokens(self, features: tuple[Tensor, Tensor]) -> Tensor:
        """Tokens (B, n + 1, W) of what `features` gave: one per map pixel, one for the whole."""
        feature_map, embedding = features
        return torch.cat(
            [self.map_projection(feature_map), self.embedding_projection(embedding)[:, None]], dim=1
        )


class JointCondition(nn.Module):
    """Tokens are the spatial map of an encoder that learns together with the U-Net.

    Args:
        image_encoder: an encoder without last layer (`embedding=None`); the token width W is its
            number of features F.

    Raises:
        ValueError: the encoder has a last layer, which would never learn.
    """

    def __init__(self, image_encoder: ImageEncoder):
        super().__init__()
        if not isinstance(image_encoder.fc, nn.Identity):
            raise ValueError("a jointly trained condition encoder takes embedding=None")
        self.image_encoder = image_encoder
        self.width = image_encoder.features

    def features(self, images: Tensor) -> Tensor:
        """The images themselves: nothing can be computed ahead of the weights."""
        return images

    def tokens(self, features: Tensor) -> Tensor:
        """Tokens (B, n, F) of images (B, bands, H, W)."""
        return _flatten(self.image_encoder.feature_map(features))


def _projection(inputs: int, width: int) -> nn.Sequential:
    # A unit vector's entries and a map's activations differ in scale: the layer norm levels them.
    return nn.Sequential(nn.LayerNorm(inputs), nn.Linear(inputs, width))


def _flatten(feature_map: Tensor) -> Tensor:
    return feature_map.flatten(2).transpose(1, 2)  # (B, n, F)
