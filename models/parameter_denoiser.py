r"""The network that denoises a galaxy's parameters, conditional on its image.

The parameters of a galaxy are

.. math:: p = (z, \ln(\mathrm{S/N}), a_1, …, a_K),

with the coefficients a_k of rest-frame spectral components (`models.spectral_basis`). They are
standardised with mean and σ of the training galaxies and diffused like a spectrum of one channel
and D = 2 + K pixels: same schedule, loss and samplers (`models.diffusion`, `models.samplers`).
Redshift and S/N are then scaled up (by default by 4 and 2), so that they emerge from the noise
before the coefficients, which depend on them.

Redshift and S/N may be given. A given value takes the place of the noisy one, and a mask, the
second input channel, marks it; in training a random part of the galaxies has them. So one network
represents p(z, S/N, a | image), p(S/N, a | image, z) and p(a | image, z, S/N) (any-conditional
diffusion: Gloeckler et al. 2024, arXiv 2404.09636).

The noisy parameters are one query: each block lets it attend to the condition tokens, then applies
a gated feed-forward layer that the diffusion time scales and shifts (FiLM).

Shapes: B batch, D parameters, C width, N tokens, W token width, T time features.
"""

import torch
from torch import Tensor, nn

from models.attention import Attention, GatedFeedForward
from models.diffusion import Context
from models.unet import TimeEmbedding

TIME_WIDTH = 128


class ParameterBlock(nn.Module):
    """Cross-attention to the tokens, then a feed-forward layer.

    Args:
        width: C, a multiple of 32.
        token_width: W.
        dropout: probability after the feed-forward layer.
    """

    def __init__(self, width: int, token_width: int, dropout: float):
        super().__init__()
        self.cross_norm, self.feed_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.cross_attention = Attention(width, token_width)
        self.feed_forward = GatedFeedForward(width)
        self.film = nn.Linear(TIME_WIDTH, 2 * width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, time: Tensor, tokens: Tensor) -> Tensor:
        """(B, 1, C), time features (B, T) and tokens (B, N, W) -> (B, 1, C)."""
        x = x + self.cross_attention(self.cross_norm(x), tokens)
        scale, shift = self.film(time)[:, None].chunk(2, dim=-1)  # (B, 1, C) each
        return x + self.dropout(self.feed_forward(self.feed_norm(x) * (1 + scale) + shift))


class ParameterNetwork(nn.Module):
    """The prediction for noisy parameters; called like `models.unet.SpectrumUNet`.

    Args:
        parameters: D.
        token_width: W of the condition tokens.
        width: C, a multiple of 32.
        depth: number of blocks.
        dropout: probability in every block.
        steps: number of diffusion steps; times run from 0 to `steps` - 1.
    """

    def __init__(
        self,
        parameters: int,
        token_width: int,
        width: int = 96,
        depth: int = 2,
        dropout: float = 0.3,
        steps: int = 250,
    ):
        super().__init__()
        self.time = TimeEmbedding(TIME_WIDTH, steps, "bounded")
        self.input = nn.Linear(2 * parameters, width)
        self.blocks = nn.ModuleList(
            ParameterBlock(width, token_width, dropout) for _ in range(depth)
        )
        self.norm, self.output = nn.LayerNorm(width), nn.Linear(width, parameters)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(
        self, x: Tensor, t: Tensor, tokens: Tensor, properties: Tensor | None = None
    ) -> Tensor:
        """Noisy parameters and mask (B, 2, D), times (B,), tokens (B, N, W) -> (B, 1, D)."""
        time = self.time(t)  # (B, T)
        hidden = self.input(x.flatten(1))[:, None]  # (B, 1, C)
        for block in self.blocks:
            hidden = block(hidden, time, tokens)
        return self.output(self.norm(hidden))


class ParameterPrior(nn.Module):
    """Mean and σ of the parameters of all galaxies, and which parameters are given.

    Args:
        parameters: D.
        scales: standard deviations of redshift and ln S/N in the diffusion; the others have 1.
    """

    def __init__(self, parameters: int, scales: tuple[float, float]):
        super().__init__()
        self.register_buffer("scale", torch.ones(parameters))
        self.scale[:2] = torch.tensor(scales)
        self.register_buffer("mean", torch.zeros(parameters))
        self.register_buffer("sigma", torch.ones(parameters))  # of the galaxies

    def fit(self, parameters: Tensor) -> None:
        """Take mean and σ from training galaxies (N, D)."""
        self.mean.copy_(parameters.mean(dim=0))
        self.sigma.copy_(parameters.std(dim=0).clamp(min=1e-6))

    def forward(self, given: Tensor) -> Context:
        """The context of rows with `given` parameters (B, D), NaN where they are sampled."""
        unit = self.sigma / self.scale
        standardised = ((given - self.mean) / unit)[:, None]  # (B, 1, D)
        mask = standardised.isfinite() * self.scale
        return Context(self.mean, unit, [mask], given=standardised)
