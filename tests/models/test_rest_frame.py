"""The rest frame: lines at one place, the way there and back, and nothing outside the coverage."""

import numpy as np
import pytest
import torch
from scipy.interpolate import CubicSpline
from scipy.ndimage import gaussian_filter1d
from torch import nn

from models.diffusion import Denoiser, DenoisingLoss, NoiseSchedule
from models.rest_frame import RestFrame, spline

WAVELENGTH = torch.linspace(4000.0, 8499.0, 4500, dtype=torch.float64)
REDSHIFT = torch.tensor([0.05, 0.08, 0.15], dtype=torch.float64)
LINE = 6564.6  # Å, rest frame


@pytest.fixture(scope="module")
def rest():
    return RestFrame(WAVELENGTH.log10(), lambda x: x[..., None, :], 0.04, 0.16)


def test_the_spline_is_scipys():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(2, 200)).astype(np.float32)
    position = rng.uniform(20, 180, (2, 300))
    found = spline(torch.from_numpy(values), torch.from_numpy(position))
    expected = [CubicSpline(np.arange(200), v)(p) for v, p in zip(values, position, strict=True)]
    np.testing.assert_allclose(found, np.stack(expected), atol=3e-6)


def test_a_line_has_one_place(rest):
    spectra = torch.exp(-0.5 * ((WAVELENGTH - LINE * (1 + REDSHIFT[:, None])) / 5) ** 2).float()
    peak = 10 ** rest.log_rest[rest.to_rest(spectra, REDSHIFT).argmax(dim=1)]
    assert (peak - LINE).abs().max() < 0.7  # half a pixel


def test_smoothed_noise_survives_the_way_there_and_back(rest):
    noise = np.random.default_rng(1).normal(size=(3, 4500))
    spectra = torch.from_numpy(gaussian_filter1d(noise, 2.0, axis=1)).float()
    shifted = rest.to_rest(spectra, REDSHIFT)
    covered = rest.coverage(REDSHIFT)[:, 0] > 0
    assert (shifted[~covered] == 0).all() and (~covered).any()
    back = rest.to_observed(torch.where(covered, shifted, torch.nan), REDSHIFT)
    assert (back - spectra)[:, 2:-2].std() < 0.01 * spectra.std()
    assert back.std() == pytest.approx(spectra.std().item(), rel=2e-3)


def test_what_is_not_covered_does_not_count(rest):
    class Identity(nn.Module):
        def forward(self, x, t, tokens):  # the same without a condition
            return x[:, :1]

    condition = nn.Module()
    condition.tokens = lambda features: features
    denoiser = Denoiser(condition, Identity(), NoiseSchedule(steps=8), rest=rest)
    covered = rest.coverage(REDSHIFT)
    clean = torch.randn(3, 1, 4500, generator=torch.Generator().manual_seed(0))
    other = torch.where(covered > 0, clean, 100.0)
    masked, plain = (
        [
            DenoisingLoss(denoiser)(
                x, torch.zeros(3, 1, 1), torch.Generator().manual_seed(1), None, weights, REDSHIFT
            )
            for x in (clean, other)
        ]
        for weights in (covered, None)
    )
    assert masked[0] == masked[1] and plain[0] != plain[1]
