"""The prior of a spectrum: mean and σ are those that the spectra were made with."""

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
def basis():
    rows = torch.stack([torch.sin(REST / 300), bump(REST, 100.0)]).float()
    rows[1] /= rows[1].square().mean().sqrt()
    return SpectralBasis(LOG_WAVELENGTH[None], START, rows)


@pytest.fixture(scope="module")
def galaxies(basis):
    """Spectra (N, 1, PIXELS), and their parameters: z, S/N, coefficient."""
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
    return spectra[:, None], torch.cat([z[:, None], snr[:, None], amplitude], dim=1)


@pytest.fixture(scope="module")
def prior(basis, galaxies):
    fitted = SpectrumPrior((1, PIXELS), basis, features=3)
    fitted.fit(*galaxies)
    return fitted


def test_what_is_left_of_the_spectra_is_standard_normal(prior, galaxies):
    spectra, parameters = galaxies
    expected = prior(parameters)
    left = (spectra - expected.mean) / expected.sigma
    assert left.mean().item() == pytest.approx(0.0, abs=0.01)
    assert left.std().item() == pytest.approx(1.0, abs=0.05)
    for noisy in (parameters[:, 1] < 10, parameters[:, 1] > 25):
        assert left[noisy].std().item() == pytest.approx(1.0, abs=0.1)


def test_noise_and_intrinsic_variance_are_separated(prior):
    assert prior.noise.median().item() == pytest.approx(NOISE**2, rel=0.1)
    clean = prior(torch.tensor([[0.1, math.inf, 0.0]])).sigma[0, 0]
    peak = clean.argmax()
    assert 10 ** LOG_WAVELENGTH[peak].item() == pytest.approx(LINE * 1.1, abs=15)
    assert clean[peak].item() == pytest.approx(SPREAD, rel=0.1)
    assert clean[:50].max().item() < 0.5 * NOISE  # no noise is left far from the line


def test_without_conditions_the_prior_is_that_of_all_galaxies(prior, galaxies):
    spectra, _ = galaxies
    unknown = prior(torch.tensor([[math.nan, math.nan, 0.3]]))
    torch.testing.assert_close(unknown.mean[0], spectra.mean(dim=0))
    torch.testing.assert_close(unknown.sigma[0], spectra.std(dim=0), rtol=0.02, atol=0)
    assert unknown.properties.tolist() == [[-1.0, 0.0, 0.0]]
    usual = prior(torch.tensor([[0.1, math.nan, 0.3]]))
    assert usual.properties.tolist() == [[-1.0, 1.0, 0.0]]
    assert torch.isfinite(usual.sigma).all()


def test_coefficients_are_recovered_from_spectra(prior, galaxies):
    spectra, parameters = galaxies
    found = prior.project(spectra, parameters[:, 0])
    error = found[:, 0] - parameters[:, 2]
    clean = spectra - (spectra - prior(parameters).mean)  # the mean itself
    torch.testing.assert_close(
        prior.project(clean, parameters[:, 0]), parameters[:, 2:], rtol=0, atol=0.15
    )
    assert error.std() < 0.5  # the line that galaxies have of their own is in it


def test_channels_and_properties_have_the_sizes_they_announce(prior, basis):
    parameters = torch.tensor([[0.1, 20.0, 0.0], [0.12, math.inf, 1.0]])
    expected = prior(parameters)
    # mean, spread, and the two templates that there are
    assert expected.channels.shape == (2, 4, PIXELS)
    assert expected.properties.tolist()[1] == [0.0, 1.0, 1.0]
    free = SpectrumPrior((8, 50), None, features=3)
    expected = free(torch.tensor([[math.nan, 20.0]]))
    assert expected.channels.shape == (1, free.channels, 50) and free.channels == 8
    assert free.sample_coefficients(
        torch.ones(2, 3), torch.ones(2, 4), torch.zeros(2, 4)
    ).shape == (2, 4, 0)


def test_coefficients_are_sampled_as_galaxies_of_like_features_have_them(basis):
    """Coefficients whose mean and spread follow the features, and whose errors are skewed."""
    generator = torch.Generator().manual_seed(2)

    def sample(count):
        features = torch.rand(count, 2, generator=generator)
        z = 0.05 + 0.1 * torch.rand(count, 1, generator=generator)
        error = torch.empty(count, 1).exponential_(generator=generator) - 1
        coefficients = 5 * features[:, :1] + 20 * z + (0.1 + features[:, :1]) * error
        return torch.cat([features, z], dim=1), coefficients

    inputs, coefficients = sample(3000)
    prior = SpectrumPrior((1, PIXELS), basis, features=2)
    prior.fit_coefficient_sampler(inputs[None], coefficients, sample(500), seed=0)
    new, truth = sample(300)
    z = new[:, 2:].expand(-1, 25)
    u = torch.rand(300, 25, generator=generator)
    sampled = prior.sample_coefficients(new[:, :2], z, u)[..., 0]
    below = (sampled < truth).float().mean(dim=1)
    assert below.mean().item() == pytest.approx(0.5, abs=0.04)  # PIT: uniform
    assert below.std().item() == pytest.approx(12**-0.5, abs=0.03)
    spread = sampled.std(dim=1)
    narrow, wide = new[:, 0] < 0.2, new[:, 0] > 0.8
    assert spread[wide].mean() > 2.5 * spread[narrow].mean()
    state = prior.state_dict()
    again = SpectrumPrior((1, PIXELS), basis, features=2)
    again.load_state_dict(state)
    torch.testing.assert_close(again.sample_coefficients(new[:, :2], z, u)[..., 0], sampled)
    unknown = prior.sample_coefficients(new[:, :2], torch.full_like(z, math.nan), u)
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
    parameters = torch.cat([z[:, None], torch.full((count, 1), 20.0), coefficients], dim=1)
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


@pytest.mark.parametrize("snr", [0.0, 0.05])
def test_one_galaxy_of_extreme_noise_spoils_neither_noise_nor_sigma(basis, galaxies, prior, snr):
    spectra, parameters = (tensor.clone() for tensor in galaxies)
    generator = torch.Generator().manual_seed(4)
    parameters[7, 1] = snr
    spectra[7] += NOISE * TYPICAL_SNR / 0.05 * torch.randn(1, PIXELS, generator=generator)
    fitted = SpectrumPrior((1, PIXELS), basis, features=3)
    fitted.fit(spectra, parameters)
    torch.testing.assert_close(fitted.noise, prior.noise, rtol=0.05, atol=0)
    for row in ([0.1, math.nan, 0.3], [math.nan, math.nan, 0.0], [0.1, 20.0, 0.3]):
        ours, theirs = (p(torch.tensor([row])).sigma for p in (fitted, prior))
        torch.testing.assert_close(ours, theirs, rtol=0.05, atol=0)


def test_every_fourth_pixel_gives_the_same_coefficients(prior, galaxies):
    """The guide of super resolution has a part of the pixels; its coefficients are the same."""
    _, parameters = galaxies
    exact = prior(parameters).mean
    whole, some = (prior.project(x, parameters[:, 0]) for x in (exact, exact[..., ::4]))
    assert parameters[:, 2:].std() > 0.9
    torch.testing.assert_close(some, whole, rtol=0, atol=0.02)


def test_each_candidate_has_the_prediction_of_one_head(basis):
    """As the residuals have: with the mean of five, all candidates would be alike here."""
    prior = SpectrumPrior((1, PIXELS), basis, features=2)
    for number, head in enumerate(prior.heads):
        head.network[-1].weight.zero_()
        head.network[-1].bias.fill_(float(number))
    library = torch.linspace(-1, 6, 71)[:, None]  # galaxies that a mixture can reach everything by
    prior.predictions, prior.residuals = library, torch.zeros_like(library)
    u = (torch.arange(500) + 0.5)[None] / 500
    found = prior.sample_coefficients(torch.zeros(1, 2), torch.full((1, 500), 0.1), u)[0, :, 0]
    values, counts = found.round(decimals=2).unique(return_counts=True)
    assert values.tolist() == [0, 1, 2, 3, 4] and counts.tolist() == [100] * 5
