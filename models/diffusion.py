"""The diffusion model: noise schedule, denoiser and training loss.

Forward process (Ho et al. 2020, arXiv 2006.11239) with t = 0 ... T - 1, α_t = 1 - β_t:

    x_t = √ᾱ_t x_0 + √(1 - ᾱ_t) ε,    ᾱ_t = Π_{s <= t} α_s,    ε ~ N(0, 1).

The network predicts the noise ε or the velocity v = √ᾱ_t ε - √(1 - ᾱ_t) x_0 (Salimans & Ho 2022,
arXiv 2202.00512). Velocity is the default: near t = T, where ᾱ is tiny, dividing by √ᾱ multiplies
the error of a predicted noise.

What is diffused is x_0 = (x - m)/s, with mean m and σ s from a prior, or 0 and 1 without one. There
are two such x: the parameters of a galaxy, with their mean and σ over all galaxies
(`models.parameter_denoiser`), and its spectrum, with mean and σ of every pixel given the parameters
(`models.spectrum_prior`), whose residuals are also made white along wavelength
(`models.whitening`). Below, "pixel" stands for either.

Shapes: B batch, C channels, L pixels, c l channels and pixels of a low-resolution spectrum,
g further input channels, N tokens, W token width, D parameters.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.conditioning import ImageFeatures
from models.whitening import Whitening

OFFSET = 0.008  # s of the cosine schedule (Nichol & Dhariwal 2021, arXiv 2102.09672, eq. 17)
LARGEST_BETA = 0.999  # of the cosine schedule (ibid., sec. 3.2)
LINEAR_BETAS = (1e-2, 0.2)  # first and last β of the linear schedule, as published


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


class Context(NamedTuple):
    """What the denoiser takes beside noisy input, time and tokens, and what it diffuses.

    mean, sigma: m and s, broadcast to (B, C, L); channels: further input channels of the network
    (B, any, L) each; properties: further input of its blocks (B, properties); given: x_0 where it
    is known (B, C, L), NaN where it is sampled; whitening: coordinates of x_0, or None.
    """

    mean: Tensor | float = 0.0
    sigma: Tensor | float = 1.0
    channels: Sequence[Tensor] = ()
    properties: Tensor | None = None
    given: Tensor | None = None
    whitening: Whitening | None = None

    def standardised(self, x: Tensor) -> Tensor:
        """x_0 of x (B, C, L)."""
        residual = (x - self.mean) / self.sigma
        return residual if self.whitening is None else self.whitening.whiten(residual)

    def restored(self, clean: Tensor) -> Tensor:
        """x (B, C, L) of x_0."""
        residual = clean if self.whitening is None else self.whitening.colour(clean)
        return self.mean + self.sigma * residual

    def channels_of(self, spectrum: int) -> int:
        """Channels of x_0, of a spectrum of so many."""
        return spectrum if self.whitening is None else self.whitening.kept


PLAIN = Context()  # the spectrum itself is diffused, and nothing is given beside it


class Denoiser(nn.Module):
    """Condition, network, schedule and prior together.

    Args:
        condition: `FrozenCondition` or `JointCondition`.
        network: (x, t, tokens, properties) -> prediction, such as `SpectrumUNet`; super resolution
            takes one input channel more for each channel of the low-resolution spectrum.
        schedule: the noise schedule.
        prediction: what the network predicts, "velocity" or "noise".
        alignment: how a low-resolution spectrum is interpolated, "aligned" or "original".
        prior: `SpectrumPrior` or `ParameterPrior`: parameters (B, D) -> `Context`; None diffuses
            the spectrum itself, and the image is the only condition.

    Raises:
        ValueError: `prediction` or `alignment` is unknown.
    """

    def __init__(
        self,
        condition: nn.Module,
        network: nn.Module,
        schedule: NoiseSchedule,
        prediction: str = "velocity",
        alignment: str = "aligned",
        prior: nn.Module | None = None,
    ):
        super().__init__()
        if prediction not in ("velocity", "noise"):
            raise ValueError(f'prediction "{prediction}" is neither "velocity" nor "noise"')
        if alignment not in UPSAMPLINGS:
            raise ValueError(f'alignment "{alignment}" is neither "aligned" nor "original"')
        self.condition = condition
        self.network = network
        self.schedule = schedule
        self.prediction = prediction
        self.alignment = alignment
        self.prior = prior

    def context(
        self, length: int, low: Tensor | None = None, parameters: Tensor | None = None
    ) -> Context:
        """What is given beside noisy x_0 of `length` pixels L.

        Args:
            low: low-resolution spectra (B, c, l), for super resolution.
            parameters: what the prior takes (B, D), for a network with a prior.
        """
        channels = [] if low is None else [UPSAMPLINGS[self.alignment](low, length)]  # (B, c, L)
        if self.prior is None:
            return Context(channels=channels)
        context = self.prior(parameters)
        return context._replace(channels=[*channels, *context.channels])

    def forward(self, x_t: Tensor, t: Tensor, tokens: Tensor, context: Context = PLAIN) -> Tensor:
        """The network's prediction, noise or velocity.

        Args:
            x_t: noisy x_0 (B, C, L).
            t: times (B,), 0 to T - 1.
            tokens: condition tokens (B, N, W).
            context: from `self.context`.

        Returns:
            (B, C, L).
        """
        if context.given is not None:
            x_t = torch.where(context.given.isnan(), x_t, context.given)
        x = torch.cat([x_t, *context.channels], dim=1)  # (B, C + g, L)
        return self.network(x, t, tokens, context.properties)

    def estimate(
        self, x_t: Tensor, t: Tensor, tokens: Tensor, context: Context = PLAIN
    ) -> tuple[Tensor, Tensor]:
        """Estimates of ε and x_0, (B, C, L) each, float32; arguments as in `forward`."""
        prediction = self(x_t, t, tokens, context).float()
        if self.prediction == "velocity":
            return self.schedule.from_velocity(prediction, x_t, t)
        return self.schedule.from_noise(prediction, x_t, t)


class DenoisingLoss(nn.Module):
    """The training loss as a module, so that it can be wrapped for several processes as a whole.

    Mean squared error of the predicted ε or v, where x_0 is not given, at a time t sampled
    uniformly for every row,

        L = E || v - v_θ(√ᾱ_t x_0 + √(1 - ᾱ_t) ε, t, tokens) ||²

    (Ho et al. 2020, eq. 14; Salimans & Ho 2022 for the velocity).

    Args:
        denoiser: what is trained.
        augmentation_sigma: largest σ of the Gaussian noise on the low-resolution input, in units of
            the standardised spectrum. The level is sampled uniformly from 0 for every spectrum, so
            that the network tolerates generated input (conditioning augmentation, Ho et al. 2021,
            arXiv 2106.15282, sec. 4).
        image_dropout: share of the images whose tokens are set to zero, so that the network also
            learns the unconditional distribution, for classifier-free guidance (Ho & Salimans 2022,
            arXiv 2207.12598).
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
        spectra: Tensor,
        features: ImageFeatures | Tensor,
        generator: torch.Generator,
        low: Tensor | None = None,
        parameters: Tensor | None = None,
    ) -> Tensor:
        """The loss of a batch.

        Args:
            spectra: standardised spectra, or parameters, x (B, C, L).
            features: what `condition.tokens` takes: `ImageFeatures`, or images (B, bands, H, W).
            generator: source of times and noise, on any device.
            low: low-resolution spectra (B, c, l), for super resolution.
            parameters: what the prior takes (B, D), for a network with a prior.

        Returns:
            The mean of the squared error, a scalar.
        """
        schedule = self.denoiser.schedule
        t = torch.randint(
            schedule.steps, (len(spectra),), generator=generator, device=generator.device
        ).to(spectra.device)
        low = None if low is None else self._augmented(low, generator)
        context = self.denoiser.context(spectra.shape[-1], low, parameters)
        clean = context.standardised(spectra)  # x_0
        noise = _normal(clean, generator)
        x_t = schedule.q_sample(clean, t, noise)
        tokens = self._some_dropped(self.denoiser.condition.tokens(features), generator)
        prediction = self.denoiser(x_t, t, tokens, context).float()
        velocity = self.denoiser.prediction == "velocity"
        target = schedule.velocity(clean, t, noise) if velocity else noise
        if context.given is not None:
            target = torch.where(context.given.isnan(), target, prediction)  # no error there
        return F.mse_loss(prediction, target)

    def _augmented(self, low: Tensor, generator: torch.Generator) -> Tensor:
        """`low` with noise of a random level."""
        if self.augmentation_sigma == 0:
            return low
        level = _uniform(low, generator)
        return low + self.augmentation_sigma * level * _normal(low, generator)

    def _some_dropped(self, tokens: Tensor, generator: torch.Generator) -> Tensor:
        """`tokens` (B, N, W), zero for a random share of the images."""
        if self.image_dropout == 0:
            return tokens
        return tokens * (_uniform(tokens, generator) >= self.image_dropout)


def _normal(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=generator, device=generator.device).to(like)


def _uniform(like: Tensor, generator: torch.Generator) -> Tensor:
    """A number in [0, 1) per row, (B, 1, 1)."""
    share = torch.rand(len(like), 1, 1, generator=generator, device=generator.device)
    return share.to(like.device)
