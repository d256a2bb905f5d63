r"""White instead of smoothed residuals: the coordinates in which spectra are diffused.

Spectra are sampled more finely than they are resolved: smoothed with σ = 2 Å and in pixels of 1 Å,
they have 5 · 10⁻⁵ of the power of white noise at periods of 4 Å. A network that diffuses pixels has
to cancel the noise at all shorter periods exactly, at every step. Instead, with the discrete cosine
transform D of the pixels in order of wavelength, and the mean power P_k of the standardised
residuals y of the training spectra, what is diffused is

.. math:: u = D_n^{-1}\,\bigl( (D y)_k / \sqrt{P_k} \bigr)_{k < n},

n ≤ C·L samples on a coarser grid of the same wavelengths: white, of unit variance, and N(0, 1) for
stationary Gaussian residuals. What is left to learn is what makes them differ from such noise.

Shapes: ... any leading dimensions, C channels (interleaved phases) and L pixels of a spectrum, c
channels of the coarser grid, n = c·L.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SMOOTHED_MODES = 9  # neighbouring modes whose powers are averaged, in the logarithm
LEAST_POWER = 1e-6  # of any mode, in units of the mean power


class Whitening(nn.Module):
    """The first n cosine modes of a spectrum, with unit power.

    Args:
        channels, length: C and L of a spectrum.
        bandwidth: share of the modes, lowest frequency first, that is kept.

    Raises:
        ValueError: `bandwidth` does not keep a whole number of channels, at least one.
    """

    def __init__(self, channels: int, length: int, bandwidth: float = 1.0):
        super().__init__()
        kept = channels * bandwidth
        if not 1 <= kept <= channels or kept != int(kept):
            raise ValueError(f"bandwidth {bandwidth} of {channels} channels: not a whole number")
        self.channels, self.kept = channels, int(kept)  # C and c
        self.register_buffer("power", torch.ones(self.kept * length))  # P

    @torch.no_grad()
    def fit(self, residuals: list[Tensor]) -> None:
        """Take P from standardised residuals of training spectra, (N, C, L) in parts."""
        count = sum(map(len, residuals))
        total = sum((self._modes(part.double()) ** 2).sum(dim=0) for part in residuals)
        power = total / count
        power = power.clamp(min=LEAST_POWER * power.mean()).log()[None]  # (1, n)
        half = SMOOTHED_MODES // 2
        padded = F.pad(power, (half, half), mode="replicate")
        self.power.copy_(F.avg_pool1d(padded, SMOOTHED_MODES, stride=1)[0].exp())

    def whiten(self, residuals: Tensor) -> Tensor:
        """y (..., C, L) -> u (..., c, L)."""
        return _phases(idct(self._modes(residuals) / self.power.sqrt()), self.kept)

    def colour(self, white: Tensor) -> Tensor:
        """u (..., c, L) -> y (..., C, L), without the modes that are not kept."""
        modes = dct(_in_order(white)) * self.power.sqrt()
        missing = self.channels * white.shape[-1] - len(self.power)
        return _phases(idct(F.pad(modes, (0, missing))), self.channels)

    def coarsen(self, x: Tensor) -> Tensor:
        """Spectra (..., C, L) on the coarser grid (..., c, L), with their own power."""
        if self.kept == self.channels:
            return x
        return _phases(idct(self._modes(x)) * math.sqrt(self.kept / self.channels), self.kept)

    def _modes(self, x: Tensor) -> Tensor:
        """The kept modes (..., n) of (..., C, L)."""
        return dct(_in_order(x))[..., : len(self.power)]


def _in_order(x: Tensor) -> Tensor:
    """(..., C, L) -> (..., C·L): pixel l·C + c is pixel l of channel c."""
    return x.transpose(-1, -2).flatten(-2)


def _phases(x: Tensor, count: int) -> Tensor:
    """(..., C·L) -> (..., C, L), with C = `count`: the inverse of `_in_order`."""
    return x.unflatten(-1, (-1, count)).transpose(-1, -2)


def dct(x: Tensor) -> Tensor:
    """The orthonormal discrete cosine transform (DCT-II) of the last dimension (..., n).

    By one Fourier transform of the same length, of the even pixels followed by the odd ones
    backwards (Makhoul 1980, IEEE Trans. ASSP 28, 27). Unlike the Fourier transform of x itself, it
    does not join the two ends of a spectrum.
    """
    count = x.shape[-1]
    turned = torch.fft.rfft(_folded(x)) * _rotation(x).conj()  # k = 0 ... n // 2
    rest = -turned.imag[..., 1 : (count + 1) // 2].flip(-1)  # mode n - k is at k, turned by 90°
    return torch.cat([turned.real, rest], dim=-1) * _scale(x)


def idct(modes: Tensor) -> Tensor:
    """The inverse of `dct`."""
    count = modes.shape[-1]
    scaled = modes / _scale(modes)
    mirrored = F.pad(scaled[..., count - count // 2 :].flip(-1), (1, 0))  # 0, then mode n - k
    half = torch.complex(scaled[..., : count // 2 + 1], -mirrored)
    return _unfolded(torch.fft.irfft(half * _rotation(modes), n=count))


def _folded(x: Tensor) -> Tensor:
    """Even pixels, then odd ones backwards."""
    return torch.cat([x[..., ::2], x[..., 1::2].flip(-1)], dim=-1)


def _unfolded(x: Tensor) -> Tensor:
    """The inverse of `_folded`."""
    even = (x.shape[-1] + 1) // 2
    pixels = torch.empty_like(x)
    pixels[..., ::2], pixels[..., 1::2] = x[..., :even], x[..., even:].flip(-1)
    return pixels


def _rotation(x: Tensor) -> Tensor:
    """exp(iπk/2n), k = 0 ... n // 2: half a pixel."""
    count = x.shape[-1]
    angle = torch.arange(count // 2 + 1, device=x.device, dtype=x.dtype) * (math.pi / 2 / count)
    return torch.polar(torch.ones_like(angle), angle)


def _scale(x: Tensor) -> Tensor:
    """The factors (n,) that make the transform orthonormal."""
    scale = torch.full_like(x[(0,) * (x.ndim - 1)], math.sqrt(2 / x.shape[-1]))
    scale[0] = math.sqrt(1 / x.shape[-1])
    return scale
