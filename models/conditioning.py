"""From a cutout to the condition tokens that the denoisers attend to.

`ImageFeatures` is all that is computed of an image, once: the map and the embedding that the frozen
image tower of stage 1 gives, and photometry, because a contrastive tower keeps magnitudes, colours
and shapes only roughly. `FrozenCondition` (default) projects them to tokens; only these projections
learn. `JointCondition` is the published way: another encoder, trained together with the U-Net.

Shapes: B batch, H W image height and width in pixels, F channels of the map, h w its height and
width (2 x 2 for 64-px cutouts), n = h·w, D embedding, m photometric features, W token width.
"""

from typing import NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.image_encoder import ImageEncoder


class ImageFeatures(NamedTuple):
    """What a frozen image tower and photometry give for B images.

    map: the tower's last spatial map (B, F, h, w); embedding: its unit vectors (B, D),
    without what photometry adds to them (`models.contrastive`);
    photometry: `datasets.photometry.photometric_features` (B, m).
    """

    map: Tensor
    embedding: Tensor
    photometry: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, image_encoder: ImageEncoder, images: Tensor, photometry: Tensor) -> Self:
        """Features of standardised `images` (B, bands, H, W), without gradient."""
        feature_map = image_encoder.feature_map(images)
        embedding = F.normalize(image_encoder.embed(feature_map).float(), dim=-1)
        return cls(feature_map, embedding, photometry)


class FrozenCondition(nn.Module):
    """Tokens from the features of a frozen image tower and from photometry.

    Args:
        channels: F of the map.
        dimensions: D of the embedding.
        photometry: number m of photometric features.
        width: token width W.
    """

    def __init__(self, channels: int, dimensions: int, photometry: int, width: int = 256):
        super().__init__()
        self.width = width
        self.map_projection = _projection(channels, width)
        self.embedding_projection = _projection(dimensions, width)
        self.photometry_projection = nn.Sequential(
            nn.Linear(photometry, width), nn.SiLU(), nn.Linear(width, width)
        )
        self.register_buffer("photometry_mean", torch.zeros(photometry))
        self.register_buffer("photometry_sigma", torch.ones(photometry))

    def standardise(self, photometry: Tensor) -> None:
        """Take mean and σ of the photometry from training galaxies (N, m)."""
        self.photometry_mean.copy_(photometry.mean(dim=0))
        self.photometry_sigma.copy_(photometry.std(dim=0).clamp(min=1e-6))

    def tokens(self, features: ImageFeatures) -> Tensor:
        """Tokens (B, n + 2, W): one per pixel of the map, one for the embedding, one for the
        photometry."""
        of_map = self.map_projection(_flatten(features.map))  # (B, n, W)
        of_embedding = self.embedding_projection(features.embedding)  # (B, W)
        standardised = (features.photometry - self.photometry_mean) / self.photometry_sigma
        of_photometry = self.photometry_projection(standardised)  # (B, W)
        return torch.cat([of_map, of_embedding[:, None], of_photometry[:, None]], dim=1)


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

    def tokens(self, images: Tensor) -> Tensor:
        """Tokens (B, n, F) of standardised images (B, bands, H, W)."""
        return _flatten(self.image_encoder.feature_map(images))


def _projection(inputs: int, width: int) -> nn.Sequential:
    # A unit vector's entries and a map's activations differ in scale: the layer norm levels them.
    return nn.Sequential(nn.LayerNorm(inputs), nn.Linear(inputs, width))


def _flatten(feature_map: Tensor) -> Tensor:
    return feature_map.flatten(2).transpose(1, 2)  # (B, n, F)
