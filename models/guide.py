r"""What is known of a galaxy besides its image, as input channels of the U-Net.

A redshift becomes what the mean galaxy and the main ways to differ from it look like there,

.. math:: g_k(\lambda) = T_k\bigl(\log_{10}\lambda - \log_{10}(1 + z)\bigr), \qquad k = 0 … K - 1,

with T_0 the mean and T_1 … the principal components of the training spectra in the rest frame, on a
logarithmic grid: every line of a candidate can sit at one redshift. A signal-to-noise ratio becomes
a constant channel, the noise of a spectrum in units of a typical one's: a spectrum without noise is
the end of a range, not its infinity. What is unknown (NaN) is zeros for a redshift, -1 for a S/N.

Shapes: B rows, K templates, C channels and L pixels of a spectrum, M rest-frame pixels, P pixels of
the observed grid.
"""

import math

import torch
from torch import Tensor, nn

REDSHIFT, SNR = KNOWN = ("redshift", "snr")  # columns of what is known, (B, 2)
TEMPLATES = 4  # K
REST_STEP_DEX = 1e-4  # that of SDSS's own pixels
COMPONENT_GALAXIES = 2000  # more do not change the first components
TYPICAL_SNR = 15.0  # per SDSS pixel, of a galaxy of the main sample


class RedshiftGuide(nn.Module):
    """Rest-frame templates, shifted to a redshift.

    Args:
        log_wavelength: log10 of the observed wavelength of every pixel, arranged as the network
            sees them (C, L).
        rest_start: log10 of the first rest-frame wavelength.
        templates: (K, M) on the rest-frame grid, in steps of 1e-4 dex.
    """

    def __init__(self, log_wavelength: Tensor, rest_start: float, templates: Tensor):
        super().__init__()
        self.register_buffer("log_wavelength", log_wavelength)
        self.register_buffer("rest_start", torch.tensor(rest_start, dtype=torch.float64))
        self.register_buffer("templates", templates)

    @property
    def channels(self) -> int:
        """K·C, what the network gets beside the noisy spectrum."""
        return len(self.templates) * len(self.log_wavelength)

    def forward(self, redshift: Tensor) -> Tensor:
        """Guides (B, K·C, L) at redshifts (B,); zeros where the redshift is NaN."""
        known = torch.isfinite(redshift)
        shift = torch.log10(1 + redshift.double().nan_to_num(0.0))
        rest = self.log_wavelength - shift[:, None, None]  # (B, C, L)
        position = (rest - self.rest_start) / REST_STEP_DEX
        position = position.clamp(0, self.templates.shape[1] - 1.001)
        lower = position.long()
        fraction = (position - lower).to(self.templates)
        guides = self.templates[:, lower] * (1 - fraction) + self.templates[:, lower + 1] * fraction
        guides = guides.transpose(0, 1).flatten(1, 2)  # (B, K·C, L)
        return torch.where(known[:, None, None], guides, 0.0)


class Guide(nn.Module):
    """All that is known beside the image.

    Args:
        redshift: templates, for a network that takes a redshift.
        snr: whether it takes a signal-to-noise ratio.
    """

    def __init__(self, redshift: RedshiftGuide | None, snr: bool):
        super().__init__()
        self.redshift, self.snr = redshift, snr

    @property
    def channels(self) -> int:
        """What the network gets beside the noisy spectrum."""
        return (self.redshift.channels if self.redshift else 0) + int(self.snr)

    def forward(self, known: Tensor, length: int) -> Tensor:
        """Channels (B, channels, L) of redshift and S/N (B, 2), NaN where unknown; L is `length`.

        A S/N may be infinite.
        """
        redshift, snr = known.unbind(dim=1)
        given = [known.new_zeros(len(known), 0, length)]
        if self.redshift is not None:
            given.append(self.redshift(redshift))  # (B, K·C, L)
        if self.snr:
            noise = (TYPICAL_SNR / snr).nan_to_num(nan=-1.0)
            given.append(noise[:, None, None].expand(-1, 1, length))  # (B, 1, L)
        return torch.cat(given, dim=1)


def rest_grid(log_wavelength: Tensor, lowest: float, highest: float) -> tuple[float, int]:
    """Start (log10 Å) and length of a rest-frame grid for observed `log_wavelength` at redshifts
    from `lowest` to `highest`."""
    start = log_wavelength.min().item() - math.log10(1 + highest)
    stop = log_wavelength.max().item() - math.log10(1 + lowest)
    return start, math.ceil((stop - start) / REST_STEP_DEX) + 2


def fit_templates(
    spectra: Tensor, redshift: Tensor, log_wavelength: Tensor, start: float, length: int, count: int
) -> Tensor:
    """Mean and principal components of spectra in the rest frame.

    Args:
        spectra: standardised spectra (N, P), as the network sees them but in order of wavelength.
        redshift: (N,).
        log_wavelength: log10 of the observed wavelengths (P,), rising.
        start, length: the rest-frame grid, from `rest_grid`.
        count: templates K, the mean included.

    Returns:
        (K, M) float32; components have unit root mean square. What a spectrum does not cover is
        taken as the mean.
    """
    spectra, redshift = spectra[:COMPONENT_GALAXIES], redshift[:COMPONENT_GALAXIES]
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
    mean = rest.nanmean(dim=0).nan_to_num(0.0)
    deviation = torch.where(rest.isnan(), 0.0, rest - mean)
    _, _, components = torch.pca_lowrank(deviation, q=max(count - 1, 1), center=False, niter=4)
    components = components.T[: count - 1] * math.sqrt(length)
    return torch.cat([mean[None], components])
