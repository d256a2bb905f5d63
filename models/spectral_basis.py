r"""Mean and principal components of rest-frame spectra, shifted to a redshift.

.. math:: g_k(\lambda) = T_k\bigl(\log_{10}\lambda - \log_{10}(1 + z)\bigr), \qquad k = 0 … K - 1,

with T_0 the mean and T_1 … the principal components of the training spectra in the rest frame, on a
logarithmic grid. Components minimise the residuals in units of each spectrum's noise: without such
weights the last ones describe the noise of faint galaxies (Bailey 2012, PASP 124, 1015).

Shapes: B rows, K templates, C channels and L pixels of a spectrum, M rest-frame pixels, N galaxies,
P pixels of the observed grid.
"""

import math

import torch
from torch import Tensor, nn

REST_STEP_DEX = 1e-4  # log10 of the ratio of neighbouring wavelengths, as in SDSS spectra
OUTLIERS = 30.0, 10.0  # above the median, in median absolute deviations: rms before and after
LEAST_NOISE = 0.3  # of a spectrum, as a weight, in units of the median: limits those of the best


class SpectralBasis(nn.Module):
    """Rest-frame templates that are shifted to a redshift.

    Args:
        log_wavelength: log10 of the observed wavelength of every pixel, arranged as in the input of
            the network (C, L).
        rest_start: log10 of the first rest-frame wavelength.
        templates: (K, M) on the rest-frame grid, in steps of 1e-4 dex.
    """

    def __init__(
        self,
        log_wavelength: Tensor,
        rest_start: float,
        templates: Tensor,
    ):
        super().__init__()
        self.register_buffer("log_wavelength", log_wavelength)
        self.register_buffer("rest_start", torch.tensor(rest_start, dtype=torch.float64))
        self.register_buffer("templates", templates)

    def __len__(self) -> int:
        return len(self.templates)

    def place(self, redshift: Tensor, log_wavelength: Tensor) -> Tensor:
        """Rest-frame pixels (B, …), not whole, of observed log_wavelength (…) at redshifts (B,)."""
        shift = torch.log10(1 + redshift.double()).reshape(-1, *[1] * log_wavelength.ndim)
        position = (log_wavelength - shift - self.rest_start) / REST_STEP_DEX
        return position.clamp(0, self.templates.shape[1] - 1.001)

    def forward(self, redshift: Tensor, count: int | None = None) -> Tensor:
        """The first `count` templates, or all, (B, K, C, L) at redshifts (B,)."""
        position = self.place(redshift, self.log_wavelength)  # (B, C, L)
        return interpolate(self.templates[:count], position).transpose(0, 1)

    def combine(self, redshift: Tensor, coefficients: Tensor) -> Tensor:
        """T_0 + Σ a_k T_k (B, C, L) of coefficients a (B, K - 1) at redshifts (B,).

        The sum is made in the rest frame: one spectrum to shift instead of K.
        """
        rest = self.templates[0] + coefficients @ self.templates[1:]  # (B, M)
        position = self.place(redshift, self.log_wavelength)
        lower = position.long().flatten(1)
        fraction = (position.flatten(1) - lower).to(rest)
        values = torch.lerp(rest.gather(1, lower), rest.gather(1, lower + 1), fraction)
        return values.unflatten(1, position.shape[1:])


def interpolate(rows: Tensor, position: Tensor) -> Tensor:
    """Rows (K, M) at positions (…) from 0 to M - 1, linearly: (K, …)."""
    lower = position.long()
    fraction = (position - lower).to(rows)
    return torch.lerp(rows[:, lower], rows[:, lower + 1], fraction)


def rest_grid(log_wavelength: Tensor, lowest: float, highest: float) -> tuple[float, int]:
    """Start (log10 Å) and length of the rest-frame grid of observed `log_wavelength` (any shape)
    at redshifts from `lowest` to `highest`."""
    start = log_wavelength.min().item() - math.log10(1 + highest)
    stop = log_wavelength.max().item() - math.log10(1 + lowest)
    return start, math.ceil((stop - start) / REST_STEP_DEX) + 2


def fit_basis(
    spectra: Tensor,
    redshift: Tensor,
    snr: Tensor,
    log_wavelength: Tensor,
    start: float,
    length: int,
    count: int,
) -> Tensor:
    """Mean and principal components of spectra in the rest frame.

    Args:
        spectra: standardised spectra (N, P), in order of wavelength.
        redshift: (N,).
        snr: signal-to-noise ratios (N,), in any unit.
        log_wavelength: log10 of the observed wavelengths (P,), rising.
        start, length: the rest-frame grid, from `rest_grid`.
        count: templates K, the mean included.

    Returns:
        (K, M) float32; components have unit root mean square. Where a spectrum has no pixels, it
        counts as the mean. Spectra that are very far from the mean (`OUTLIERS`), or far from a
        first fit, such as misidentified ones, have no part in the second.

    Raises:
        ValueError: fewer spectra than components are left.
    """
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
    before, after = OUTLIERS
    kept = torch.ones(len(rest), dtype=torch.bool)
    kept = _near_zero(_deviation(rest, kept)[1], before)
    deviation = _deviation(rest, kept)[1]
    noise = snr.median() / snr
    weight = 1 / noise.clamp(min=LEAST_NOISE)[:, None]
    components = _components((weight * deviation)[kept], count - 1)
    kept &= _near_zero(deviation - deviation @ components.T @ components / length, after)
    mean, deviation = _deviation(rest, kept)
    return torch.cat([mean[None], _components((weight * deviation)[kept], count - 1)])


def _deviation(rest: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (M,) of the `kept` ones of spectra (N, M), and the deviation of all from it (N, M)."""
    mean = rest[kept].nanmean(dim=0).nan_to_num(0.0)
    return mean, torch.where(rest.isnan(), 0.0, rest - mean)


def _near_zero(deviation: Tensor, limit: float) -> Tensor:
    """Which of (N, M) have an rms at most `limit` median absolute deviations above the median."""
    rms = deviation.square().mean(dim=1).sqrt()
    centre = rms.median()
    return rms <= centre + limit * (rms - centre).abs().median()


def _components(deviation: Tensor, count: int) -> Tensor:
    """The first principal components (count, M) of (N, M), of unit root mean square."""
    if len(deviation) < count:
        raise ValueError(f"{len(deviation)} usable spectra have no {count} components")
    with torch.random.fork_rng(devices=[]):  # of the random projection
        torch.manual_seed(0)
        _, _, components = torch.pca_lowrank(deviation, q=max(count, 1), center=False, niter=4)
    return components.T[:count] * math.sqrt(deviation.shape[1])
