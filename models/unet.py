"""The 1-D U-Net that predicts noise or velocity from a noisy spectrum, the time and image tokens.

Going down, a level is a residual block, whose result is kept as skip, a convolution of stride 2
and, on chosen levels, a transformer block. At the bottom: block, transformer, block. Going up:
transposed convolution, padding to the skip's length (so that any length works), concatenation,
block, and the transformer on the same levels. Time enters every residual block through features of
s = 2t/T - 1 in [-1, 1),

    τ(t) = MLP( sin(ω_k s), cos(ω_k s) ),    k = 0 ... K - 1.

Shapes: B batch, C channels, L pixels, N tokens, W token width, T time features (2K of them).
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from models.attention import TransformerBlock
from models.blocks import ResidualBlock


def bounded_frequencies(count: int, steps: int) -> Tensor:
    """ω_k geometric from 1 to T/2: the phases of neighbouring steps differ by at most 1 rad."""
    return torch.logspace(0, math.log2(steps / 2), count, base=2)


def original_frequencies(count: int) -> Tensor:
    """ω_k = 2^k π as the original stored them: 2^k overflowed 64-bit integers from k = 63 on."""
    powers = [2**k if k < 63 else (-(2**63) if k == 63 else 0) for k in range(count)]
    return torch.tensor(powers, dtype=torch.float32) * math.pi


class TimeEmbedding(nn.Module):
    """Features of the diffusion time.

    Args:
        width: number of features T, even.
        steps: number of diffusion steps; times run from 0 to `steps` - 1.
        kind: "bounded", or "original" for checkpoints of the original.

    Raises:
        ValueError: `kind` is neither.
    """

    def __init__(self, width: int, steps: int, kind: str):
        super().__init__()
        if kind == "bounded":
            frequencies = bounded_frequencies(width // 2, steps)
        elif kind == "original":
            frequencies = original_frequencies(width // 2)
        else:
            raise ValueError(f'time_embedding "{kind}" is neither "bounded" nor "original"')
        self.steps = steps
        self.register_buffer("frequencies", frequencies)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.ReLU(), nn.Linear(4 * width, width)
        )

    def forward(self, t: Tensor) -> Tensor:
        """Times (B,) -> features (B, T)."""
        s = 2.0 * t / self.steps - 1.0
        angle = self.frequencies * s[:, None]  # (B, K)
        return self.mlp(torch.cat([angle.sin(), angle.cos()], dim=-1))


class DownBlock(nn.Module):
    """Residual block, convolution of stride 2, transformer block where `token_width` is given."""

    def __init__(
        self, inputs: int, outputs: int, time_width: int, token_width: int | None, film: bool
    ):
        super().__init__()
        self.residual = ResidualBlock(inputs, outputs, outputs, nn.ReLU, time_width, film)
        self.shrink = nn.Conv1d(outputs, outputs, 3, stride=2)
        self.attention = _attention(outputs, token_width)

    def forward(self, x: Tensor, time: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """(B, inputs, L) -> (B, outputs, (L - 1) // 2) and the skip (B, outputs, L)."""
        skip = self.residual(x, time)  # (B, outputs, L)
        x = self.shrink(skip)  # (B, outputs, (L - 1) // 2)
        return (x if self.attention is None else self.attention(x, tokens)), skip


class Bottom(nn.Module):
    """Residual block, transformer block, residual block."""

    def __init__(self, width: int, time_width: int, token_width: int, film: bool):
        super().__init__()
        self.enter = ResidualBlock(width, width, width, nn.ReLU, time_width, film)
        self.attention = TransformerBlock(width, token_width)
        self.leave = ResidualBlock(width, width, width, nn.ReLU, time_width, film)

    def forward(self, x: Tensor, time: Tensor, tokens: Tensor) -> Tensor:
        """(B, C, L) -> (B, C, L)."""
        return self.leave(self.attention(self.enter(x, time), tokens), time)


class UpBlock(nn.Module):
    """Upsampling to the skip's length, residual block over both, and a transformer block."""

    def __init__(
        self, inputs: int, outputs: int, time_width: int, token_width: int | None, film: bool
    ):
        super().__init__()
        self.grow = nn.ConvTranspose1d(inputs, inputs, 4, stride=2, padding=1)
        self.residual = ResidualBlock(2 * inputs, inputs, outputs, nn.ReLU, time_width, film)
        self.attention = _attention(outputs, token_width)

    def forward(self, x: Tensor, skip: Tensor, time: Tensor, tokens: Tensor) -> Tensor:
        """(B, inputs, l) and the skip (B, inputs, L) -> (B, outputs, L)."""
        x = self.grow(x)  # (B, inputs, 2l)
        short = skip.shape[-1] - x.shape[-1]
        x = F.pad(x, (short // 2, short - short // 2))  # (B, inputs, L)
        x = self.residual(torch.cat([x, skip], dim=1), time)  # (B, outputs, L)
        return x if self.attention is None else self.attention(x, tokens)


def _attention(width: int, token_width: int | None) -> TransformerBlock | None:
    return None if token_width is None else TransformerBlock(width, token_width)


class SpectrumUNet(nn.Module):
    """The U-Net over wavelength.

    Args:
        channels, out_channels: channels of the input (noisy spectrum and context) and of the
            prediction.
        base_channels, multipliers: the width of level i is `base_channels` times `multipliers[i]`,
            a multiple of 8, and of 32 where there is attention; the bottom has the last width.
        attention_levels: levels with transformer blocks on their way down and up; the bottom always
            has one.
        token_width: width W of the condition tokens.
        time_width: number of time features T; None for 4 `base_channels`.
        time_embedding: "bounded", or "original" for checkpoints of the original.
        steps: number of diffusion steps; times run from 0 to `steps` - 1.
        checkpointing: recompute activations in the backward pass, which saves memory for time.
        film: the mean token is added to the time features, and their sum scales the channels of
            every residual block as well as shifting them; otherwise the image acts through
            attention alone, and the time only shifts, as published.
        properties: how many further numbers are added to the time features likewise.

    Raises:
        ValueError: an attention level does not exist, its width is not a multiple of 32, or
            `time_embedding` is unknown.
    """

    def __init__(
        self,
        channels: int = 1,
        out_channels: int = 1,
        base_channels: int = 64,
        multipliers: Sequence[int] = (1, 2, 4, 8),
        attention_levels: Sequence[int] = (3,),
        token_width: int = 512,
        time_width: int | None = None,
        time_embedding: str = "bounded",
        steps: int = 250,
        checkpointing: bool = False,
        film: bool = False,
        properties: int = 0,
    ):
        super().__init__()
        beyond = [level for level in attention_levels if not 0 <= level < len(multipliers)]
        if beyond:
            raise ValueError(
                f"attention_levels {beyond} do not exist: {len(multipliers)} multipliers make "
                f"levels 0 to {len(multipliers) - 1}, and the bottom always attends"
            )
        time_width = 4 * base_channels if time_width is None else time_width
        widths = [base_channels * multiplier for multiplier in multipliers]
        self.checkpointing = checkpointing
        self.time = TimeEmbedding(time_width, steps, time_embedding)
        self.image = nn.Linear(token_width, time_width) if film else None
        self.properties = None
        if properties:
            self.properties = nn.Sequential(
                nn.Linear(properties, time_width), nn.SiLU(), nn.Linear(time_width, time_width)
            )
        self.down_blocks, self.up_blocks = nn.ModuleList(), nn.ModuleList()
        above = [channels, *widths]  # the width that comes into each level
        for level, width in enumerate(widths):
            attended = token_width if level in attention_levels else None
            outputs = above[level] if level > 0 else width  # the top keeps its width on the way up
            self.down_blocks.append(DownBlock(above[level], width, time_width, attended, film))
            self.up_blocks.insert(0, UpBlock(width, outputs, time_width, attended, film))
        self.bottom = Bottom(widths[-1], time_width, token_width, film)
        self.output = nn.Conv1d(widths[0], out_channels, 1)

    def forward(
        self, x: Tensor, t: Tensor, tokens: Tensor, properties: Tensor | None = None
    ) -> Tensor:
        """The prediction for noisy spectra.

        Args:
            x: noisy spectra and their context (B, channels, L).
            t: times (B,), 0 to `steps` - 1.
            tokens: condition tokens (B, N, W).
            properties: (B, properties), for a network that takes them.

        Returns:
            (B, out_channels, L).
        """
        time = self.time(t)  # (B, T)
        if self.image is not None:
            time = time + self.image(tokens.mean(dim=1))
        if self.properties is not None:
            time = time + self.properties(properties)
        skips = []
        for block in self.down_blocks:
            x, skip = self._run(block, x, time, tokens)  # (B, width, ~L/2)
            skips.append(skip)
        x = self._run(self.bottom, x, time, tokens)
        for block in self.up_blocks:
            x = self._run(block, x, skips.pop(), time, tokens)  # (B, width, ~2L)
        return self.output(x)

    def _run(self, block: nn.Module, *arguments: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        if self.checkpointing and torch.is_grad_enabled():
            return checkpoint(block, *arguments, use_reentrant=False, preserve_rng_state=False)
        return block(*arguments)
