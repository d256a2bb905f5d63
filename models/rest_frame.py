"""Spectra in the rest frame, where every line has a pixel of its own.

A spectrum at redshift z lies on the rest-frame grid from λ_first / (1 + z) to λ_last / (1 + z);
the grid covers all redshifts of a range, so that each spectrum leaves a part of it empty. A cubic
spline carries spectra there and back: it keeps the noise of pixels that are smoothed over about one
pixel or more.

Shapes: B rows, P pixels of either grid, C channels and L pixels as the network sees them.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

COVERAGE_MARGIN = 8  # rest-frame pixels that hold the edge value beyond either end of a spectrum
SPLINE_POLE = math.sqrt(3) - 2  # of the cubic B-spline
SPLINE_REACH = 16  # pixels; 0.27^16 is below float32's resolution


def spline(values: Tensor, position: Tensor) -> Tensor:
    """Cubic-spline interpolation of rows of pixels, mirrored at their ends.

    The coefficients c of the B-spline through all pixels are their convolution with
    √3 p^|n|, p = √3 − 2 (Unser 1999, IEEE Signal Process. Mag. 16, 22).

    Args:
        values: (B, P) float32.
        position: (B, M) float64, in pixels; clamped to 0 ... P - 1.

    Returns:
        (B, M).
    """
    last = values.shape[1] - 1
    offsets = torch.arange(-SPLINE_REACH, SPLINE_REACH + 1, device=values.device).abs()
    kernel = (math.sqrt(3) * SPLINE_POLE ** offsets.double()).to(values)
    padded = F.pad(values[:, None], (SPLINE_REACH + 1,) * 2, mode="reflect")
    padded = F.pad(padded, (0, 1))  # the fourth tap at the last pixel, of weight zero
    coefficients = F.conv1d(padded, kernel[None, None])[:, 0]  # (B, P + 3), from pixel -1 on
    position = position.clamp(0, last)
    lower = position.long()
    f = (position - lower).to(values)
    weights = (
        (1 - f) ** 3 / 6,
        2 / 3 - f**2 + f**3 / 2,
        2 / 3 - (1 - f) ** 2 + (1 - f) ** 3 / 2,
        f**3 / 6,
    )
    return sum(w * coefficients.gather(1, lower + tap) for tap, w in enumerate(weights))


class RestFrame(nn.Module):
    """Spectra on a rest-frame grid, regular in log λ, that covers all redshifts of a range.

    It has as many pixels as the observed grid. Beyond the ends of a spectrum it is zero, but for
    `COVERAGE_MARGIN` pixels that hold the value at the end.

    Args:
        log_wavelength: log10 of the observed wavelengths (P,), rising, at least 32 pixels.
        arrange: (..., P) to the (..., C, L) that the network sees.
        lowest, highest: range of redshifts.
    """

    def __init__(
        self,
        log_wavelength: Tensor,
        arrange: Callable[[Tensor], Tensor],
        lowest: float,
        highest: float,
    ):
        super().__init__()
        count = len(log_wavelength)
        start = log_wavelength[0].item() - math.log10(1 + highest)
        stop = log_wavelength[-1].item() - math.log10(1 + lowest)
        self.step = (stop - start) / (count - 1)
        grid = torch.linspace(start, stop, count, dtype=torch.float64)
        self.register_buffer("log_observed", log_wavelength)
        self.register_buffer("log_rest", grid)
        self.register_buffer("log_arranged", arrange(grid))

    def coverage(self, redshift: Tensor) -> Tensor:
        """1 where spectra at redshifts (B,) have data and 0 elsewhere, (B, C, L)."""
        return self._covered(self.log_arranged, redshift[:, None, None]).float()

    def to_rest(self, spectra: Tensor, redshift: Tensor) -> Tensor:
        """Spectra (B, P) at redshifts (B,), from the observed to the rest-frame grid (B, P)."""
        observed = self.log_rest + _shift(redshift[:, None])  # (B, P)
        upper = torch.searchsorted(self.log_observed, observed)
        upper = upper.clamp(1, len(self.log_observed) - 1)
        left, right = self.log_observed[upper - 1], self.log_observed[upper]
        # linear in log λ between the nodes: within 3e-5 px of linear in λ
        fraction = (observed - left) / (right - left)
        values = spline(spectra, upper - 1 + fraction)
        return torch.where(self._covered(self.log_rest, redshift[:, None]), values, 0.0)

    def to_observed(self, rest: Tensor, redshift: Tensor) -> Tensor:
        """The inverse of `to_rest`."""
        rest = torch.where(self._covered(self.log_rest, redshift[:, None]), rest, 0.0)
        wanted = self.log_observed - _shift(redshift[:, None])  # (B, P)
        return spline(rest, (wanted - self.log_rest[0]) / self.step)

    def _covered(self, log_rest: Tensor, redshift: Tensor) -> Tensor:
        observed, margin = log_rest + _shift(redshift), COVERAGE_MARGIN * self.step
        first, last = self.log_observed[0], self.log_observed[-1]
        return (observed >= first - margin) & (observed <= last + margin)


def _shift(redshift: Tensor) -> Tensor:
    return torch.log10(1 + redshift.double())
