"""The transformer block in which a spectrum attends to itself and to the condition tokens.

    group norm -> 1x1 conv -> + self-attention -> + cross-attention -> + GEGLU -> 1x1 conv -> + x

with a layer norm before each of the three (Rombach et al. 2022, arXiv 2112.10752, sec. 3.3). The
last convolution starts at zero: a new block is the identity. Attention is softmax(Q Kᵀ/√d) V
with head width d = 32; GEGLU is a · GELU(b) (Shazeer 2020, arXiv 2002.05202).

Shapes: B batch, C channels, L pixels, N tokens, W token width, H heads, d head width.
"""

import torch.nn.functional as F
from torch import Tensor, nn

HEAD_WIDTH = 32
NORM_GROUPS = 32
EXPANSION = 4  # hidden width of the feed-forward part, in units of C


class Attention(nn.Module):
    """Multi-head attention of `width` channels on a context of `context_width` channels."""

    def __init__(self, width: int, context_width: int):
        super().__init__()
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(context_width, width, bias=False)
        self.value = nn.Linear(context_width, width, bias=False)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """(B, L, C) attends to (B, N, W) -> (B, L, C)."""
        query, key, value = (
            projected.unflatten(-1, (-1, HEAD_WIDTH)).transpose(1, 2)  # (B, H, L or N, d)
            for projected in (self.query(x), self.key(context), self.value(context))
        )
        heads = F.scaled_dot_product_attention(query, key, value)  # (B, H, L, d)
        return self.out(heads.transpose(1, 2).flatten(2))  # (B, L, C)


class GatedFeedForward(nn.Module):
    """GEGLU with four times the width inside."""

    def __init__(self, width: int):
        super().__init__()
        self.expand = nn.Linear(width, 2 * EXPANSION * width)
        self.contract = nn.Linear(EXPANSION * width, width)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.expand(x).chunk(2, dim=-1)  # (B, L, 4C) each
        return self.contract(value * F.gelu(gate))  # (B, L, C)


class TransformerBlock(nn.Module):
    """Self-attention over wavelength, cross-attention to tokens and a feed-forward part.

    Args:
        width: channels C, a multiple of 32.
        token_width: width W of the condition tokens.

    Raises:
        ValueError: `width` is not a multiple of 32.
    """

    def __init__(self, width: int, token_width: int):
        super().__init__()
        if width % HEAD_WIDTH:
            raise ValueError(
                f"attention needs a width that is a multiple of {HEAD_WIDTH}, not {width}: "
                "change base_channels, multipliers or attention_levels"
            )
        self.norm = nn.GroupNorm(NORM_GROUPS, width, eps=1e-6)
        self.project_in = nn.Conv1d(width, width, 1)
        self.self_norm = nn.LayerNorm(width)
        self.self_attention = Attention(width, width)
        self.cross_norm = nn.LayerNorm(width)
        self.cross_attention = Attention(width, token_width)
        self.feed_norm = nn.LayerNorm(width)
        self.feed_forward = GatedFeedForward(width)
        self.project_out = nn.Conv1d(width, width, 1)
        nn.init.zeros_(self.project_out.weight)  # a new block changes nothing
        nn.init.zeros_(self.project_out.bias)

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        """(B, C, L) and tokens (B, N, W) -> (B, C, L)."""
        y = self.project_in(self.norm(x)).transpose(1, 2)  # (B, L, C)
        normed = self.self_norm(y)
        y = y + self.self_attention(normed, normed)
        y = y + self.cross_attention(self.cross_norm(y), tokens)
        y = y + self.feed_forward(self.feed_norm(y))
        return x + self.project_out(y.transpose(1, 2))  # (B, C, L)
