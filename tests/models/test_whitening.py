"""Residuals in which stationary noise is white, and back."""

import numpy as np
import pytest
import torch
from scipy.fft import dct as scipy_dct

from models.whitening import Whitening, dct, idct

SIGMA = 2.0  # px, of the smoothing


def smoothed(count: int, channels: int, length: int) -> torch.Tensor:
    """(count, channels, length): white noise smoothed with a Gaussian, of unit variance."""
    noise = np.random.default_rng(0).normal(size=(count, channels * length + 40))
    kernel = np.exp(-0.5 * (np.arange(-20, 21) / SIGMA) ** 2)
    kernel /= np.sqrt((kernel**2).sum())
    ordered = np.stack([np.convolve(row, kernel, "valid") for row in noise])
    return torch.from_numpy(ordered).unflatten(1, (length, channels)).transpose(1, 2)


@pytest.mark.parametrize("count", [1, 2, 3, 9, 100])
def test_cosine_transform_is_orthonormal(count):
    x = torch.from_numpy(np.random.default_rng(1).normal(size=(3, 2, count)))
    np.testing.assert_allclose(dct(x), scipy_dct(x.numpy(), norm="ortho"), atol=1e-12)
    torch.testing.assert_close(idct(dct(x)), x)


@pytest.mark.parametrize(("channels", "bandwidth"), [(8, 0.5), (8, 1.0), (1, 1.0)])
def test_smoothed_noise_becomes_white_on_a_coarser_grid(channels, bandwidth):
    spectra = smoothed(3000, channels, 512 // channels)
    whitening = Whitening(channels, 512 // channels, bandwidth).double()
    whitening.fit(list(spectra.split(1000)))
    white = whitening.whiten(spectra)
    assert white.shape == (3000, int(channels * bandwidth), 512 // channels)
    kept = dct(white.transpose(1, 2).flatten(1))[:, : 512 * 9 // 20]  # the rest has no power
    covariance = torch.cov(kept.T)
    torch.testing.assert_close(covariance.diagonal(), torch.ones(len(covariance)).double(),
                               atol=0.2, rtol=0)  # fmt: skip
    between = covariance[~torch.eye(len(covariance), dtype=torch.bool)]
    assert between.square().mean().sqrt() < 0.025  # 1/√3000 = 0.018 by chance
    # lost is what smoothing left beyond the kept frequencies, and slopes at the two ends
    back, ends = whitening.colour(white), 24 // channels
    middle = slice(ends, -ends)
    torch.testing.assert_close(back[..., middle], spectra[..., middle], atol=0.05, rtol=0)
    torch.testing.assert_close(back, spectra, atol=0.25, rtol=0)


def test_coloured_noise_has_the_power_of_the_residuals():
    spectra = smoothed(3000, 8, 64)
    whitening = Whitening(8, 64, 0.5).double()
    whitening.fit([spectra])
    noise = torch.randn(3000, 4, 64, generator=torch.Generator().manual_seed(1)).double()
    powers = [
        (dct(x.transpose(1, 2).flatten(1)) ** 2).mean(dim=0)[:200].numpy()
        for x in (whitening.colour(noise), spectra)
    ]
    np.testing.assert_allclose(*powers, rtol=0.2)


def test_coarse_spectra_keep_their_shape():
    wavelength = torch.linspace(0, 3, 8 * 64).double()
    spectra = (1 + wavelength.sin()).unflatten(0, (64, 8)).T[None]
    coarse = Whitening(8, 64, 0.5).double().coarsen(spectra)
    middles = wavelength.unflatten(0, (-1, 2)).mean(dim=1)
    found = coarse[0].T.flatten()
    torch.testing.assert_close(found[4:-4], (1 + middles.sin())[4:-4], atol=2e-3, rtol=0)


@pytest.mark.parametrize("bandwidth", [0.3, 0.0, 1.5])
def test_bandwidth_keeps_whole_channels(bandwidth):
    with pytest.raises(ValueError, match="bandwidth"):
        Whitening(8, 16, bandwidth)
