"""How unlike the training images an image is, as a p-value.

With the features f of an image, its embedding and its photometry, and their mean μ and covariance Σ
over training images, the squared Mahalanobis distance is

    d² = (f - μ)ᵀ Σ⁻¹ (f - μ)

(Lee et al. 2018, arXiv 1807.03888, for the features of a network). Its p-value is calibrated with n
validation images, which neither towers nor Σ have seen:

    p = (1 + #{i: d_i >= d}) / (n + 1).

For an image like theirs it is uniform (a conformal p-value: Bates et al. 2023, arXiv 2104.08279); a
star, blank sky or bands in the wrong order give the smallest one, 1 / (n + 1).

Shapes: B batch, N training images, n validation images, F features.
"""

from collections.abc import Mapping
from typing import Self

import torch
from torch import Tensor, nn

from models.conditioning import ImageFeatures

LIMIT = 0.015  # p below which an image is unlike the training images
SHRINKAGE = 1e-3  # of the correlation matrix towards the identity


class NoveltyTest(nn.Module):
    """The distance of images from the training images, and its p-value.

    Args:
        features: F, dimensions of the embedding and photometric features together.
        calibration: n.
    """

    mean: Tensor
    whitening: Tensor
    calibration: Tensor

    def __init__(self, features: int, calibration: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("whitening", torch.eye(features))
        self.register_buffer("calibration", torch.zeros(calibration))

    @classmethod
    def fit(cls, training: ImageFeatures, validation: ImageFeatures) -> Self:
        """The test with μ and Σ of training images (N, …), calibrated with validation images."""
        values = _joined(training).double()
        test = cls(values.shape[1], len(validation.embedding)).to(training.embedding.device)
        sigma = values.std(dim=0).clamp(min=1e-6)
        correlation = ((values - values.mean(dim=0)) / sigma).T.cov()
        correlation += SHRINKAGE * torch.eye(len(sigma)).to(correlation)
        inverse = torch.linalg.inv(torch.linalg.cholesky(correlation))
        test.mean.copy_(values.mean(dim=0))
        test.whitening.copy_(inverse / sigma)
        test.calibration.copy_(test.distance(validation).sort().values)
        return test

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> Self:
        """The test of a checkpoint."""
        test = cls(len(state["mean"]), len(state["calibration"]))
        test.load_state_dict(state)
        return test

    def distance(self, features: ImageFeatures) -> Tensor:
        """d² (B,) of images."""
        return ((_joined(features) - self.mean) @ self.whitening.T).square().sum(dim=1)

    @property
    def limit(self) -> float:
        """The p up to which an image is unlike the training images: `LIMIT`, or the smallest one
        where there are too few calibration images for that."""
        return max(LIMIT, 1.001 / (len(self.calibration) + 1))

    @torch.no_grad()
    def forward(self, features: ImageFeatures) -> Tensor:
        """p (B,), in (0, 1], of images; the smallest one for features that are not finite."""
        distance = self.distance(features).nan_to_num(nan=torch.inf)
        nearer = torch.searchsorted(self.calibration, distance)  # d_i < d
        count = len(self.calibration)
        return (1 + count - nearer) / (count + 1)


def _joined(features: ImageFeatures) -> Tensor:
    """(B, F): embedding and photometry."""
    return torch.cat([features.embedding, features.photometry], dim=1).float()
