r"""The prior of a spectrum given its galaxy's parameters: mean m and σ s of every pixel.

The U-Net diffuses the residual (x - m)/s, which is close to N(0, 1) from the start, instead of the
spectrum x itself (adaptive prior: Lee et al. 2022, arXiv 2106.06406; diffusion about a conditional
mean: Han et al. 2022, arXiv 2206.07275). With the rest-frame templates g_k at the redshift z
(`models.spectral_basis`) and their coefficients a_k,

.. math::
    m = g_0 + \sum_{k = 1}^{K} a_k\, g_k, \qquad
    s^2 = A(\lambda / (1 + z)) + B(\lambda)\, q, \qquad q = (15 / \mathrm{S/N})^2 .

A is the variance that the templates leave, in the rest frame, where lines stay in place; B q is the
noise of the spectrograph and the sky, whose lines stay in place in the observed frame. Both are
fitted to the training spectra. An infinite S/N leaves A alone. The residual is then made white
along wavelength (`models.whitening`).

The parameters of a row are (z, ln S/N, a_1 … a_K). In training the coefficients are the projection
of the spectrum on the templates; in generation the parameter diffusion samples them
(`models.parameter_denoiser`). The second stage of a cascade projects the low-resolution spectrum
that guides it, in training and generation alike.

Shapes: B rows, N galaxies, C channels and L pixels of a spectrum, K coefficients, D = 2 + K
parameters, R coarse rest-frame pixels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.diffusion import Context
from models.spectral_basis import SpectralBasis, interpolate
from models.whitening import Whitening

REDSHIFT, SNR = CONDITIONS = ("redshift", "snr")  # the first parameters, which can be given
TYPICAL_SNR = 15.0  # per SDSS pixel, of a galaxy of the main sample
CHI2_MEDIAN = 0.4549  # of one degree of freedom
CLIPPINGS = 4  # passes of the fit of A in which residuals are clipped
CHANCE_EXCESS = 0.1  # of squared residuals over s²: five standard errors of 5,000 galaxies
ROWS = 64  # galaxies at once


class SpectrumPrior(nn.Module):
    """m and s, and what else the U-Net takes of a galaxy's parameters.

    Args:
        shape: C and L of a spectrum.
        basis: the templates: the mean and K components.
        template_channels: templates that are input channels of the U-Net, the mean first.
        rest_bin: rest-frame pixels of the templates in one pixel of A.
        ridge: of the projection, in units of a template's mean square.
        bandwidth: share of the frequencies, lowest first, in which residuals are diffused.

    Raises:
        ValueError: as `models.whitening.Whitening`.
    """

    properties = 1

    def __init__(
        self,
        shape: tuple[int, int],
        basis: SpectralBasis,
        template_channels: int = 4,
        rest_bin: int = 4,
        ridge: float = 0.01,
        bandwidth: float = 1.0,
    ):
        super().__init__()
        self.basis, self.rest_bin, self.ridge = basis, rest_bin, ridge
        self.template_channels = min(template_channels, len(basis))
        coarse = basis.templates.shape[1] // rest_bin + 2
        self.register_buffer("rest_variance", torch.ones(shape[0], coarse))  # A
        self.register_buffer("noise", torch.zeros(shape))  # B
        self.whitening = Whitening(*shape, bandwidth)

    @property
    def channels(self) -> int:
        """g, of `Context.channels`: mean, templates and ln σ."""
        return self.whitening.kept * (2 + self.template_channels)

    @property
    def parameters_count(self) -> int:
        """D."""
        return len(CONDITIONS) + len(self.basis) - 1

    def forward(self, parameters: Tensor) -> Context:
        """The context of rows with `parameters` (B, D); in full precision."""
        with torch.autocast(parameters.device.type, enabled=False):
            return self._context(parameters.float())

    def _context(self, parameters: Tensor) -> Context:
        redshift, noise = parameters[:, 0], TYPICAL_SNR * torch.exp(-parameters[:, 1])
        mean = self.basis.combine(redshift, parameters[:, 2:])  # (B, C, L)
        sigma = (
            self._rest_variance(redshift) + self.noise * noise[:, None, None] ** 2
        ).sqrt()  # (B, C, L)
        templates = self.basis(redshift, self.template_channels)  # (B, any, C, L)
        shown = torch.cat([mean[:, None], templates, sigma.log()[:, None]], dim=1)
        channels = self.whitening.coarsen(shown).flatten(1, 2)
        return Context(mean, sigma, [channels], noise[:, None], whitening=self.whitening)

    def _coarse(self, redshift: Tensor) -> Tensor:
        """Coarse rest-frame pixels (B, L), not whole, of the middle of a block."""
        wavelengths = self.basis.log_wavelength
        return self.basis.place(redshift, wavelengths[len(wavelengths) // 2]) / self.rest_bin

    @torch.no_grad()
    def project(self, spectra: Tensor, redshift: Tensor) -> Tensor:
        """Coefficients of spectra by damped least squares.

        Args:
            spectra: (N, C, L), or every f-th pixel of them (N, C, L/f, rounded up).
            redshift: (N,).

        Returns:
            (N, K).
        """
        step = -(-self.noise.shape[1] // spectra.shape[2])
        parts = []
        for x, z in zip(spectra.split(ROWS), redshift.split(ROWS), strict=True):
            templates = self.basis(z)[..., ::step]
            design = templates[:, 1:].flatten(2)  # (B, K, C·L/f)
            rest = (x - templates[:, 0]).flatten(1)
            normal = design @ design.transpose(1, 2)
            damping = self.ridge * design.shape[2] * torch.eye(len(normal[0])).to(normal)
            parts.append(torch.linalg.solve(normal + damping, (design @ rest[..., None])[..., 0]))
        return torch.cat(parts)

    @torch.no_grad()
    def fit(
        self,
        spectra: Tensor,
        parameters: Tensor,
        *,
        largest_q: float = 25.0,
        clip_sigma: float = 10.0,
        pseudo_count: float = 5.0,
        variance_floor: float = 0.01,
        smoothing_pixels: int = 21,
    ) -> None:
        """Take A, B and the power of the residuals from training spectra (N, C, L) of `parameters`
        (N, D).

        B begins as the median rise of the squared residual with q, smoothed, which lines of
        galaxies do not move, and rises where squared residuals are larger than s² in the mean: at
        lines of the sky. A is a mean, of residuals that are clipped, so that a bad pixel does not
        set it.

        Args:
            spectra, parameters: of the training galaxies.
            largest_q: noisier galaxies, in units of the median q, are left out (`informative`).
            clip_sigma: at which residuals are clipped, in units of s.
            pseudo_count: spectra of average variance that are added to those of each pixel of A.
            variance_floor: least A, in units of the squared residual of a typical pixel.
            smoothing_pixels: of the running median of B, odd.
        """
        used = informative(parameters[:, 1].exp(), largest_q)
        spectra, parameters = spectra[used], parameters[used]
        q = (TYPICAL_SNR / parameters[:, 1].exp()) ** 2
        pairs = zip(spectra.split(ROWS), parameters.split(ROWS), strict=True)
        squared = torch.cat([(x - self.basis.combine(p[:, 0], p[:, 2:])) ** 2 for x, p in pairs])
        if q.max() > q.min():
            self.noise.copy_(_noise(squared, q, smoothing_pixels))
        least = variance_floor * squared.mean(dim=0).median(dim=1, keepdim=True).values  # (C, 1)
        q, redshift = q[:, None, None], parameters[:, 0]
        self._fit_rest(squared, redshift, q, least, pseudo_count, torch.inf)
        for _ in range(CLIPPINGS):
            if q.max() > q.min():
                self.noise += self._excess(squared, redshift, q, clip_sigma) / q.sum()
            self._fit_rest(squared, redshift, q, least, pseudo_count, clip_sigma)
        residuals = []
        for x, p in zip(spectra.split(ROWS), parameters.split(ROWS), strict=True):
            context = self._context(p)
            residual = (x - context.mean) / context.sigma
            residuals.append(residual.clamp(-clip_sigma, clip_sigma))
        self.whitening.fit(residuals)

    def _excess(self, squared: Tensor, redshift: Tensor, q: Tensor, clip_sigma: float) -> Tensor:
        """By how much clipped squared residuals (N, C, L) exceed s², in pixels where they do so by
        more than chance: sums (C, L)."""
        excess, total = torch.zeros_like(self.noise), torch.zeros_like(self.noise)
        for values, z, part in zip(*(x.split(ROWS) for x in (squared, redshift, q)), strict=True):
            variance = self._rest_variance(z) + self.noise * part
            excess += (values.minimum(clip_sigma**2 * variance) - variance).sum(dim=0)
            total += variance.sum(dim=0)
        return (excess - CHANCE_EXCESS * total).clamp(min=0)

    def _fit_rest(
        self,
        squared: Tensor,
        redshift: Tensor,
        q: Tensor,
        least: Tensor,
        pseudo_count: float,
        clip_sigma: float,
    ) -> None:
        """A >= `least` (C, 1) from squared residuals (N, C, L), clipped and less the noise,
        distributed over rest-frame pixels."""
        total = torch.zeros_like(self.rest_variance)
        weight, everywhere = torch.zeros_like(total[0]), 0.0
        for values, z, part in zip(*(x.split(ROWS) for x in (squared, redshift, q)), strict=True):
            noise = self.noise * part
            clipped = values.minimum(clip_sigma**2 * (self._rest_variance(z) + noise)) - noise
            everywhere = everywhere + clipped.sum(dim=(0, 2)) / squared[:, 0].numel()  # (C,)
            position = self._coarse(z)
            lower = position.long()
            fraction = (position - lower).to(clipped)
            for pixel, share in ((lower, 1 - fraction), (lower + 1, fraction)):
                weight.index_add_(0, pixel.flatten(), share.flatten())
                weighted = (clipped * share[:, None]).transpose(0, 1).flatten(1)  # (C, B·L)
                total.index_add_(1, pixel.flatten(), weighted)
        mean = (total + pseudo_count * everywhere[:, None]) / (weight + pseudo_count)
        self.rest_variance.copy_(mean.maximum(least))

    def _rest_variance(self, redshift: Tensor) -> Tensor:
        """A (B, C, L) at redshifts (B,)."""
        return interpolate(self.rest_variance, self._coarse(redshift)).transpose(0, 1)


def informative(snr: Tensor, largest_q: float) -> Tensor:
    """Which galaxies a prior is fitted to (N,), bool: those whose q is at most `largest_q` medians.

    One spectrum of S/N 0.05 has the squared noise of 10⁵ ordinary ones.
    """
    q = (TYPICAL_SNR / snr) ** 2
    return ~(q > largest_q * q.nanmedian())


def _noise(squared: Tensor, q: Tensor, smoothing_pixels: int) -> Tensor:
    """B (C, L) from squared residuals (N, C, L) of spectra with q (N,)."""
    high = q > q.median()
    rise = squared[high].median(dim=0).values - squared[~high].median(dim=0).values
    noise = rise / (CHI2_MEDIAN * (q[high].median() - q[~high].median()))
    noise = _smooth(noise, smoothing_pixels).clamp(min=1e-8)
    # the median of a mixture is only about that of its median q: where all is noise, be exact
    left = (squared / (noise * q[:, None, None])).median(dim=0).values / CHI2_MEDIAN
    noise = noise * _smooth(left, smoothing_pixels).clamp(max=1.0)
    return noise.maximum(1e-3 * noise.median(dim=1, keepdim=True).values)


def _smooth(values: Tensor, pixels: int) -> Tensor:
    """Running median over the pixels of (C, L)."""
    half = pixels // 2
    padded = F.pad(values[None], (half, half), mode="replicate")[0]
    return padded.unfold(1, pixels, 1).median(dim=-1).values
