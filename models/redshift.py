r"""Redshift as a condition: how likely each is for an image, and what it does to a spectrum.

`RedshiftHead` gives p(z | image) on a grid of bins from the features of a frozen image tower; a
temperature, set on galaxies it was not trained on, calibrates it. A redshift drawn from it (or one
that the user knows) becomes a *guide*: what the mean galaxy and the main ways to differ from it
look like at that redshift,

.. math:: g_k(\lambda) = T_k\bigl(\log_{10}\lambda - \log_{10}(1 + z)\bigr), \qquad k = 0 … K - 1,

with T_0 the mean and T_1 … the principal components of the training spectra in the rest frame, on a
logarithmic grid. The network sees the K guides beside the noisy spectrum, so that every line of a
candidate can sit at one redshift. An unknown redshift (NaN) gives guides of zero.

Shapes: B rows, K guides, C channels and L pixels of a spectrum, M rest-frame pixels, P pixels of
the observed grid, F features, N galaxies.
"""

import math
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.image_encoder import ImageEncoder

TEMPLATES = 4  # K
FREQUENCIES = 32  # of ln(1 + z)
LARGEST_FREQUENCY = 1e4  # radians per unit: one radian between redshifts that differ by 1e-4
REST_STEP_DEX = 1e-4  # that of SDSS's own pixels
COMPONENT_GALAXIES = 2000  # more do not change the first components
RANGE_MARGIN = (0.05, 1e-3)  # of the redshifts' range, relative and absolute
HEAD_WIDTH = 128
HEAD_DROPOUT = 0.3
BINS = 100
HEAD_STEPS, HEAD_BATCH, HEAD_RATE, HEAD_DECAY = 600, 512, 1e-3, 1e-2
HEAD_CHECK_EVERY = 20  # steps between two looks at the validation galaxies
TEMPERATURES = torch.logspace(-0.5, 0.8, 53)


class RedshiftGuide(nn.Module):
    """Rest-frame templates, shifted to a redshift.

    Args:
        log_wavelength: log10 of the observed wavelength of every pixel, arranged as the network
            sees them (C, L).
        rest_start: log10 of the first rest-frame wavelength.
        templates: (K, M) on the rest-frame grid, in steps of 1e-4 dex.
    """

    def __init__(self, log_wavelength: Tensor, rest_start: float, templates: Tensor):
        super().__init__()
        self.register_buffer("log_wavelength", log_wavelength)
        self.register_buffer("rest_start", torch.tensor(rest_start, dtype=torch.float64))
        self.register_buffer("templates", templates)

    @property
    def channels(self) -> int:
        """K·C, what the network gets beside the noisy spectrum."""
        return len(self.templates) * len(self.log_wavelength)

    def forward(self, redshift: Tensor) -> Tensor:
        """Guides (B, K·C, L) at redshifts (B,); zeros where the redshift is NaN."""
        known = torch.isfinite(redshift)
        shift = torch.log10(1 + redshift.double().nan_to_num(0.0))
        rest = self.log_wavelength - shift[:, None, None]  # (B, C, L)
        position = (rest - self.rest_start) / REST_STEP_DEX
        position = position.clamp(0, self.templates.shape[1] - 1.001)
        lower = position.long()
        fraction = (position - lower).to(self.templates)
        guides = self.templates[:, lower] * (1 - fraction) + self.templates[:, lower + 1] * fraction
        guides = guides.transpose(0, 1).flatten(1, 2)  # (B, K·C, L)
        return torch.where(known[:, None, None], guides, 0.0)


class RedshiftEmbedding(nn.Module):
    """A redshift as a number: features of u = ln(1 + z) for the residual blocks.

    MLP( sin(ω_k u), cos(ω_k u) ), with ω_k geometric from 1 to 1e4; zeros where z is NaN.

    Args:
        width: number of features T.
    """

    def __init__(self, width: int):
        super().__init__()
        frequencies = torch.logspace(0, math.log10(LARGEST_FREQUENCY), FREQUENCIES)
        self.register_buffer("frequencies", frequencies)
        self.mlp = nn.Sequential(
            nn.Linear(2 * FREQUENCIES, 4 * width), nn.SiLU(), nn.Linear(4 * width, width)
        )

    def forward(self, redshift: Tensor) -> Tensor:
        """Redshifts (B,) -> features (B, T)."""
        known = torch.isfinite(redshift)[:, None]
        angle = self.frequencies * torch.log1p(redshift.float().nan_to_num(0.0))[:, None]
        features = self.mlp(torch.cat([angle.sin(), angle.cos()], dim=-1))
        return torch.where(known, features, 0.0)


def rest_grid(log_wavelength: Tensor, lowest: float, highest: float) -> tuple[float, int]:
    """Start (log10 Å) and length of a rest-frame grid for observed `log_wavelength` at redshifts
    from `lowest` to `highest`."""
    start = log_wavelength.min().item() - math.log10(1 + highest)
    stop = log_wavelength.max().item() - math.log10(1 + lowest)
    return start, math.ceil((stop - start) / REST_STEP_DEX) + 2


def fit_templates(
    spectra: Tensor, redshift: Tensor, log_wavelength: Tensor, start: float, length: int, count: int
) -> Tensor:
    """Mean and principal components of spectra in the rest frame.

    Args:
        spectra: standardised spectra (N, P), as the network sees them but in order of wavelength.
        redshift: (N,).
        log_wavelength: log10 of the observed wavelengths (P,), rising.
        start, length: the rest-frame grid, from `rest_grid`.
        count: templates K, the mean included.

    Returns:
        (K, M) float32; components have unit root mean square. What a spectrum does not cover is
        taken as the mean.
    """
    spectra, redshift = spectra[:COMPONENT_GALAXIES], redshift[:COMPONENT_GALAXIES]
    wanted = start + REST_STEP_DEX * torch.arange(length, dtype=torch.float64)
    rest = torch.full((len(spectra), length), torch.nan)
    for row, (spectrum, z) in enumerate(zip(spectra, redshift.double(), strict=True)):
        observed = wanted + torch.log10(1 + z)
        upper = torch.searchsorted(log_wavelength, observed).clamp(1, len(log_wavelength) - 1)
        left, right = log_wavelength[upper - 1], log_wavelength[upper]
        fraction = ((observed - left) / (right - left)).to(spectrum)
        values = spectrum[upper - 1] * (1 - fraction) + spectrum[upper] * fraction
        inside = (observed >= log_wavelength[0]) & (observed <= log_wavelength[-1])
        rest[row] = torch.where(inside, values, torch.nan)
    mean = rest.nanmean(dim=0).nan_to_num(0.0)
    deviation = torch.where(rest.isnan(), 0.0, rest - mean)
    _, _, components = torch.pca_lowrank(deviation, q=max(count - 1, 1), center=False, niter=4)
    components = components.T[: count - 1] * math.sqrt(length)
    return torch.cat([mean[None], components])


def widened(lowest: float, highest: float) -> tuple[float, float]:
    """The range of redshifts within which candidates are drawn, from that of the training."""
    relative, absolute = RANGE_MARGIN
    margin = relative * (highest - lowest) + absolute
    return lowest - margin, highest + margin


class RedshiftHead(nn.Module):
    """p(z | image) as a histogram.

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
        self.network = nn.Sequential(
            nn.Linear(features, HEAD_WIDTH),
            nn.SiLU(),
            nn.Dropout(HEAD_DROPOUT),
            nn.Linear(HEAD_WIDTH, bins),
        )

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
        """Redshifts (B, P) below which `share` (B, P) of the probability lies.

        `pdf` is what `forward` gave (B, bins).
        """
        probability = pdf.exp()
        cumulative = probability.cumsum(dim=1)
        bins = torch.searchsorted(cumulative, share.contiguous()).clamp(max=len(self.edges) - 2)
        inside = probability.gather(1, bins)
        below = cumulative.gather(1, bins) - inside
        fraction = ((share - below) / inside.clamp(min=1e-12)).clamp(0, 1)
        return torch.lerp(self.edges[bins], self.edges[bins + 1], fraction)

    def loss(self, features: Tensor, redshift: Tensor) -> Tensor:
        """Cross-entropy with a target spread over neighbouring bins (σ of one bin), a scalar."""
        centres = (self.edges[1:] + self.edges[:-1]) / 2
        width = self.edges[1] - self.edges[0]
        target = torch.exp(-0.5 * ((redshift[:, None] - centres) / width) ** 2)
        target = target / target.sum(dim=1, keepdim=True).clamp(min=1e-12)
        return -(target * self(features)).sum(dim=1).mean()


@torch.no_grad()
def image_features(encoder: ImageEncoder, images: Tensor) -> Tensor:
    """What the head sees of images (B, bands, H, W): mean map and unit vector, (B, F)."""
    feature_map = encoder.feature_map(images)
    embedding = F.normalize(encoder.embed(feature_map), dim=-1)
    return torch.cat([feature_map.mean(dim=(2, 3)), embedding], dim=1).float()


def fit_head(
    training: tuple[Tensor, Tensor], validation: tuple[Tensor, Tensor], seed: int
) -> RedshiftHead:
    """Train a head, stop where galaxies it does not train on are predicted best, calibrate it.

    Args:
        training, validation: features (N, F) and redshifts (N,), on one device.
        seed: seed of the initial weights and of the order.

    Returns:
        The head in evaluation mode, without gradient.
    """
    features, redshift = training
    lowest, highest = widened(redshift.min().item(), redshift.max().item())
    with torch.random.fork_rng(devices=[features.device] if features.is_cuda else []):
        torch.manual_seed(seed)
        head = RedshiftHead(features.shape[1], lowest, highest).to(features.device)
        head.mean.copy_(features.mean(dim=0))
        head.sigma.copy_(features.std(dim=0).clamp(min=1e-6))
        best = _train_head(head, training, validation)
    head.load_state_dict(best)
    head.requires_grad_(False).eval()
    losses = []
    for temperature in TEMPERATURES:
        head.temperature.fill_(temperature)
        losses.append(head.loss(*validation))
    head.temperature.fill_(TEMPERATURES[torch.stack(losses).argmin()])
    return head


def _train_head(
    head: RedshiftHead, training: tuple[Tensor, Tensor], validation: tuple[Tensor, Tensor]
) -> dict[str, Tensor]:
    """The state of the head at its smallest validation loss."""
    optimiser = torch.optim.AdamW(head.parameters(), lr=HEAD_RATE, weight_decay=HEAD_DECAY)
    features, redshift = training
    smallest, best = math.inf, head.state_dict()
    for step in range(HEAD_STEPS):
        rows = torch.randint(len(features), (HEAD_BATCH,), device=features.device)
        head.train()
        optimiser.zero_grad()
        head.loss(features[rows], redshift[rows]).backward()
        optimiser.step()
        if step % HEAD_CHECK_EVERY == HEAD_CHECK_EVERY - 1:
            head.eval()
            with torch.no_grad():
                loss = head.loss(*validation).item()
            if loss < smallest:
                smallest = loss
                best = {name: tensor.clone() for name, tensor in head.state_dict().items()}
    return best
