r"""The prior of a spectrum given its galaxy's parameters: mean m and σ s of every pixel.

The network diffuses the residual (x - m)/s, which is close to N(0, 1) from the start, instead of
the spectrum x itself (adaptive prior: Lee et al. 2022, arXiv 2106.06406; diffusion about a
conditional mean: Han et al. 2022, arXiv 2206.07275). With the templates g_k at a redshift z
(`models.spectral_basis`) and their coefficients a_k,

.. math::
    m = g_0 + \sum_{k \geq 1} a_k\, g_k, \qquad
    s^2 = A(\lambda / (1 + z)) + B(\lambda)\, q, \qquad q = (15 / \mathrm{S/N})^2 .

A is the variance that the templates leave, in the rest frame, where lines stay in place; B q is the
noise of the spectrograph. Both are fitted to the training spectra. Where the redshift is unknown,
mean and variance of all training spectra take the place of g and A. An infinite S/N leaves A alone.

In training the coefficients are the projection of the spectrum on the templates. In generation
they are sampled (`sample_coefficients`): regression heads predict them from the image and the
redshift, the residual of a training galaxy of similar prediction is added, and the sum is moved to
the nearest mixture of training galaxies (`models.convex_hull`). The second stage of a cascade
projects the low-resolution spectrum that guides it, in training and generation alike.

The parameters of a row are (B, 2 + E): redshift, S/N (NaN where unknown), coefficients.

Shapes: B rows, P candidates, N galaxies, C channels and L pixels of a spectrum, K templates,
E = K - 1 coefficients, F features, R coarse rest-frame pixels.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.convex_hull import mixture_weights, nearest_mixture
from models.property_heads import CoefficientHead, fit_coefficients
from models.spectral_basis import SpectralBasis, interpolate

REDSHIFT, SNR = CONDITIONS = ("redshift", "snr")
TYPICAL_SNR = 15.0  # per SDSS pixel, of a galaxy of the main sample
LARGEST_Q = 25.0  # in units of the median: noisier galaxies (a fifth of the S/N) are not fitted
FOLDS = 5  # coefficient heads, see `models.property_heads.fit_coefficients`
TEMPLATE_CHANNELS = 4  # templates that are input channels: the mean and three components
NEIGHBOURS = 50  # training galaxies whose residuals are sampled, and that a mixture is made of
COARSE = 4  # rest-frame pixels of the templates in one pixel of A
CHI2_MEDIAN = 0.4549  # of one degree of freedom
SMOOTHING = 21  # pixels of the running median of B
VARIANCE_FLOOR = 0.01  # of A, in units of the squared residual of a typical pixel
PSEUDO_COUNT = 5  # spectra of average variance that are added to those of each pixel of A
ROWS = 64  # galaxies at once


class PriorMoments(NamedTuple):
    """The prior of B rows.

    mean, sigma: of every pixel (B, C, L); channels: input channels of the network (B, g, L);
    properties: numbers that modulate its blocks (B, 3).
    """

    mean: Tensor
    sigma: Tensor
    channels: Tensor
    properties: Tensor


class SpectrumPrior(nn.Module):
    """m and s, and what else the network takes of a galaxy's parameters.

    Args:
        shape: C and L of a spectrum.
        basis: for a network that is conditioned on the redshift; else None, and E = 0.
        features: number F of image features.
    """

    properties = 3

    def __init__(self, shape: tuple[int, int], basis: SpectralBasis | None, features: int):
        super().__init__()
        self.basis, self.heads, coarse, coefficients = basis, None, 0, 0
        if basis is not None:
            coefficients = len(basis) - 1
            heads = (CoefficientHead(features + 1, coefficients) for _ in range(FOLDS))
            self.heads = nn.ModuleList(heads).requires_grad_(False).eval()
            coarse = basis.templates.shape[1] // COARSE + 2
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("variance", torch.ones(shape))
        self.register_buffer("rest_variance", torch.ones(shape[0], coarse))  # A
        self.register_buffer("noise", torch.zeros(shape))  # B
        self.register_buffer("mean_q", torch.ones(()))
        self.register_buffer("predictions", torch.zeros(1, coefficients))  # of the fitted galaxies
        self.register_buffer("residuals", torch.zeros(1, coefficients))

    @property
    def channels(self) -> int:
        """g, of `PriorMoments.channels`."""
        templates = 0 if self.basis is None else 1 + min(TEMPLATE_CHANNELS, len(self.basis))
        return len(self.mean) * (1 + templates)

    def train(self, mode: bool = True) -> "SpectrumPrior":
        """Nothing here is trained with the network: the heads stay in evaluation mode."""
        return super().train(False)

    def _load_from_state_dict(self, state: dict, prefix: str, *others) -> None:
        for name in ("predictions", "residuals"):  # as many rows as galaxies were fitted
            if prefix + name in state:
                setattr(self, name, torch.empty_like(state[prefix + name]))
        super()._load_from_state_dict(state, prefix, *others)

    @torch.no_grad()
    def fit_coefficient_sampler(
        self, features: Tensor, coefficients: Tensor, validation: tuple[Tensor, Tensor], seed: int
    ) -> None:
        """Fit the heads, and keep their out-of-fold predictions and residuals.

        Args:
            features: image features and redshift (V, N, F + 1) of V views, the central one first.
            coefficients: (N, E) of the spectra.
            validation: features (n, F + 1) and coefficients (n, E) of galaxies that no head is
                trained on.
            seed: of the heads.
        """
        with torch.enable_grad():
            heads, predictions = fit_coefficients(features, coefficients, validation, FOLDS, seed)
        self.heads.load_state_dict(heads.state_dict())
        self.predictions, self.residuals = predictions.clone(), coefficients - predictions

    @torch.no_grad()
    def sample_coefficients(self, features: Tensor, redshift: Tensor, u: Tensor) -> Tensor:
        """Coefficients (B, P, E) of P candidates.

        Each candidate takes the prediction of one head, as each residual is that of one head: the
        mean of all heads would have smaller errors than the residuals have.

        Args:
            features: (B, F) of the images.
            redshift: (B, P); where it is NaN, the coefficients have no effect and are zero.
            u: uniform numbers (B, P) in [0, 1) that choose neighbour and head.
        """
        if self.heads is None:
            return features.new_zeros(*redshift.shape, 0)
        proposed, galaxies = self._proposed(features, redshift, u)
        coefficients = nearest_mixture(proposed, galaxies, NEIGHBOURS)
        return torch.where(redshift.isnan()[..., None], 0.0, coefficients)

    @torch.no_grad()
    def effective_galaxies(self, features: Tensor, redshift: Tensor, u: Tensor) -> Tensor:
        """Number 1/Σ w² of training galaxies that each candidate's coefficients are a mixture of,
        (B, P); arguments as in `sample_coefficients`."""
        weights, _ = mixture_weights(*self._proposed(features, redshift, u), NEIGHBOURS)
        return 1 / weights.square().sum(dim=-1)

    def _proposed(self, features: Tensor, redshift: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """Predictions plus residuals (B, P, E), and the coefficients of the galaxies (N, E)."""
        spread = features[:, None].expand(-1, redshift.shape[1], -1)
        inputs = torch.cat([spread, redshift.nan_to_num(0.0)[..., None]], dim=2)  # (B, P, F + 1)
        count = min(NEIGHBOURS, len(self.predictions))
        place = u.double() * count  # the neighbour's number, and in its fraction the head's
        chosen, number = place.long(), (place.frac() * len(self.heads)).long()
        predicted = torch.stack([head(inputs) for head in self.heads], dim=2)  # (B, P, heads, E)
        predicted = predicted.take_along_dim(number[..., None, None], dim=2)[:, :, 0]  # (B, P, E)
        distance = torch.cdist(predicted, self.predictions)  # (B, P, N), templates of equal weight
        nearest = distance.topk(count, largest=False).indices
        residuals = self.residuals[nearest.gather(-1, chosen[..., None])[..., 0]]  # (B, P, E)
        return predicted + residuals, self.predictions + self.residuals

    def forward(self, parameters: Tensor) -> PriorMoments:
        """The prior of rows with `parameters` (B, 2 + E); in full precision."""
        with torch.autocast(parameters.device.type, enabled=False):
            return self._moments(parameters.float())

    def _moments(self, parameters: Tensor) -> PriorMoments:
        redshift, snr = parameters[:, 0], parameters[:, 1]
        has_redshift, has_snr = torch.isfinite(redshift), ~torch.isnan(snr)
        q = torch.where(has_snr, (TYPICAL_SNR / snr) ** 2, self.mean_q)[:, None, None]
        mean, variance, shown = self.mean.expand(len(parameters), -1, -1), self.variance, []
        if self.basis is not None:
            here = has_redshift[:, None, None]
            mean = torch.where(here, self.basis.combine(redshift, parameters[:, 2:]), self.mean)
            variance = torch.where(here, self._rest_variance(redshift), self.variance)
            shown = [mean, self.basis(redshift, TEMPLATE_CHANNELS).flatten(1, 2)]
        sigma = (variance + self.noise * q).sqrt()  # (B, C, L)
        noise = torch.where(has_snr, TYPICAL_SNR / snr, -1.0)  # -1 beside has_snr = 0
        properties = torch.stack([noise, has_redshift.to(noise), has_snr.to(noise)], dim=1)
        return PriorMoments(mean, sigma, torch.cat([*shown, sigma.log()], dim=1), properties)

    def _rest_variance(self, redshift: Tensor) -> Tensor:
        """A (B, C, L) at redshifts (B,)."""
        position = self._coarse(redshift.nan_to_num(0.0))
        return interpolate(self.rest_variance, position).transpose(0, 1)

    def _coarse(self, redshift: Tensor) -> Tensor:
        """Coarse rest-frame pixels (B, L), not whole, of the middle of a block."""
        wavelengths = self.basis.log_wavelength
        return self.basis.place(redshift, wavelengths[len(wavelengths) // 2]) / COARSE

    @torch.no_grad()
    def project(self, spectra: Tensor, redshift: Tensor) -> Tensor:
        """Coefficients of spectra by damped least squares.

        Args:
            spectra: (N, C, L), or every f-th pixel of them (N, C, L/f, rounded up).
            redshift: (N,); where it is NaN, the coefficients are zero.

        Returns:
            (N, E).
        """
        step = -(-self.mean.shape[1] // spectra.shape[2])
        parts = []
        for x, z in zip(spectra.split(ROWS), redshift.split(ROWS), strict=True):
            templates = self.basis(z)[..., ::step]
            design = templates[:, 1:].flatten(2)  # (B, E, C·L/f)
            rest = (x - templates[:, 0]).flatten(1)
            normal = design @ design.transpose(1, 2)
            damping = 1e-2 * design.shape[2] * torch.eye(len(normal[0])).to(normal)
            parts.append(torch.linalg.solve(normal + damping, (design @ rest[..., None])[..., 0]))
        return torch.cat(parts)

    @torch.no_grad()
    def fit(self, spectra: Tensor, parameters: Tensor) -> None:
        """Take mean, A and B from training spectra (N, C, L) of `parameters` (N, 2 + E).

        B is the median rise of the squared residual with q, which lines do not move. Galaxies that
        are far noisier than the others are left out (`informative`).
        """
        used = informative(parameters[:, 1])
        spectra, parameters = spectra[used], parameters[used]
        q = (TYPICAL_SNR / parameters[:, 1]) ** 2
        self.mean.copy_(spectra.mean(dim=0))
        pairs = zip(spectra.split(ROWS), parameters.split(ROWS), strict=True)
        squared = torch.cat([(x - self._mean_of(row)) ** 2 for x, row in pairs])
        if torch.isfinite(q).all() and q.max() > q.min():
            self.mean_q.copy_(q.mean())
            self.noise.copy_(_noise(squared, q))
        least = VARIANCE_FLOOR * squared.mean(dim=0).median(dim=1, keepdim=True).values  # (C, 1)
        noise = self.noise * self.mean_q
        self.variance.copy_((spectra.var(dim=0) - noise).maximum(least))
        if self.basis is not None:
            of_row = torch.where(q.isfinite(), q, self.mean_q)[:, None, None]
            self._fit_rest(squared - self.noise * of_row, parameters[:, 0], least)

    def _mean_of(self, parameters: Tensor) -> Tensor:
        if self.basis is None:
            return self.mean
        return self.basis.combine(parameters[:, 0], parameters[:, 2:])

    def _fit_rest(self, variance: Tensor, redshift: Tensor, least: Tensor) -> None:
        """A >= `least` (C, 1) from the variance (N, C, L) of each spectrum, distributed over
        rest-frame pixels; `PSEUDO_COUNT` spectra of average variance stabilise each of them."""
        total = torch.zeros_like(self.rest_variance)
        weight = torch.zeros_like(total[0])
        for values, z in zip(variance.split(ROWS), redshift.split(ROWS), strict=True):
            position = self._coarse(z)
            lower = position.long()
            fraction = (position - lower).to(values)
            for pixel, share in ((lower, 1 - fraction), (lower + 1, fraction)):
                weight.index_add_(0, pixel.flatten(), share.flatten())
                shared = (values * share[:, None]).transpose(0, 1).flatten(1)  # (C, B·L)
                total.index_add_(1, pixel.flatten(), shared)
        everywhere = variance.mean(dim=(0, 2), keepdim=True)[0]  # (C, 1)
        mean = (total + PSEUDO_COUNT * everywhere) / (weight + PSEUDO_COUNT)
        self.rest_variance.copy_(mean.maximum(least))


def informative(snr: Tensor) -> Tensor:
    """Which galaxies a prior is fitted to (N,), bool: those whose q is at most `LARGEST_Q` medians.

    One spectrum of S/N 0.05 has the squared noise of 10⁵ ordinary ones. An unknown S/N (NaN)
    counts as ordinary.
    """
    q = (TYPICAL_SNR / snr) ** 2
    return ~(q > LARGEST_Q * q.nanmedian())


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
