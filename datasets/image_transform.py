"""Galaxy cutouts as networks see them: resampled, augmented, stretched and standardised.

A cutout X (64 × 64 px, nanomaggies per pixel) is enlarged to 71 px, cropped to 64 px (anywhere when
training, in the centre when evaluating) and, when training, flipped along each axis with
probability ½ (Doorenbos et al. 2024). Interpolation, crop and flip are linear and separable, so
that the three together are one pair of small matrices per image,

    Y = A_y X A_xᵀ,    A = 64 rows of the 71 × 64 interpolation matrix, reversed for a flip.

Then each band b is standardised with the mean μ_b and the standard deviation σ_b of its pixels over
the training images:

    linear:  x = (Y − μ_b) / σ_b
    asinh:   x = asinh(Y / (k σ_b)) / asinh(1 / k),  k = 0.1

σ_b is set by the bright centres and is some ten times the sky noise. The asinh stretch is linear
below k σ_b, where faint outskirts keep their flux ratios, i.e. their colours, and logarithmic
above; the sky stays at 0 and a pixel of one σ_b at 1 in both, so that values are O(1).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

STRETCHES = ("linear", "asinh")
BLOCK_ROWS = 256  # images held at a time while their statistics are computed
ASINH_SOFTENING = 0.1  # k: where the stretch turns from linear to logarithmic, in σ of the band

# Mean and σ of ImageNet's pictures, R G B, values 0 … 1 (PyTorch's documentation of torchvision).
IMAGENET_MEAN, IMAGENET_SIGMA = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class ImageTransform:
    """From raw cutouts (batch, bands, any, any) to network inputs (batch, bands, size, size).

    Args:
        stretch: "linear" or "asinh", see the top of this module.
        mean, sigma: (bands,) of the training images' pixels, in the images' unit; sigma > 0.
        size: Side of the output in px.
        zoom_size: Side in px to which images are enlarged before the crop, at least `size`.

    Raises:
        ValueError: for another stretch, statistics that cannot standardise, or a crop larger than
            the enlarged image.
    """

    def __init__(
        self,
        stretch: str,
        mean: Sequence[float] | Tensor,
        sigma: Sequence[float] | Tensor,
        size: int = 64,
        zoom_size: int = 71,
    ) -> None:
        if stretch not in STRETCHES:
            raise ValueError(f"image stretch is one of {STRETCHES}, not {stretch!r}")
        self.stretch = stretch
        self.mean = torch.as_tensor(mean, dtype=torch.float32)
        self.sigma = torch.as_tensor(sigma, dtype=torch.float32)
        if self.mean.shape != self.sigma.shape or self.mean.ndim != 1:
            raise ValueError("image mean and sigma need one value per band each")
        if not (self.sigma > 0).all():
            raise ValueError(f"image sigma must be positive in every band, not {sigma}")
        if not 0 < size <= zoom_size:
            raise ValueError(f"cannot crop {size} px from an image of {zoom_size} px")
        self.size = size
        self.zoom_size = zoom_size
        self._enlarge = _interpolation_matrix(size, zoom_size)

    def training(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """A random view of each of the images (batch, bands, any, any).

        Crop and flips of every image are random numbers of `generator`, independent of each other.
        """
        device, count = images.device, len(images)
        shape, source = (2, count, 1), generator.device
        offset = torch.randint(
            self.zoom_size - self.size + 1, shape, generator=generator, device=source
        )
        flip = torch.randint(2, shape, generator=generator, device=source, dtype=torch.bool)
        pixel = torch.arange(self.size, device=source)
        rows = offset + torch.where(flip, pixel.flip(0), pixel)
        vertical, horizontal = self._enlarge[rows.to(device)]
        return self._view(images, vertical[:, None], horizontal[:, None])

    def evaluation(self, images: Tensor) -> Tensor:
        """The central view of the images (batch, bands, any, any)."""
        offset = round((self.zoom_size - self.size) / 2)
        central = self._enlarge[offset : offset + self.size]
        return self._view(images, central, central)

    def _view(self, images: Tensor, vertical: Tensor, horizontal: Tensor) -> Tensor:
        if images.ndim != 4 or images.shape[1] != len(self.mean):
            raise ValueError(
                f"images of shape (batch, {len(self.mean)}, height, width) are needed, "
                f"not {tuple(images.shape)}"
            )
        images = images.to(self.mean.dtype)
        if images.shape[-2:] != (self.size, self.size):
            images = F.interpolate(images, (self.size, self.size), mode="bilinear", antialias=True)
        return self._standardise(vertical @ images @ horizontal.transpose(-1, -2))

    def _standardise(self, images: Tensor) -> Tensor:
        mean, sigma = self.mean[:, None, None], self.sigma[:, None, None]
        if self.stretch == "linear":
            return (images - mean) / sigma
        return torch.asinh(images / (ASINH_SOFTENING * sigma)) / math.asinh(1 / ASINH_SOFTENING)

    def to(self, device: torch.device | str) -> ImageTransform:
        """The same transform with its constants on `device`."""
        moved = copy.copy(self)
        moved.mean, moved.sigma = self.mean.to(device), self.sigma.to(device)
        moved._enlarge = self._enlarge.to(device)
        return moved

    def to_dict(self) -> dict:
        """The arguments of `from_dict`, as primitives and tensors."""
        return {
            "stretch": self.stretch,
            "mean": self.mean.cpu(),
            "sigma": self.sigma.cpu(),
            "size": self.size,
            "zoom_size": self.zoom_size,
        }

    @classmethod
    def from_dict(cls, state: dict) -> ImageTransform:
        return cls(**state)


def image_statistics(images: Any, used: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and σ per band over the used images: two streaming passes in float64.

    Args:
        images: (N, bands, H, W), an array or an HDF5 data set.
        used: (N,) bool, e.g. the training split.

    Returns:
        Two arrays (bands,) float64.

    Raises:
        ValueError: none is used.
    """
    if not used.any():
        raise ValueError("the training split is empty: add galaxies or change the fractions")

    def mean_of(function: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        total = np.zeros(images.shape[1])
        for start in range(0, len(images), BLOCK_ROWS):
            rows = slice(start, start + BLOCK_ROWS)
            block = images[rows][used[rows]].astype(np.float64)
            total += function(block).sum(axis=(0, 2, 3))
        return total / (used.sum() * images.shape[2] * images.shape[3])

    mean = mean_of(lambda block: block)
    return mean, np.sqrt(mean_of(lambda block: (block - mean[:, None, None]) ** 2))


def _interpolation_matrix(size: int, target: int) -> Tensor:
    """(target, size): bilinear interpolation along one axis, pixel centres as in torch."""
    identity = torch.eye(size)[None, None]
    return F.interpolate(identity, (target, size), mode="bilinear", antialias=True)[0, 0]
