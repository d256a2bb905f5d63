r"""The prior of a spectrum given its galaxy's parameters: mean m and σ s of every pixel.

The U-Net diffuses the residual (x - m)/s, which is close to N(0, 1) from the start, instead of the
spectrum x itself (adaptive prior: Lee et al. 2022, arXiv 2106.06406; diffusion about a conditional
mean: Han et al. 2022, arXiv 2206.07275). With the rest-frame templates g_k at the redshift z
(`models.spectral_basis`) and their coefficients a_k,

.. math::
    m = g_0 + \sum_{k = 1}^{K} a_k\, g_k, \qquad
    s^2 = A(\lambda / (1 + z)) + B(\lambda)\, q, \qquad q = (15 / \mathrm{S/N})^2 .

A is the variance that the templates leave, in the rest frame, where lines stay in place; B q is the
noise of the spectrograph. Both are fitted to the training spectra. An infinite S/N leaves A alone.

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

REDSHIFT, SNR = CONDITIONS = ("redshift", "snr")  # the first parameters, which can be given
TYPICAL_SNR = 15.0  # per SDSS pixel, of a galaxy of the main sample
CHI2_MEDIAN = 0.4549  # of one degree of freedom
CLIPPINGS = 4  # passes of the fit of A in which residuals are clipped
ROWS = 64  # galaxies at once


class SpectrumPrior(nn.Module):
    """m and s, and what else the U-Net takes of a galaxy's parameters.

    Args:
        shape: C and L of a spectrum.
        basis: the templates: the mean and K components.
        template_channels: templates that are input channels of the U-Net, the mean first.
        rest_bin: rest-frame pixels of the templates in one pixel of A.
        ridge: of the projection, in units of a template's mean square.
    """

    properties = 1

    def __init__(
        self,
        shape: tuple[int, int],
        basis: SpectralBasis,
        template_channels: int = 4,
        rest_bin: int = 4,
        ridge: float = 0.01,
    ):
        super().__init__()
        self.basis, self.rest_bin, self.ridge = basis, rest_bin, ridge
        self.template_channels = min(template_channels, len(basis))
        coarse = basis.templates.shape[1] // rest_bin + 2
        self.register_buffer("rest_variance", torch.ones(shape[0], coarse))  # A
        self.register_buffer("noise", torch.zeros(shape))  # B

    @property
    def channels(self) -> int:
        """g, of `Context.channels`: mean, templates and ln σ."""
        return len(self.noise) * (2 + self.template_channels)

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
        variance = interpolate(self.rest_variance, self._coarse(redshift)).transpose(0, 1)
        sigma = (variance + self.noise * noise[:, None, None] ** 2).sqrt()  # (B, C, L)
        templates = self.basis(redshift, self.template_channels).flatten(1, 2)
        return Context(mean, sigma, [mean, templates, sigma.log()], noise[:, None])

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
        """Take A and B from training spectra (N, C, L) of `parameters` (N, D).

        B is the median rise of the squared residual with q, which lines do not move. A is a mean,
        of residuals that are clipped in further passes, so that a bad pixel does not set it.

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
        z, noise = parameters[:, 0], self.noise * q[:, None, None]
        self._fit_rest(squared - noise, z, least, pseudo_count)
        for _ in range(CLIPPINGS):
            for rows in torch.arange(len(z), device=z.device).split(ROWS):
                variance = interpolate(self.rest_variance, self._coarse(z[rows])).transpose(0, 1)
                squared[rows] = squared[rows].minimum(clip_sigma**2 * (variance + noise[rows]))
            self._fit_rest(squared - noise, z, least, pseudo_count)

    def _fit_rest(
        self, variance: Tensor, redshift: Tensor, least: Tensor, pseudo_count: float
    ) -> None:
        """A >= `least` (C, 1) from the variance (N, C, L) of each spectrum, distributed over
        rest-frame pixels."""
        total = torch.zeros_like(self.rest_variance)
        weight = torch.zeros_like(total[0])
        for values, z in zip(variance.split(ROWS), redshift.split(ROWS), strict=True):
            position = self._coarse(z)
            lower = position.long()
            fraction = (position - lower).to(values)
            for pixel, part in ((lower, 1 - fraction), (lower + 1, fraction)):
                weight.index_add_(0, pixel.flatten(), part.flatten())
                weighted = (values * part[:, None]).transpose(0, 1).flatten(1)  # (C, B·L)
                total.index_add_(1, pixel.flatten(), weighted)
        everywhere = variance.mean(dim=(0, 2), keepdim=True)[0]  # (C, 1)
        mean = (total + pseudo_count * everywhere) / (weight + pseudo_count)
        self.rest_variance.copy_(mean.maximum(least))


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
