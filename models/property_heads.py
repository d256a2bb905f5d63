"""Regression heads on the features of a frozen image tower.

`PropertyHead` gives p(property | image) as a histogram, for the redshift and the signal-to-noise
ratio; a temperature, set on galaxies it was not trained on, calibrates it. `CoefficientHead` gives
the mean coefficients of a spectral basis.

Shapes: B rows, F features, N galaxies, P candidates, E coefficients.
"""

import math
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.image_encoder import ImageEncoder

WIDTH = 128  # of the hidden layer
DROPOUT = 0.3
BINS = 100  # of a histogram
STEPS, BATCH, RATE, DECAY = 600, 512, 1e-3, 1e-2  # of AdamW
CHECK_EVERY = 20  # steps between two validations
PATIENCE = 8  # validations without improvement before training stops
TEMPERATURES = torch.logspace(-0.5, 0.8, 53)  # candidates for the calibration


class PropertyHead(nn.Module):
    """p(x | image) as a histogram.

    Args:
        features: number F of image features.
        edges: of the bins (bins + 1,), not falling.
    """

    def __init__(self, features: int, edges: Tensor):
        super().__init__()
        self.register_buffer("edges", edges.clone())
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("sigma", torch.ones(features))
        self.register_buffer("temperature", torch.ones(()))
        self.network = _network(features, len(edges) - 1)

    @classmethod
    def from_state(cls, state: dict[str, Tensor]) -> Self:
        """The trained head of a state dict, in evaluation mode."""
        head = cls(len(state["mean"]), state["edges"])
        head.load_state_dict(state)
        return head.requires_grad_(False).eval()

    def forward(self, features: Tensor) -> Tensor:
        """Logarithm of the probability of every bin (B, bins) for features (B, F)."""
        logits = self.network((features - self.mean) / self.sigma)
        return F.log_softmax(logits.float() / self.temperature, dim=-1)

    def quantile(self, log_probability: Tensor, u: Tensor) -> Tensor:
        """The quantiles `u` (B, P) of the histograms that `forward` gave (B, bins)."""
        probability = log_probability.exp()
        cumulative = probability.cumsum(dim=1)
        bins = torch.searchsorted(cumulative, u.contiguous()).clamp(max=len(self.edges) - 2)
        inside = probability.gather(1, bins)
        below = cumulative.gather(1, bins) - inside
        fraction = ((u - below) / inside.clamp(min=1e-12)).clamp(0, 1)
        return torch.lerp(self.edges[bins], self.edges[bins + 1], fraction)

    def loss(self, features: Tensor, value: Tensor) -> Tensor:
        """Cross-entropy with a target spread over neighbouring bins (σ of one bin), a scalar."""
        centres = torch.arange(len(self.edges) - 1, device=value.device) + 0.5
        target = torch.exp(-0.5 * (self._position(value)[:, None] - centres) ** 2)
        target = target / target.sum(dim=1, keepdim=True).clamp(min=1e-12)
        return -(target * self(features)).sum(dim=1).mean()

    def _position(self, value: Tensor) -> Tensor:
        """Where values (B,) lie among the bins, from 0 to their number, linear inside a bin."""
        lower = (torch.searchsorted(self.edges, value.contiguous()) - 1).clamp(
            0, len(self.edges) - 2
        )
        width = (self.edges[lower + 1] - self.edges[lower]).clamp(min=1e-12)
        return lower + ((value - self.edges[lower]) / width).clamp(0, 1)


class CoefficientHead(nn.Module):
    """Mean coefficients of a spectral basis.

    Args:
        features: number F of image features.
        coefficients: number E of coefficients.
    """

    def __init__(self, features: int, coefficients: int):
        super().__init__()
        for name, size in (("features", features), ("coefficients", coefficients)):
            self.register_buffer(f"{name}_mean", torch.zeros(size))
            self.register_buffer(f"{name}_sigma", torch.ones(size))
        self.network = _network(features, coefficients)

    def standardise(self, features: Tensor, coefficients: Tensor) -> None:
        """Take means and σ from features (N, F) and coefficients (N, E)."""
        for name, values in (("features", features), ("coefficients", coefficients)):
            getattr(self, f"{name}_mean").copy_(values.mean(dim=0))
            getattr(self, f"{name}_sigma").copy_(values.std(dim=0).clamp(min=1e-6))

    def forward(self, features: Tensor) -> Tensor:
        """Coefficients (B, E) for features (B, F)."""
        x = self.network((features - self.features_mean) / self.features_sigma)
        return x * self.coefficients_sigma + self.coefficients_mean

    def loss(self, features: Tensor, coefficients: Tensor) -> Tensor:
        """Mean squared error in units of σ_k, weighted with it: large coefficients count more."""
        error = (self(features) - coefficients) / self.coefficients_sigma
        return (self.coefficients_sigma / self.coefficients_sigma.mean() * error**2).mean()


def _network(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, WIDTH), nn.SiLU(), nn.Dropout(DROPOUT), nn.Linear(WIDTH, outputs)
    )


def fit_head(
    training: tuple[Tensor, Tensor], validation: tuple[Tensor, Tensor], seed: int
) -> PropertyHead:
    """Train a head with early stopping, then calibrate it.

    The bins are the percentiles of the training values, so that an outlier moves the last edge
    alone.

    Args:
        training, validation: features (N, F) and values (N,), finite, on one device.
        seed: seed of the initial weights and of the order.

    Returns:
        The head in evaluation mode, without gradient.
    """
    features, value = training
    edges = value.double().quantile(torch.linspace(0, 1, BINS + 1).to(value.device).double())
    with torch.random.fork_rng(devices=[features.device] if features.is_cuda else []):
        torch.manual_seed(seed)
        head = PropertyHead(features.shape[1], edges.float()).to(features.device)
        head.mean.copy_(features.mean(dim=0))
        head.sigma.copy_(features.std(dim=0).clamp(min=1e-6))
        train_head(head, training, validation)
    losses = []
    for temperature in TEMPERATURES:
        head.temperature.fill_(temperature)
        losses.append(head.loss(*validation))
    head.temperature.fill_(TEMPERATURES[torch.stack(losses).argmin()])
    return head


def fit_coefficients(
    features: Tensor, coefficients: Tensor, validation: tuple[Tensor, Tensor], folds: int, seed: int
) -> tuple[nn.ModuleList, Tensor]:
    """K-fold heads and their out-of-fold predictions, whose errors are those for new galaxies.

    Args:
        features: (V, N, F) of V views of each image; the first is the central one.
        coefficients: (N, E).
        validation: features (n, F) and coefficients (n, E) of galaxies that no head is trained on.
        folds: number of heads; each is trained without one part of the galaxies.
        seed: seed of the initial weights and of the order.

    Returns:
        The heads in evaluation mode, without gradient; predictions (N, E) for the central views.
    """
    views, galaxies, count = features.shape
    fold = torch.arange(galaxies, device=features.device) % folds
    heads, predictions = nn.ModuleList(), torch.empty_like(coefficients)
    with torch.random.fork_rng(devices=[features.device] if features.is_cuda else []):
        torch.manual_seed(seed)
        for number in range(folds):
            own = fold == number
            head = CoefficientHead(count, coefficients.shape[1]).to(features.device)
            others = features[:, ~own].flatten(0, 1), coefficients[~own].repeat(views, 1)
            head.standardise(*others)
            train_head(head, others, validation)
            predictions[own] = head(features[0, own])
            heads.append(head)
    return heads, predictions


def train_head(
    head: nn.Module, training: tuple[Tensor, Tensor], validation: tuple[Tensor, Tensor]
) -> None:
    """Train a head by its `loss`, and leave it in the state of the smallest validation loss."""
    optimiser = torch.optim.AdamW(head.parameters(), lr=RATE, weight_decay=DECAY)
    features, value = training
    smallest, best, waited = math.inf, _copy(head.state_dict()), 0
    for step in range(STEPS):
        rows = torch.randint(len(features), (BATCH,), device=features.device)
        head.train()
        optimiser.zero_grad()
        head.loss(features[rows], value[rows]).backward()
        optimiser.step()
        if step % CHECK_EVERY == CHECK_EVERY - 1:
            head.eval()
            with torch.no_grad():
                loss = head.loss(*validation).item()
            waited += 1
            if loss < smallest:
                smallest, waited = loss, 0
                best = _copy(head.state_dict())
            if waited == PATIENCE:
                break
    head.load_state_dict(best)
    head.requires_grad_(False).eval()


def _copy(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in state.items()}


def feature_count(encoder: ImageEncoder) -> int:
    """F of `models.conditioning.ImageFeatures.vector`, with the photometry of every band."""
    return encoder.features + encoder.dimensions + 2 * encoder.bands
