"""Stage 2: the noise schedule, the training loss and the complete denoiser.

Forward process (Ho et al. 2020, arXiv 2006.11239) with t = 0 ... T - 1, α_t = 1 - β_t:

    x_t = √ᾱ_t x_0 + √(1 - ᾱ_t) ε,    ᾱ_t = Π_{s <= t} α_s,    ε ~ N(0, 1).

The network predicts the noise ε or the velocity v = √ᾱ_t ε - √(1 - ᾱ_t) x_0 (Salimans & Ho 2022,
arXiv 2202.00512). Velocity is the default: near t = T, where ᾱ is tiny, dividing by √ᾱ multiplies
the error of a predicted noise.

Shapes: B batch, C channels, L pixels, c l channels and pixels of a low-resolution spectrum,
N tokens, W token width.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.spectrum_prior import PriorMoments, SpectrumPrior

OFFSET = 0.008  # s of the cosine schedule (Nichol & Dhariwal 2021, arXiv 2102.09672, eq. 17)
LARGEST_BETA = 0.999
LINEAR_BETAS = (1e-2, 0.2)  # first and last


def cosine_alphas_cumulative(u: Tensor) -> Tensor:
    """f(u) = cos²((u + s)/(1 + s) π/2) for u = t/T in [0, 1] (Nichol & Dhariwal 2021, eq. 17)."""
    return torch.cos((u + OFFSET) / (1 + OFFSET) * math.pi / 2) ** 2


class NoiseSchedule(nn.Module):
    """β_t, α_t and ᾱ_t as buffers (T,).

    Args:
        name: "cosine" (β clipped at 0.999) or "linear" (0.01 to 0.2).
        steps: T >= 1.
        cumulative: "product", or "original" for the ᾱ_t = f(t/T) that the original stored beside
            its cosine schedule: one index too early, it is not the product of the α.

    Raises:
        ValueError: `name` or `cumulative` is unknown.
    """

    betas: Tensor
    alphas: Tensor
    alphas_cumulative: Tensor

    def __init__(self, name: str = "cosine", steps: int = 250, cumulative: str = "product"):
        super().__init__()
        grid = torch.arange(steps + 1, dtype=torch.float64) / steps
        if name == "cosine":
            ideal = cosine_alphas_cumulative(grid)
            betas = (1 - ideal[1:] / ideal[:-1]).clamp(max=LARGEST_BETA)
        elif name == "linear":
            betas = torch.linspace(*LINEAR_BETAS, steps, dtype=torch.float64)
        else:
            raise ValueError(f'noise schedule "{name}" is neither "cosine" nor "linear"')
        if cumulative not in ("product", "original"):
            raise ValueError(f'cumulative "{cumulative}" is neither "product" nor "original"')
        alphas = 1 - betas.float()  # from the stored β, so that the three buffers agree exactly
        alphas_cumulative = torch.cumprod(alphas.double(), dim=0).float()
        if cumulative == "original" and name == "cosine":
            alphas_cumulative = cosine_alphas_cumulative(grid[:-1].float())
        self.register_buffer("betas", betas.float())
        self.register_buffer("alphas", alphas)
        self.register_buffer("alphas_cumulative", alphas_cumulative)

    @property
    def steps(self) -> int:
        """T."""
        return len(self.betas)

    def scales(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """√ᾱ_t and √(1 - ᾱ_t), (B, 1, 1) each, for times (B,)."""
        kept = self.alphas_cumulative[t][:, None, None]
        return kept.sqrt(), (1 - kept).sqrt()

    def q_sample(self, clean: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """x_t (B, C, L) of x_0 (B, C, L), times (B,) and ε (B, C, L)."""
        signal, spread = self.scales(t)
        return signal * clean + spread * noise

    def velocity(self, clean: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """v (B, C, L) of x_0 (B, C, L), times (B,) and ε (B, C, L)."""
        signal, spread = self.scales(t)
        return signal * noise - spread * clean

    def from_velocity(self, velocity: Tensor, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """ε and x_0, (B, C, L) each, of v and x_t (B, C, L) at times (B,)."""
        signal, spread = self.scales(t)
        return spread * x_t + signal * velocity, signal * x_t - spread * velocity

    def from_noise(self, noise: Tensor, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """ε and x_0, (B, C, L) each, of ε and x_t (B, C, L) at times (B,)."""
        signal, spread = self.scales(t)
        return noise, (x_t - spread * noise) / signal


def upsample_aligned(low: Tensor, length: int) -> Tensor:
    """A subsampled spectrum, linearly interpolated on the grid that it was taken from.

    Pixel k of the low resolution lies at pixel k·f of the full one; past the last, the value stays.

    Args:
        low: every f-th pixel (B, C, l) of a spectrum; f is `length` / l, rounded up.
        length: pixels L of the full resolution.

    Returns:
        (B, C, L).
    """
    factor = -(-length // low.shape[-1])
    covered = factor * (low.shape[-1] - 1) + 1
    full = F.interpolate(low, size=covered, mode="linear", align_corners=True)
    return F.pad(full[..., :length], (0, max(length - covered, 0)), mode="replicate")


def upsample_original(low: Tensor, length: int) -> Tensor:
    """The original's interpolation of (B, C, l) to (B, C, L): pixels as areas, up to 3.4 px off."""
    return F.interpolate(low, size=length, mode="linear", align_corners=False)


UPSAMPLINGS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "aligned": upsample_aligned,
    "original": upsample_original,
}


class Denoiser(nn.Module):
    """Condition, U-Net and schedule together.

    Args:
        condition: `FrozenCondition` or `JointCondition`.
        unet: network (x, t, tokens) -> prediction; super resolution takes one input channel more
            for each channel of the low-resolution spectrum.
        schedule: the noise schedule.
        prediction: what the U-Net predicts, "velocity" or "noise".
        alignment: how a low-resolution spectrum is interpolated, "aligned" or "original".
        prior: what is moments of a spectrum, given what is known of it; the network then
            diffuses what is left. None: the spectrum itself, and nothing is known beside the image.

    Raises:
        ValueError: `prediction` or `alignment` is unknown.
    """

    def __init__(
        self,
        condition: nn.Module,
        unet: nn.Module,
        schedule: NoiseSchedule,
        prediction: str = "velocity",
        alignment: str = "aligned",
        prior: SpectrumPrior | None = None,
    ):
        super().__init__()
        if prediction not in ("velocity", "noise"):
            raise ValueError(f'prediction "{prediction}" is neither "velocity" nor "noise"')
        if alignment not in UPSAMPLINGS:
            raise ValueError(f'alignment "{alignment}" is neither "aligned" nor "original"')
        self.condition = condition
        self.unet = unet
        self.schedule = schedule
        self.prediction = prediction
        self.alignment = alignment
        self.prior = prior

    def encode(self, images: Tensor) -> Tensor:
        """Condition tokens (B, N, W) of `images` (B, bands, H, W)."""
        return self.condition.tokens(self.condition.features(images))

    def forward(
        self,
        x_t: Tensor,
        t: Tensor,
        tokens: Tensor,
        low: Tensor | None = None,
        moments: PriorMoments | None = None,
    ) -> Tensor:
        """The U-Net's prediction, noise or velocity.

        Args:
            x_t: noisy spectra, or residuals (B, C, L).
            t: times (B,), 0 to T - 1.
            tokens: what `encode` gave (B, N, W).
            low: low-resolution spectra (B, c, l), for super resolution.
            moments: of these rows, for a network with an prior.

        Returns:
            (B, C, L).
        """
        given = [x_t]
        if low is not None:
            given.append(UPSAMPLINGS[self.alignment](low, x_t.shape[-1]))  # (B, c, L)
        if moments is None:
            return self.unet(torch.cat(given, dim=1), t, tokens)
        given.append(moments.channels)  # (B, g, L)
        return self.unet(torch.cat(given, dim=1), t, tokens, moments.properties)

    def estimate(
        self,
        x_t: Tensor,
        t: Tensor,
        tokens: Tensor,
        low: Tensor | None = None,
        moments: PriorMoments | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Estimates of ε and x_0, (B, C, L) each, float32; arguments as in `forward`."""
        prediction = self(x_t, t, tokens, low, moments).float()
        if self.prediction == "velocity":
            return self.schedule.from_velocity(prediction, x_t, t)
        return self.schedule.from_noise(prediction, x_t, t)


class DenoisingLoss(nn.Module):
    """The training loss as a module, so that it can be wrapped for several processes as a whole.

    Mean squared error of the prediction, for spectra or for what an prior leaves of them, at
    a time drawn uniformly for every spectrum (Ho et al. 2020, eq. 14; Salimans & Ho 2022 for the
    velocity).

    Args:
        denoiser: what is trained.
        augmentation_sigma: largest standard deviation of the Gaussian noise on the low-resolution
            input, in its own units. The level is drawn uniformly from 0 for every spectrum, so that
            the network tolerates generated input (conditioning augmentation, Ho et al. 2021, arXiv
            2106.15282, sec. 4).
        image_dropout: share of the images that are hidden (tokens of zero), so that the network
            learns the spectra of all galaxies too, for guidance (Ho & Salimans 2022, arXiv
            2207.12598).
    """

    def __init__(
        self, denoiser: Denoiser, augmentation_sigma: float = 0.0, image_dropout: float = 0.0
    ):
        super().__init__()
        self.denoiser = denoiser
        self.augmentation_sigma = augmentation_sigma
        self.image_dropout = image_dropout

    def forward(
        self,
        clean: Tensor,
        features: Tensor | tuple[Tensor, ...],
        generator: torch.Generator,
        low: Tensor | None = None,
        weights: Tensor | None = None,
        known: Tensor | None = None,
    ) -> Tensor:
        """The loss of a batch.

        Args:
            clean: spectra x_0 (B, C, L).
            features: what `condition.features` gave for the images.
            generator: source of times and noise, on any device.
            low: low-resolution spectra (B, c, l), for super resolution.
            weights: (B, C, L) >= 0, not all zero: an inverse variance, or 0 where the spectrum is
                not to count; None for the plain mean.
            known: what is known of each (B, 2 + E), for a network with an prior.

        Returns:
            The weighted mean of the squared error, a scalar.
        """
        schedule, device = self.denoiser.schedule, generator.device
        t = torch.randint(schedule.steps, (len(clean),), generator=generator, device=device)
        t = t.to(clean.device)
        moments = None
        if self.denoiser.prior is not None:
            moments = self.denoiser.prior(known)
            clean = (clean - moments.mean) / moments.sigma
        noise = _normal(clean, generator)
        if low is not None and self.augmentation_sigma > 0:
            level = torch.rand(len(low), 1, 1, generator=generator, device=device).to(low)
            low = low + self.augmentation_sigma * level * _normal(low, generator)
        x_t = schedule.q_sample(clean, t, noise)
        tokens = self.denoiser.condition.tokens(features)
        if self.image_dropout > 0:
            share = torch.rand(len(tokens), 1, 1, generator=generator, device=device)
            tokens = tokens * (share >= self.image_dropout).to(tokens)
        prediction = self.denoiser(x_t, t, tokens, low, moments).float()
        if self.denoiser.prediction == "velocity":
            target = schedule.velocity(clean, t, noise)
        else:
            target = noise
        squared = (prediction - target) ** 2  # (B, C, L)
        if weights is None:
            return squared.mean()
        return (weights * squared).sum() / weights.sum()


def _normal(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=generator, device=generator.device).to(like)
