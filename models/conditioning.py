"""From a cutout to the condition tokens that the U-Net attends to.

`FrozenCondition` (default) reads the image tower that stage 1 has trained and never changes it;
only the projections to the width of the tokens are learnt. `JointCondition` is the published way:
another encoder, trained together with the U-Net.

Both split the work in two, so that the expensive part is done once per image: `features`, which
learns nothing, and `tokens`, which does.

Shapes: B batch, H W image height and width in pixels, F channels of the map, h w its height and
width (2 x 2 for 64-px cutouts), n = h·w, D embedding, W token width.
"""

from typing import NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.image_encoder import ImageEncoder


class ImageFeatures(NamedTuple):
    """What a frozen image tower, and aperture photometry, give for B images.

    map: the tower's last spatial map (B, F, h, w); embedding: unit vectors (B, D);
    photometry: colours and magnitudes (B, m), where something needs them.
    """

    map: Tensor
    embedding: Tensor
    photometry: Tensor | None = None

    @classmethod
    @torch.no_grad()
    def of(
        cls, image_encoder: ImageEncoder, images: Tensor, photometry: Tensor | None = None
    ) -> Self:
        """Features of standardised `images` (B, bands, H, W), without gradient."""
        feature_map = image_encoder.feature_map(images)
        embedding = F.normalize(image_encoder.embed(feature_map).float(), dim=-1)
        return cls(feature_map, embedding, photometry)

    def vector(self) -> Tensor:
        """All in one vector (B, F + D + m) per image: the mean of the map, the rest as it is."""
        parts = [self.map.mean(dim=(2, 3)), self.embedding, self.photometry]
        return torch.cat([part.float() for part in parts], dim=1)


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

    def features(self, images: Tensor) -> ImageFeatures:
        """Map and embedding of standardised `images` (B, bands, H, W), without gradient."""
        return ImageFeatures.of(self.image_encoder, images)

    def tokens(self, features: ImageFeatures) -> Tensor:
        """Tokens (B, n + 1, W): one per pixel of the map, one for the embedding."""
        of_map = self.map_projection(_flatten(features.map))  # (B, n, W)
        of_embedding = self.embedding_projection(features.embedding)  # (B, W)
        return torch.cat([of_map, of_embedding[:, None]], dim=1)


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
