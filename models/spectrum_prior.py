r"""What a spectrum is expected to be, before any diffusion: mean m and spread s of every pixel.

The network diffuses the residual y = (x - m)/s, which is close to N(0, 1) from the start, instead
of the spectrum x itself (adaptive prior: Lee et al. 2022, arXiv 2106.06406; diffusion about a
conditional mean: Han et al. 2022, arXiv 2206.07275). With templates g_k at a redshift z
(`models.spectral_basis`) and their coefficients a_k,

.. math::
    m = g_0 + \sum_{k \geq 1} a_k\, g_k, \qquad
    s^2 = A(\lambda / (1 + z)) + B(\lambda)\, q, \qquad q = (15 / \mathrm{S/N})^2 .

A is what the templates leave, in the rest frame, where lines stay in place; B the noise of the
spectrograph. Both are fitted to the training spectra, as the mean and the spread of all of them
that serve where the redshift is not known. An infinite S/N leaves A alone.

In training the coefficients are those of the spectrum. For an image they are drawn, as its redshift
is: what the image and the redshift lead to expect (`models.property_heads`), and how far one of
the training galaxies of the most similar expectations turned out to be from it; then they are
moved to the nearest mixture of training galaxies (`models.convex_hull`).

What is known of a row is (B, 2 + E): redshift, S/N (NaN where unknown), coefficients.

Shapes: B rows, N galaxies, C channels and L pixels of a spectrum, K templates, E = K - 1
coefficients, F features, R coarse rest-frame pixels.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.convex_hull import nearest_mixture
from models.property_heads import CoefficientHead, fit_coefficients
from models.spectral_basis import SpectralBasis, interpolate

REDSHIFT, SNR = CONDITIONS = ("redshift", "snr")
TYPICAL_SNR = 15.0  # per SDSS pixel, of a galaxy of the main sample
FOLDS = 5  # heads of the coefficients, see `models.property_heads.fit_coefficients`
SHOWN = 4  # templates that the network sees as they are: the mean and three components
NEIGHBOURS = 50  # training galaxies from which one is drawn, and that a mixture is made of
COARSE = 4  # rest-frame pixels of the templates in one of A
CHI2_MEDIAN = 0.4549  # of one degree of freedom
SMOOTHING = 21  # pixels of the running median of B
SMALLEST = 0.01  # A, in units of the squared residual of a typical pixel
PRIOR_SPECTRA = 5  # that A of a pixel is drawn to the mean with
ROWS = 64  # galaxies at once


class PriorMoments(NamedTuple):
    """What is expected of B rows.

    mean, sigma: of every pixel (B, C, L); channels: further input of the network (B, g, L);
    properties: what its blocks are film with (B, 3).
    """

    mean: Tensor
    sigma: Tensor
    channels: Tensor
    properties: Tensor


class SpectrumPrior(nn.Module):
    """m, s and what else the network is told.

    Args:
        shape: C and L of a spectrum.
        templates: for a network that takes a redshift; else None.
        features: number F of image features.
    """

    properties = 3

    def __init__(self, shape: tuple[int, int], templates: SpectralBasis | None, features: int):
        super().__init__()
        self.templates, self.heads, coarse, coefficients = templates, None, 0, 0
        if templates is not None:
            coefficients = len(templates) - 1
            heads = (CoefficientHead(features + 1, coefficients) for _ in range(FOLDS))
            self.heads = nn.ModuleList(heads).requires_grad_(False).eval()
            coarse = templates.templates.shape[1] // COARSE + 2
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("variance", torch.ones(shape))
        self.register_buffer("rest_variance", torch.ones(shape[0], coarse))  # A
        self.register_buffer("noise", torch.zeros(shape))  # B
        self.register_buffer("usual", torch.ones(()))  # mean q
        self.register_buffer("predictions", torch.zeros(1, coefficients))  # of the library
        self.register_buffer("residuals", torch.zeros(1, coefficients))

    @property
    def channels(self) -> int:
        """g, of `PriorMoments.channels`."""
        shown = 0 if self.templates is None else 1 + min(SHOWN, len(self.templates))
        return len(self.mean) * (1 + shown)

    def train(self, mode: bool = True) -> "SpectrumPrior":
        """Nothing here is trained with the network: the heads stay in evaluation mode."""
        return super().train(False)

    def _load_from_state_dict(self, state: dict, prefix: str, *others) -> None:
        for name in ("predictions", "residuals"):  # as long as the library is
            if prefix + name in state:
                setattr(self, name, torch.empty_like(state[prefix + name]))
        super()._load_from_state_dict(state, prefix, *others)

    @torch.no_grad()
    def fit_coefficient_sampler(
        self, features: Tensor, coefficients: Tensor, validation: tuple[Tensor, Tensor], seed: int
    ) -> None:
        """Learn to foresee coefficients, and how far off that is.

        Args:
            features: image features and redshift (V, N, F + 1) of V views, the central one first.
            coefficients: (N, E) of the spectra.
            validation: both, (n, F + 1) and (n, E), of galaxies that are not learnt.
            seed: of the heads.
        """
        with torch.enable_grad():
            heads, predictions = fit_coefficients(features, coefficients, validation, FOLDS, seed)
        self.heads.load_state_dict(heads.state_dict())
        self.predictions, self.residuals = predictions.clone(), coefficients - predictions

    @torch.no_grad()
    def draw(self, features: Tensor, redshift: Tensor, shares: Tensor) -> Tensor:
        """Coefficients (B, P, E) of P candidates.

        Args:
            features: (B, F) of the images.
            redshift: (B, P), NaN where unknown; its coefficients are of no use, and zero.
            shares: (B, P) in [0, 1), which neighbour to take.
        """
        if self.heads is None:
            return features.new_zeros(*redshift.shape, 0)
        spread = features[:, None].expand(-1, redshift.shape[1], -1)
        told = torch.cat([spread, redshift.nan_to_num(0.0)[..., None]], dim=2)  # (B, P, F + 1)
        expected = torch.stack([head(told) for head in self.heads]).mean(dim=0)  # (B, P, E)
        distance = torch.cdist(expected, self.predictions)  # (B, P, library), all templates alike
        nearest = distance.topk(min(NEIGHBOURS, len(self.predictions)), largest=False).indices
        chosen = (shares * nearest.shape[-1]).long()[..., None]
        coefficients = expected + self.residuals[nearest.gather(-1, chosen)[..., 0]]
        coefficients = nearest_mixture(coefficients, self.predictions + self.residuals, NEIGHBOURS)
        return torch.where(redshift.isnan()[..., None], 0.0, coefficients)

    def forward(self, known: Tensor) -> PriorMoments:
        """What is expected of rows of which `known` (B, 2 + E) is known; in full precision."""
        with torch.autocast(known.device.type, enabled=False):
            return self._expect(known.float())

    def _expect(self, known: Tensor) -> PriorMoments:
        redshift, snr = known[:, 0], known[:, 1]
        placed, noisy = torch.isfinite(redshift), ~torch.isnan(snr)
        q = torch.where(noisy, (TYPICAL_SNR / snr) ** 2, self.usual)[:, None, None]
        mean, variance, seen = self.mean.expand(len(known), -1, -1), self.variance, []
        if self.templates is not None:
            here = placed[:, None, None]
            mean = torch.where(here, self.templates.combine(redshift, known[:, 2:]), self.mean)
            variance = torch.where(here, self._rest_variance(redshift), self.variance)
            seen = [mean, self.templates(redshift, SHOWN).flatten(1, 2)]
        sigma = (variance + self.noise * q).sqrt()  # (B, C, L)
        noise = torch.where(noisy, TYPICAL_SNR / snr, -1.0)
        properties = torch.stack([noise, placed.to(noise), noisy.to(noise)], dim=1)
        return PriorMoments(mean, sigma, torch.cat([*seen, sigma.log()], dim=1), properties)

    def _rest_variance(self, redshift: Tensor) -> Tensor:
        """A (B, C, L) at redshifts (B,)."""
        position = self._coarse(redshift.nan_to_num(0.0))
        return interpolate(self.rest_variance, position).transpose(0, 1)

    def _coarse(self, redshift: Tensor) -> Tensor:
        """Coarse rest-frame pixels (B, L), not whole, of the middle of a block."""
        wavelengths = self.templates.log_wavelength
        return self.templates.place(redshift, wavelengths[len(wavelengths) // 2]) / COARSE

    @torch.no_grad()
    def project(self, spectra: Tensor, redshift: Tensor) -> Tensor:
        """Coefficients (N, E) of spectra (N, C, L) at redshifts (N,), by damped least squares."""
        parts = []
        for x, z in zip(spectra.split(ROWS), redshift.split(ROWS), strict=True):
            templates = self.templates(z)
            design = templates[:, 1:].flatten(2)  # (B, E, C·L)
            rest = (x - templates[:, 0]).flatten(1)
            normal = design @ design.transpose(1, 2)
            damping = 1e-2 * design.shape[2] * torch.eye(len(normal[0])).to(normal)
            parts.append(torch.linalg.solve(normal + damping, (design @ rest[..., None])[..., 0]))
        return torch.cat(parts)

    @torch.no_grad()
    def fit(self, spectra: Tensor, known: Tensor) -> None:
        """Take mean, A and B from training spectra (N, C, L) of which `known` (N, 2 + E) is known.

        B is the median rise of the squared residual with q, which lines do not move.
        """
        q = (TYPICAL_SNR / known[:, 1]) ** 2
        self.mean.copy_(spectra.mean(dim=0))
        squared = torch.cat(
            [
                (x - self._mean_of(row)) ** 2
                for x, row in zip(spectra.split(ROWS), known.split(ROWS), strict=True)
            ]
        )
        if torch.isfinite(q).all() and q.max() > q.min():
            self.usual.copy_(q.mean())
            self.noise.copy_(_noise(squared, q))
        least = SMALLEST * squared.mean(dim=0).median(dim=1, keepdim=True).values  # (C, 1)
        noise = self.noise * self.usual
        self.variance.copy_((spectra.var(dim=0) - noise).maximum(least))
        if self.templates is not None:
            of_row = torch.where(q.isfinite(), q, self.usual)[:, None, None]
            self._fit_rest(squared - self.noise * of_row, known[:, 0], least)

    def _mean_of(self, known: Tensor) -> Tensor:
        if self.templates is None:
            return self.mean
        return self.templates.combine(known[:, 0], known[:, 2:])

    def _fit_rest(self, variance: Tensor, redshift: Tensor, least: Tensor) -> None:
        """A >= `least` (C, 1) from the variance (N, C, L) of each spectrum, shared out over
        rest-frame pixels; where few spectra say anything, it is drawn to that of all pixels."""
        total = torch.zeros_like(self.rest_variance)
        weight = torch.zeros_like(total[0])
        for values, z in zip(variance.split(ROWS), redshift.split(ROWS), strict=True):
            position = self._coarse(z)
            lower = position.long()
            upper_share = (position - lower).to(values)
            for pixel, share in ((lower, 1 - upper_share), (lower + 1, upper_share)):
                weight.index_add_(0, pixel.flatten(), share.flatten())
                shared = (values * share[:, None]).transpose(0, 1).flatten(1)  # (C, B·L)
                total.index_add_(1, pixel.flatten(), shared)
        everywhere = variance.mean(dim=(0, 2), keepdim=True)[0]  # (C, 1)
        mean = (total + PRIOR_SPECTRA * everywhere) / (weight + PRIOR_SPECTRA)
        self.rest_variance.copy_(mean.maximum(least))


def _noise(squared: Tensor, q: Tensor) -> Tensor:
    """B (C, L) from squared residuals (N, C, L) of spectra with q (N,)."""
    high = q > q.median()
    rise = squared[high].median(dim=0).values - squared[~high].median(dim=0).values
    noise = rise / (CHI2_MEDIAN * (q[high].median() - q[~high].median()))
    noise = _smooth(noise).clamp(min=1e-8)
    # the median of a mixture is only about that of its median q: where all is noise, be exact
    left = (squared / (noise * q[:, None, None])).median(dim=0).values / CHI2_MEDIAN
    noise = noise * _smooth(left).clamp(max=1.0)
    return noise.maximum(1e-3 * noise.median(dim=1, keepdim=True).values)


def _smooth(values: Tensor) -> Tensor:
    """Running median over the pixels of (C, L)."""
    half = SMOOTHING // 2
    padded = F.pad(values[None], (half, half), mode="replicate")[0]
    return padded.unfold(1, SMOOTHING, 1).median(dim=-1).values
