"""The residual block that the spectrum tower and the U-Net share.

    h = φ(norm(conv3(x))) [⊙ (1 + V φ(τ))] [+ W φ(τ)],    y = φ(norm(conv3(h))) + shortcut(x)

with group normalisation in 8 groups, an activation φ, optional features τ that all pixels share
(the diffusion time, the image), and a 1x1 convolution as shortcut where the width changes. The
features shift the channels; with FiLM (Perez et al. 2018, arXiv 1709.07871; Dhariwal & Nichol 2021,
arXiv 2105.05233, sec. 3), here behind the activation, they scale them too.

Shapes: B batch, C channels, L pixels, T time features.
"""

from torch import Tensor, nn

NORM_GROUPS = 8


class ResidualBlock(nn.Module):
    """Two convolutions over wavelength with a shortcut.

    Args:
        inputs, middle, outputs: channels before, between and after the two convolutions; `middle`
            and `outputs` are multiples of 8.
        activation: class of the activation φ.
        time_width: number of features T; None for a block that has none.
        film: features scale the channels as well as shifting them.
    """

    def __init__(
        self,
        inputs: int,
        middle: int,
        outputs: int,
        activation: type[nn.Module],
        time_width: int | None = None,
        film: bool = False,
    ):
        super().__init__()
        self.first = _convolution(inputs, middle, activation)
        self.second = _convolution(middle, outputs, activation)
        self.time = None
        if time_width is not None:
            outcome = 2 * middle if film else middle
            self.time = nn.Sequential(activation(), nn.Linear(time_width, outcome))
        self.film = film
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv1d(inputs, outputs, 1)

    def forward(self, x: Tensor, time: Tensor | None = None) -> Tensor:
        """(B, inputs, L), with features (B, T) where it takes them -> (B, outputs, L)."""
        h = self.first(x)  # (B, middle, L)
        if self.film:
            scale, shift = self.time(time)[:, :, None].chunk(2, dim=1)
            h = h * (1 + scale) + shift
        elif self.time is not None:
            h = h + self.time(time)[:, :, None]
        return self.second(h) + self.shortcut(x)  # (B, outputs, L)


def _convolution(inputs: int, outputs: int, activation: type[nn.Module]) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv1d(inputs, outputs, 3, padding=1), nn.GroupNorm(NORM_GROUPS, outputs), activation()
    )
