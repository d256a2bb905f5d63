"""Redshift as a condition: guides sit where the physics says, p(z | image) is calibrated."""

import math

import numpy as np
import pytest
import torch

from models.redshift import (
    RedshiftEmbedding,
    RedshiftGuide,
    RedshiftHead,
    fit_head,
    fit_templates,
    rest_grid,
)

WAVELENGTH = torch.linspace(4000.0, 8499.0, 4500, dtype=torch.float64)
LOG_WAVELENGTH = WAVELENGTH.log10()
LINE = 6564.6  # Å, rest frame


def line_spectra(redshift):
    """A flat continuum with one line of σ = 5 Å in the rest frame."""
    rest = WAVELENGTH / (1 + redshift[:, None])
    return torch.exp(-0.5 * ((rest - LINE) / 5) ** 2).float()


def make_guide(redshift, count=3):
    start, length = rest_grid(LOG_WAVELENGTH, redshift.min().item(), redshift.max().item())
    spectra = line_spectra(redshift)
    templates = fit_templates(spectra, redshift, LOG_WAVELENGTH, start, length, count)
    return RedshiftGuide(LOG_WAVELENGTH[None], start, templates)


@pytest.fixture(scope="module")
def guide():
    return make_guide(torch.linspace(0.05, 0.15, 40, dtype=torch.float64))


@pytest.mark.parametrize("redshift", [0.05, 0.087, 0.15])
def test_the_mean_template_puts_the_line_at_its_redshift(guide, redshift):
    mean = guide(torch.tensor([redshift]))[0, 0]
    assert WAVELENGTH[mean.argmax()].item() == pytest.approx(LINE * (1 + redshift), abs=1.0)
    expected = line_spectra(torch.tensor([redshift], dtype=torch.float64))[0]
    np.testing.assert_allclose(mean, expected, atol=0.02)


def test_an_unknown_redshift_gives_zeros(guide):
    guides = guide(torch.tensor([0.1, math.nan]))
    assert guides.shape == (2, 3, 4500) and torch.isfinite(guides).all()
    assert (guides[1] == 0).all() and not (guides[0] == 0).all()


def test_phases_of_a_guide_are_the_guide_at_their_wavelengths(guide):
    padded = torch.cat([LOG_WAVELENGTH, LOG_WAVELENGTH[-1:].expand(4)])
    phases = RedshiftGuide(
        padded.reshape(-1, 8).T.contiguous(), guide.rest_start.item(), guide.templates
    )
    assert phases.channels == 24
    redshift = torch.tensor([0.12])
    whole, parts = guide(redshift)[0], phases(redshift)[0].reshape(3, 8, 563)
    torch.testing.assert_close(parts[:, 3], whole[:, 3::8][:, :563])


def test_components_span_what_makes_spectra_differ():
    generator = torch.Generator().manual_seed(0)
    redshift = 0.05 + 0.1 * torch.rand(200, generator=generator, dtype=torch.float64)
    rest = WAVELENGTH / (1 + redshift[:, None])
    amplitude = torch.randn(200, 1, generator=generator)
    spectra = (amplitude * torch.exp(-0.5 * ((rest - 5008.2) / 8) ** 2)).float()
    start, length = rest_grid(LOG_WAVELENGTH, 0.05, 0.15)
    templates = fit_templates(spectra, redshift, LOG_WAVELENGTH, start, length, 2)
    peak = 10 ** (start + 1e-4 * templates[1].abs().argmax().item())
    assert peak == pytest.approx(5008.2, abs=1.0)
    assert templates[1].square().mean().sqrt().item() == pytest.approx(1.0, rel=0.01)


def gaussian_sample(count, seed):
    """Features that know the redshift up to a Gaussian error of 0.01."""
    generator = torch.Generator().manual_seed(seed)
    redshift = 0.05 + 0.1 * torch.rand(count, generator=generator)
    noisy = redshift + 0.01 * torch.randn(count, generator=generator)
    other = torch.randn(count, 3, generator=generator)
    return torch.cat([noisy[:, None], other], dim=1), redshift


@pytest.fixture(scope="module")
def head():
    return fit_head(gaussian_sample(4000, 1), gaussian_sample(500, 2), seed=0)


def test_head_is_as_good_as_the_features_allow_and_calibrated(head):
    features, redshift = gaussian_sample(2000, 3)
    pdf = head(features)
    median = head.quantile(pdf, torch.full((2000, 1), 0.5))[:, 0]
    assert 0.008 < (median - redshift).std().item() < 0.012
    for share in (0.1, 0.25, 0.75, 0.9):
        below = redshift < head.quantile(pdf, torch.full((2000, 1), share))[:, 0]
        assert below.float().mean().item() == pytest.approx(share, abs=0.04)


def test_fitting_a_head_is_reproducible_and_leaves_the_global_generator_alone(head):
    before = torch.get_rng_state()
    again = fit_head(gaussian_sample(4000, 1), gaussian_sample(500, 2), seed=0)
    assert torch.equal(before, torch.get_rng_state())
    for name, tensor in head.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


def test_quantiles_of_a_uniform_histogram_are_linear():
    head = RedshiftHead(1, 0.0, 1.0, bins=10).eval()
    pdf = torch.full((1, 10), math.log(0.1))
    shares = torch.tensor([[0.0, 0.05, 0.5, 0.95, 1.0]])
    torch.testing.assert_close(head.quantile(pdf, shares), shares, atol=1e-5, rtol=0)


def test_a_head_comes_back_from_its_state(head):
    features, _ = gaussian_sample(5, 9)
    again = RedshiftHead.from_state(head.state_dict())
    torch.testing.assert_close(again(features), head(features))


def test_the_embedding_tells_redshifts_apart_and_is_silent_without_one():
    torch.manual_seed(0)
    features = RedshiftEmbedding(32)(torch.tensor([0.1, 0.1001, 0.11, math.nan]))
    assert (features[3] == 0).all()
    near, far = (features[1:3] - features[0]).norm(dim=1) / features[0].norm()
    assert 0.05 < near < far
