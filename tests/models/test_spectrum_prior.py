"""What is expected of a spectrum: mean and spread are those that the spectra were made with."""

import math

import pytest
import torch

from models.property_heads import fit_coefficients
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
def templates():
    rows = torch.stack([torch.sin(REST / 300), bump(REST, 100.0)]).float()
    rows[1] /= rows[1].square().mean().sqrt()
    return SpectralBasis(LOG_WAVELENGTH[None], START, rows)


@pytest.fixture(scope="module")
def galaxies(templates):
    """Spectra (N, 1, PIXELS), and what is known of them: z, S/N, amplitude."""
    generator = torch.Generator().manual_seed(0)
    count = 3000
    z = 0.05 + 0.1 * torch.rand(count, generator=generator)
    snr = 5 + 25 * torch.rand(count, generator=generator)
    amplitude = torch.randn(count, 1, generator=generator)
    shifted = templates(z)
    rest = 10**LOG_WAVELENGTH / (1 + z.double()[:, None])
    own = SPREAD * torch.randn(count, 1, generator=generator) * bump(rest, 40.0).float()
    noise = NOISE * (TYPICAL_SNR / snr)[:, None] * torch.randn(count, PIXELS, generator=generator)
    spectra = shifted[:, 0, 0] + amplitude * shifted[:, 1, 0] + own + noise
    return spectra[:, None], torch.cat([z[:, None], snr[:, None], amplitude], dim=1)


@pytest.fixture(scope="module")
def prior(templates, galaxies):
    fitted = SpectrumPrior((1, PIXELS), templates, features=3)
    fitted.fit(*galaxies)
    return fitted


def test_what_is_left_of_the_spectra_is_standard_normal(prior, galaxies):
    spectra, known = galaxies
    expected = prior(known)
    left = (spectra - expected.mean) / expected.sigma
    assert left.mean().item() == pytest.approx(0.0, abs=0.01)
    assert left.std().item() == pytest.approx(1.0, abs=0.05)
    for noisy in (known[:, 1] < 10, known[:, 1] > 25):
        assert left[noisy].std().item() == pytest.approx(1.0, abs=0.1)


def test_noise_and_differences_are_told_apart(prior):
    assert prior.noise.median().item() == pytest.approx(NOISE**2, rel=0.1)
    clean = prior(torch.tensor([[0.1, math.inf, 0.0]])).sigma[0, 0]
    peak = clean.argmax()
    assert 10 ** LOG_WAVELENGTH[peak].item() == pytest.approx(LINE * 1.1, abs=15)
    assert clean[peak].item() == pytest.approx(SPREAD, rel=0.1)
    assert clean[:50].max().item() < 0.5 * NOISE  # no noise is left far from the line


def test_the_unknown_is_what_all_galaxies_are(prior, galaxies):
    spectra, _ = galaxies
    unknown = prior(torch.tensor([[math.nan, math.nan, 0.3]]))
    torch.testing.assert_close(unknown.mean[0], spectra.mean(dim=0))
    torch.testing.assert_close(unknown.sigma[0], spectra.std(dim=0), rtol=0.02, atol=0)
    assert unknown.properties.tolist() == [[-1.0, 0.0, 0.0]]
    usual = prior(torch.tensor([[0.1, math.nan, 0.3]]))
    assert usual.properties.tolist() == [[-1.0, 1.0, 0.0]]
    assert torch.isfinite(usual.sigma).all()


def test_amplitudes_are_recovered_from_spectra(prior, galaxies):
    spectra, known = galaxies
    found = prior.project(spectra, known[:, 0])
    error = found[:, 0] - known[:, 2]
    clean = spectra - (spectra - prior(known).mean)  # the mean itself
    torch.testing.assert_close(prior.project(clean, known[:, 0]), known[:, 2:], rtol=0, atol=0.15)
    assert error.std() < 0.5  # the line that galaxies have of their own is in it


def test_channels_and_properties_have_the_sizes_they_announce(prior, templates):
    known = torch.tensor([[0.1, 20.0, 0.0], [0.12, math.inf, 1.0]])
    expected = prior(known)
    # mean, spread, and the two templates that there are
    assert expected.channels.shape == (2, 4, PIXELS)
    assert expected.properties.tolist()[1] == [0.0, 1.0, 1.0]
    free = SpectrumPrior((8, 50), None, features=3)
    expected = free(torch.tensor([[math.nan, 20.0]]))
    assert expected.channels.shape == (1, free.channels, 50) and free.channels == 8
    assert free.draw(torch.ones(2, 3), torch.ones(2, 4), torch.zeros(2, 4)).shape == (2, 4, 0)


def test_amplitudes_are_drawn_as_galaxies_of_like_features_have_them(templates):
    """Coefficients whose mean and spread follow the features, and whose errors are skewed."""
    generator = torch.Generator().manual_seed(2)

    def sample(count):
        features = torch.rand(count, 2, generator=generator)
        z = 0.05 + 0.1 * torch.rand(count, 1, generator=generator)
        error = torch.empty(count, 1).exponential_(generator=generator) - 1
        coefficients = 5 * features[:, :1] + 20 * z + (0.1 + features[:, :1]) * error
        return torch.cat([features, z], dim=1), coefficients

    told, coefficients = sample(3000)
    prior = SpectrumPrior((1, PIXELS), templates, features=2)
    prior.fit_coefficient_sampler(told[None], coefficients, sample(500), seed=0)
    new, truth = sample(300)
    z = new[:, 2:].expand(-1, 25)
    shares = torch.rand(300, 25, generator=generator)
    drawn = prior.draw(new[:, :2], z, shares)[..., 0]
    below = (drawn < truth).float().mean(dim=1)
    assert below.mean().item() == pytest.approx(0.5, abs=0.04)  # PIT: uniform
    assert below.std().item() == pytest.approx(12**-0.5, abs=0.03)
    spread = drawn.std(dim=1)
    narrow, wide = new[:, 0] < 0.2, new[:, 0] > 0.8
    assert spread[wide].mean() > 2.5 * spread[narrow].mean()
    state = prior.state_dict()
    again = SpectrumPrior((1, PIXELS), templates, features=2)
    again.load_state_dict(state)
    torch.testing.assert_close(again.draw(new[:, :2], z, shares)[..., 0], drawn)
    unknown = prior.draw(new[:, :2], torch.full_like(z, math.nan), shares)
    assert (unknown == 0).all()


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
    rows = fit_basis(seen, z, LOG_WAVELENGTH, START, LENGTH, 4)
    fitted = SpectrumPrior(
        (1, PIXELS), SpectralBasis(LOG_WAVELENGTH[None], START, rows), features=3
    )
    coefficients = fitted.project(seen[:, None], z)
    known = torch.cat([z[:, None], torch.full((count, 1), 20.0), coefficients], dim=1)
    mean = fitted(known).mean[:, 0]
    mean = mean.exp() if flux == "log" else mean
    height = [
        (mean * (abs(observed - line) < 1.5 * 8)).sum(dim=1)
        - (slope * (abs(observed - line) < 1.5 * 8)).sum(dim=1)
        for line in lines
    ]
    ratio = (height[0] / height[1])[strength[:, 0] > 1]
    assert bool((abs(ratio / 3 - 1) < 0.1).float().mean() > 0.95) == kept


def test_mixed_precision_does_not_round_what_is_expected(prior, galaxies):
    known = galaxies[1][:4]
    with torch.autocast("cpu", torch.bfloat16):
        rounded = prior(known)
    torch.testing.assert_close(rounded.mean, prior(known).mean, rtol=0, atol=0)


def test_heads_do_not_know_the_galaxies_they_speak_of():
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(1, 300, 40, generator=generator)
    signal = features[0, :, :1]
    coefficients = torch.cat([signal, torch.randn(300, 1, generator=generator)], dim=1)
    validation = torch.randn(200, 40, generator=generator)
    checked = torch.cat([validation[:, :1], torch.randn(200, 1, generator=generator)], dim=1)
    heads, predicted = fit_coefficients(features, coefficients, (validation, checked), 3, seed=0)
    correlations = [
        torch.corrcoef(torch.stack(c))[0, 1] for c in zip(coefficients.T, predicted.T, strict=True)
    ]
    assert correlations[0] > 0.8
    assert abs(correlations[1]) < 0.2  # pure chance, which a head learns of what it has seen
    assert len(heads) == 3
    _, same = fit_coefficients(features, coefficients, (validation, checked), 3, seed=0)
    torch.testing.assert_close(predicted, same, rtol=0, atol=0)
