"""What the features of a frozen image tower say of a galaxy.

`PropertyHead` gives p(property | image) as a histogram, for what a generator takes beside an image:
the redshift, the signal-to-noise ratio. A temperature, set on galaxies it was not trained on,
calibrates it. `CoefficientHead` gives the expected coefficients of templates.

Shapes: B rows, F features, N galaxies, P candidates, E coefficients.
"""

import math
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.image_encoder import ImageEncoder

WIDTH = 128
DROPOUT = 0.3
BINS = 100
STEPS, BATCH, RATE, DECAY = 600, 512, 1e-3, 1e-2
CHECK_EVERY = 20  # steps between two looks at the validation galaxies
PATIENCE = 8  # looks without a better one before it is enough
TEMPERATURES = torch.logspace(-0.5, 0.8, 53)


class PropertyHead(nn.Module):
    """p(x | image) as a histogram.

    Args:
        features: number F of image features.
        lowest, highest: range of the histogram.
        bins: its bins.
    """

    def __init__(self, features: int, lowest: float, highest: float, bins: int = BINS):
        super().__init__()
        self.register_buffer("edges", torch.linspace(lowest, highest, bins + 1))
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("sigma", torch.ones(features))
        self.register_buffer("temperature", torch.ones(()))
        self.network = _network(features, bins)

    @classmethod
    def from_state(cls, state: dict[str, Tensor]) -> Self:
        """The trained head that a state dict describes, in evaluation mode."""
        edges = state["edges"]
        head = cls(len(state["mean"]), edges[0].item(), edges[-1].item(), len(edges) - 1)
        head.load_state_dict(state)
        return head.requires_grad_(False).eval()

    def forward(self, features: Tensor) -> Tensor:
        """Logarithm of the probability of every bin (B, bins) for features (B, F)."""
        logits = self.network((features - self.mean) / self.sigma)
        return F.log_softmax(logits.float() / self.temperature, dim=-1)

    def quantile(self, pdf: Tensor, share: Tensor) -> Tensor:
        """Values (B, P) below which `share` (B, P) of the probability lies.

        `pdf` is what `forward` gave (B, bins).
        """
        probability = pdf.exp()
        cumulative = probability.cumsum(dim=1)
        bins = torch.searchsorted(cumulative, share.contiguous()).clamp(max=len(self.edges) - 2)
        inside = probability.gather(1, bins)
        below = cumulative.gather(1, bins) - inside
        fraction = ((share - below) / inside.clamp(min=1e-12)).clamp(0, 1)
        return torch.lerp(self.edges[bins], self.edges[bins + 1], fraction)

    def loss(self, features: Tensor, value: Tensor) -> Tensor:
        """Cross-entropy with a target spread over neighbouring bins (σ of one bin), a scalar."""
        centres = (self.edges[1:] + self.edges[:-1]) / 2
        width = self.edges[1] - self.edges[0]
        target = torch.exp(-0.5 * ((value[:, None] - centres) / width) ** 2)
        target = target / target.sum(dim=1, keepdim=True).clamp(min=1e-12)
        return -(target * self(features)).sum(dim=1).mean()


class CoefficientHead(nn.Module):
    """PriorMoments coefficients of templates.

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


@torch.no_grad()
def image_features(encoder: ImageEncoder, images: Tensor) -> Tensor:
    """What the head sees of images (B, bands, H, W): mean map and unit vector, (B, F)."""
    feature_map = encoder.feature_map(images)
    embedding = F.normalize(encoder.embed(feature_map), dim=-1)
    return torch.cat([feature_map.mean(dim=(2, 3)), embedding], dim=1).float()


def fit_head(
    training: tuple[Tensor, Tensor], validation: tuple[Tensor, Tensor], seed: int
) -> PropertyHead:
    """Train a head, stop where galaxies it does not train on are predicted best, calibrate it.

    Args:
        training, validation: features (N, F) and values (N,), on one device.
        seed: seed of the initial weights and of the order.

    Returns:
        The head in evaluation mode, without gradient.
    """
    features, value = training
    margin = 0.05 * (value.max() - value.min()).item() + 1e-3
    with torch.random.fork_rng(devices=[features.device] if features.is_cuda else []):
        torch.manual_seed(seed)
        head = PropertyHead(
            features.shape[1], value.min().item() - margin, value.max().item() + margin
        ).to(features.device)
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
    """Heads, each trained without one part of the galaxies, and what they say of that part:
    as wrong as they are for new galaxies.

    Args:
        features: (V, N, F) of V views of each image; the first is the central one.
        coefficients: (N, E).
        validation: features and coefficients of galaxies that none is trained on.
        folds: number of parts.
        seed: seed of the initial weights and of the order.

    Returns:
        The heads in evaluation mode, without gradient; predictions (N, E) for the central views.
    """
    views, galaxies, count = features.shape
    fold = torch.arange(galaxies, device=features.device) % folds
    heads, predicted = nn.ModuleList(), torch.empty_like(coefficients)
    with torch.random.fork_rng(devices=[features.device] if features.is_cuda else []):
        torch.manual_seed(seed)
        for number in range(folds):
            own = fold == number
            head = CoefficientHead(count, coefficients.shape[1]).to(features.device)
            seen = features[:, ~own].flatten(0, 1), coefficients[~own].repeat(views, 1)
            head.standardise(*seen)
            train_head(head, seen, validation)
            predicted[own] = head(features[0, own])
            heads.append(head)
    return heads, predicted


def train_head(
    head: nn.Module, training: tuple[Tensor, Tensor], validation: tuple[Tensor, Tensor]
) -> None:
    """Train a head by its `loss`; its state is then that of the smallest validation loss."""
    optimiser = torch.optim.AdamW(head.parameters(), lr=RATE, weight_decay=DECAY)
    features, value = training
    smallest, best, waited = math.inf, head.state_dict(), 0
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
                best = {name: tensor.clone() for name, tensor in head.state_dict().items()}
            if waited == PATIENCE:
                break
    head.load_state_dict(best)
    head.requires_grad_(False).eval()


def feature_count(encoder: ImageEncoder) -> int:
    """F, of `condition_features`."""
    return encoder.features + encoder.dimensions + 2 * encoder.bands
