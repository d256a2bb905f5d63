"""The spectrum tower: a 1-D residual network from a spectrum to its embedding.

Every stage is two residual blocks (SiLU) and a convolution of stride 2. The published tower
averages its last map over wavelength, which loses the place of a feature; `pooling="flatten"` keeps
absolute wavelength, and with it the redshift.

Shapes: B batch, C channels, L pixels, W width of the last stage, l pixels after the last stage
(L halved and rounded up, once per stage), D embedding.
"""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from models.blocks import ResidualBlock

SQUEEZED = 32  # channels that are left before flattening, so that the last layer stays small


class SpectrumEncoder(nn.Module):
    """A 1-D ResNet over spectra.

    Args:
        channels: channels C of a spectrum.
        length: pixels L of a spectrum; the mean over wavelength takes any other length too.
        embedding: dimensions D of the embedding.
        base_channels, multipliers: widths of the stages are `base_channels` times each multiplier;
            every one is a multiple of 8.
        pooling: "mean" over wavelength (as published) or "flatten".

    Raises:
        ValueError: `pooling` is neither.
    """

    def __init__(
        self,
        channels: int = 1,
        length: int = 563,
        embedding: int = 128,
        base_channels: int = 64,
        multipliers: Sequence[int] = (1, 2, 4, 8, 16),
        pooling: str = "mean",
    ):
        super().__init__()
        widths = [base_channels * multiplier for multiplier in multipliers]
        self.stages = nn.Sequential(
            *(_stage(inputs, width) for inputs, width in pairwise([channels, *widths]))
        )
        if pooling == "mean":
            self.pool = nn.Sequential(nn.AdaptiveAvgPool1d(1), nn.Flatten())
            features = widths[-1]
        elif pooling == "flatten":
            self.pool = nn.Sequential(nn.Conv1d(widths[-1], SQUEEZED, 1), nn.SiLU(), nn.Flatten())
            features = SQUEEZED * -(-length // 2 ** len(widths))
        else:
            raise ValueError(f'pooling "{pooling}" is neither "mean" nor "flatten"')
        self.length = length if pooling == "flatten" else None
        self.fc = nn.Linear(features, embedding)

    def forward(self, spectra: Tensor) -> Tensor:
        """The embedding (B, D), not normalised, of `spectra` (B, C, L).

        Raises:
            ValueError: flattening, and the spectra are not of the length the network is made for.
        """
        if self.length not in (None, spectra.shape[-1]):
            raise ValueError(
                f"a spectrum of {spectra.shape[-1]} px came to an encoder made for {self.length} px"
            )
        x = self.stages(spectra)  # (B, W, l)
        return self.fc(self.pool(x))  # (B, D)


def _stage(inputs: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        ResidualBlock(inputs, width, width, nn.SiLU),
        ResidualBlock(width, width, width, nn.SiLU),
        nn.Conv1d(width, width, 3, 2, 1),
    )
