"""The prior of a spectrum: mean and σ are those that the spectra were made with."""

import math

import pytest
import torch

from models.spectral_basis import SpectralBasis, fit_basis, rest_grid
from models.spectrum_prior import TYPICAL_SNR, SpectrumPrior

PIXELS = 400
LOG_WAVELENGTH = torch.linspace(5000.0, 7000.0, PIXELS, dtype=torch.float64).log10()
START, LENGTH = rest_grid(LOG_WAVELENGTH, 0.05, 0.15)
REST = 10 ** (START + 1e-4 * torch.arange(LENGTH, dtype=torch.float64))
LINE = 5500.0  # Å, rest frame: where galaxies differ
NOISE, SPREAD = 0.1, 0.5  # of a spectrum of S/N 15; of the line's amplitude


def bump(wavelength, width):
    return torch.exp(-0.5 * ((wavelength - LINE) / width) ** 2)


@pytest.fixture(scope="module")
def basis():
    rows = torch.stack([torch.sin(REST / 300), bump(REST, 100.0)]).float()
    rows[1] /= rows[1].square().mean().sqrt()
    return SpectralBasis(LOG_WAVELENGTH[None], START, rows)


@pytest.fixture(scope="module")
def galaxies(basis):
    """Spectra (N, 1, PIXELS), and their parameters: z, ln S/N, coefficient."""
    generator = torch.Generator().manual_seed(0)
    count = 3000
    z = 0.05 + 0.1 * torch.rand(count, generator=generator)
    snr = 5 + 25 * torch.rand(count, generator=generator)
    amplitude = torch.randn(count, 1, generator=generator)
    shifted = basis(z)
    rest = 10**LOG_WAVELENGTH / (1 + z.double()[:, None])
    own = SPREAD * torch.randn(count, 1, generator=generator) * bump(rest, 40.0).float()
    noise = NOISE * (TYPICAL_SNR / snr)[:, None] * torch.randn(count, PIXELS, generator=generator)
    spectra = shifted[:, 0, 0] + amplitude * shifted[:, 1, 0] + own + noise
    return spectra[:, None], torch.cat([z[:, None], snr[:, None].log(), amplitude], dim=1)


@pytest.fixture(scope="module")
def prior(basis, galaxies):
    fitted = SpectrumPrior((1, PIXELS), basis)
    fitted.fit(*galaxies)
    return fitted


def test_what_is_left_of_the_spectra_is_standard_normal(prior, galaxies):
    spectra, parameters = galaxies
    expected = prior(parameters)
    left = (spectra - expected.mean) / expected.sigma
    assert left.mean().item() == pytest.approx(0.0, abs=0.01)
    assert left.std().item() == pytest.approx(1.0, abs=0.05)
    for noisy in (parameters[:, 1].exp() < 10, parameters[:, 1].exp() > 25):
        assert left[noisy].std().item() == pytest.approx(1.0, abs=0.1)


def test_noise_and_intrinsic_variance_are_separated(prior):
    assert prior.noise.median().item() == pytest.approx(NOISE**2, rel=0.1)
    clean = prior(torch.tensor([[0.1, math.inf, 0.0]])).sigma[0, 0]
    peak = clean.argmax()
    assert 10 ** LOG_WAVELENGTH[peak].item() == pytest.approx(LINE * 1.1, abs=15)
    assert clean[peak].item() == pytest.approx(SPREAD, rel=0.1)
    assert clean[:50].max().item() < 0.5 * NOISE  # no noise is left far from the line


def test_coefficients_are_recovered_from_spectra(prior, galaxies):
    spectra, parameters = galaxies
    found = prior.project(spectra, parameters[:, 0])
    error = found[:, 0] - parameters[:, 2]
    clean = spectra - (spectra - prior(parameters).mean)  # the mean itself
    torch.testing.assert_close(
        prior.project(clean, parameters[:, 0]), parameters[:, 2:], rtol=0, atol=0.15
    )
    assert error.std() < 0.5  # the line that galaxies have of their own is in it


def test_channels_and_properties_have_the_sizes_they_announce(prior):
    parameters = torch.tensor([[0.1, math.log(20.0), 0.0], [0.12, math.inf, 1.0]])
    context = prior(parameters)
    sizes = [channels.shape for channels in context.channels]
    assert sizes == [(2, 4, PIXELS)]  # mean, two templates, ln σ
    assert prior.channels == 4
    assert context.properties.shape == (2, prior.properties)
    assert context.properties[:, 0].tolist() == pytest.approx([0.75, 0.0])
    assert prior.parameters_count == 3


def test_lines_of_the_sky_belong_to_the_noise(basis, galaxies):
    """A line of the sky, stronger than the noise beside it, is narrower than the running median."""
    spectra, parameters = galaxies
    generator = torch.Generator().manual_seed(4)
    line, amplitude = slice(200, 205), 6 * NOISE * TYPICAL_SNR
    noise = amplitude / parameters[:, 1:2].exp() * torch.randn(len(spectra), 1, generator=generator)
    spectra = spectra.clone()
    spectra[:, 0, line] += noise
    sky, clean = (SpectrumPrior((1, PIXELS), basis) for _ in range(2))
    sky.fit(spectra, parameters)
    clean.fit(*galaxies)
    expected = sky(parameters)
    left = ((spectra - expected.mean) / expected.sigma)[:, 0, line].std(dim=0)
    torch.testing.assert_close(left, torch.ones(5), atol=0.1, rtol=0)
    torch.testing.assert_close(sky.rest_variance, clean.rest_variance, atol=0.02, rtol=0.1)


@pytest.mark.parametrize(("flux", "kept"), [("none", True), ("log", False)])
def test_line_ratios_that_all_galaxies_share_are_kept_in_linear_flux(flux, kept):
    """A doublet of 3 to 1 on different continua: sums of linear spectra keep it, those of
    logarithms do not."""
    generator = torch.Generator().manual_seed(3)
    count, lines = 400, (5500.0, 5600.0)
    strength = torch.rand(count, 1, generator=generator, dtype=torch.float64) * 6
    continuum = 1 + torch.randn(count, 1, generator=generator) * (REST - 5500) / 3000
    z = 0.05 + 0.1 * torch.rand(count, generator=generator)
    observed = 10**LOG_WAVELENGTH / (1 + z.double()[:, None])
    shape = [torch.exp(-0.5 * ((observed - line) / 8.0) ** 2) for line in lines]
    slope = 1 + (continuum[:, :1] - 1) * (observed - 5500) / (REST[0] - 5500)
    spectra = (slope.clamp(min=0.3) + strength * (3 * shape[0] + shape[1])).float()
    transform = torch.log if flux == "log" else torch.clone
    seen = transform(spectra)
    rows = fit_basis(seen, z, torch.ones(count), LOG_WAVELENGTH, START, LENGTH, 4)
    fitted = SpectrumPrior((1, PIXELS), SpectralBasis(LOG_WAVELENGTH[None], START, rows))
    coefficients = fitted.project(seen[:, None], z)
    parameters = torch.cat(
        [z[:, None], torch.full((count, 1), math.log(20.0)), coefficients], dim=1
    )
    mean = fitted(parameters).mean[:, 0]
    mean = mean.exp() if flux == "log" else mean
    height = [
        (mean * (abs(observed - line) < 1.5 * 8)).sum(dim=1)
        - (slope * (abs(observed - line) < 1.5 * 8)).sum(dim=1)
        for line in lines
    ]
    ratio = (height[0] / height[1])[strength[:, 0] > 1]
    assert bool((abs(ratio / 3 - 1) < 0.1).float().mean() > 0.95) == kept


def test_mixed_precision_does_not_round_what_is_expected(prior, galaxies):
    parameters = galaxies[1][:4]
    with torch.autocast("cpu", torch.bfloat16):
        rounded = prior(parameters)
    torch.testing.assert_close(rounded.mean, prior(parameters).mean, rtol=0, atol=0)


@pytest.mark.parametrize("snr", [0.0, 0.05])
def test_one_galaxy_of_extreme_noise_spoils_neither_noise_nor_sigma(basis, galaxies, prior, snr):
    spectra, parameters = (tensor.clone() for tensor in galaxies)
    generator = torch.Generator().manual_seed(4)
    parameters[7, 1] = math.log(snr) if snr else -math.inf
    spectra[7] += NOISE * TYPICAL_SNR / 0.05 * torch.randn(1, PIXELS, generator=generator)
    fitted = SpectrumPrior((1, PIXELS), basis)
    fitted.fit(spectra, parameters)
    torch.testing.assert_close(fitted.noise, prior.noise, rtol=0.05, atol=0)
    for row in ([0.1, math.log(20.0), 0.3], [0.12, math.log(50.0), 0.0]):
        ours, theirs = (p(torch.tensor([row])).sigma for p in (fitted, prior))
        torch.testing.assert_close(ours, theirs, rtol=0.05, atol=0)


def test_every_fourth_pixel_gives_the_same_coefficients(prior, galaxies):
    """The guide of super resolution has a part of the pixels; its coefficients are the same."""
    _, parameters = galaxies
    exact = prior(parameters).mean
    whole, some = (prior.project(x, parameters[:, 0]) for x in (exact, exact[..., ::4]))
    assert parameters[:, 2:].std() > 0.9
    torch.testing.assert_close(some, whole, rtol=0, atol=0.02)


def test_a_few_bad_pixels_do_not_set_the_variance(basis, galaxies, prior):
    spectra, parameters = (tensor.clone() for tensor in galaxies)
    spectra[:3, 0, 200] += 100
    fitted = SpectrumPrior((1, PIXELS), basis)
    fitted.fit(spectra, parameters)
    row = torch.tensor([[0.1, math.inf, 0.0]])
    torch.testing.assert_close(fitted(row).sigma, prior(row).sigma, rtol=0.3, atol=0.02)
