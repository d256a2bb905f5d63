"""Redshift as a condition: guides sit where the physics says, p(z | image) is calibrated."""

import numpy as np
import pytest
import torch

from models.spectral_basis import SpectralBasis, fit_basis, rest_grid

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
    snr = torch.ones(len(spectra))
    templates = fit_basis(spectra, redshift, snr, LOG_WAVELENGTH, start, length, count)
    return SpectralBasis(LOG_WAVELENGTH[None], start, templates)


@pytest.fixture(scope="module")
def guide():
    return make_guide(torch.linspace(0.05, 0.15, 40, dtype=torch.float64))


@pytest.mark.parametrize("redshift", [0.05, 0.087, 0.15])
def test_the_mean_template_puts_the_line_at_its_redshift(guide, redshift):
    mean = guide(torch.tensor([redshift]))[0, 0, 0]
    assert WAVELENGTH[mean.argmax()].item() == pytest.approx(LINE * (1 + redshift), abs=1.0)
    expected = line_spectra(torch.tensor([redshift], dtype=torch.float64))[0]
    np.testing.assert_allclose(mean, expected, atol=0.02)


def test_phases_of_a_guide_are_the_guide_at_their_wavelengths(guide):
    padded = torch.cat([LOG_WAVELENGTH, LOG_WAVELENGTH[-1:].expand(4)])
    phases = SpectralBasis(
        padded.reshape(-1, 8).T.contiguous(), guide.rest_start.item(), guide.templates
    )
    redshift = torch.tensor([0.12])
    whole, parts = guide(redshift)[0, :, 0], phases(redshift)[0]
    torch.testing.assert_close(parts[:, 3], whole[:, 3::8][:, :563])


def test_components_span_what_makes_spectra_differ():
    generator = torch.Generator().manual_seed(0)
    redshift = 0.05 + 0.1 * torch.rand(200, generator=generator, dtype=torch.float64)
    rest = WAVELENGTH / (1 + redshift[:, None])
    amplitude = torch.randn(200, 1, generator=generator)
    spectra = (amplitude * torch.exp(-0.5 * ((rest - 5008.2) / 8) ** 2)).float()
    start, length = rest_grid(LOG_WAVELENGTH, 0.05, 0.15)
    templates = fit_basis(spectra, redshift, torch.ones(200), LOG_WAVELENGTH, start, length, 2)
    peak = 10 ** (start + 1e-4 * templates[1].abs().argmax().item())
    assert peak == pytest.approx(5008.2, abs=1.0)
    assert templates[1].square().mean().sqrt().item() == pytest.approx(1.0, rel=0.01)


def test_outlying_spectra_have_no_part_in_the_components():
    generator = torch.Generator().manual_seed(1)
    redshift = 0.05 + 0.1 * torch.rand(200, generator=generator, dtype=torch.float64)
    rest = WAVELENGTH / (1 + redshift[:, None])
    strength = torch.randn(200, 1, generator=generator)
    spectra = (strength * torch.exp(-0.5 * ((rest - 5008.2) / 8) ** 2)).float()
    start, length = rest_grid(LOG_WAVELENGTH, 0.05, 0.15)
    snr = torch.ones(200)
    clean = fit_basis(spectra, redshift, snr, LOG_WAVELENGTH, start, length, 2)
    spectra[3] += 30 * torch.randn(spectra.shape[1], generator=generator)  # not a galaxy
    fitted = fit_basis(spectra, redshift, snr, LOG_WAVELENGTH, start, length, 3)
    overlap = (fitted[1] @ clean[1] / length).abs().item()
    assert overlap == pytest.approx(1.0, abs=0.01)


def test_noisy_spectra_count_less_in_the_components():
    """One line of varying strength in 50 good and 250 noisy spectra: the shape of the component is
    known, and equal weights find it less well."""
    generator = torch.Generator().manual_seed(2)
    redshift = 0.05 + 0.1 * torch.rand(300, generator=generator, dtype=torch.float64)
    rest = WAVELENGTH / (1 + redshift[:, None])
    strength = torch.randn(300, 1, generator=generator)
    line = (strength * torch.exp(-0.5 * ((rest - 5008.2) / 30) ** 2)).float()
    snr = torch.where(torch.arange(300) < 50, 10.0, 0.7)
    spectra = line + torch.randn(line.shape, generator=generator) / snr[:, None]
    start, length = rest_grid(LOG_WAVELENGTH, 0.05, 0.15)
    wavelength = 10 ** (start + 1e-4 * torch.arange(length))
    shape = torch.exp(-0.5 * ((wavelength - 5008.2) / 30) ** 2)
    overlap = {}
    for name, weights in (("weighted", snr), ("equal", torch.ones(300))):
        component = fit_basis(spectra, redshift, weights, LOG_WAVELENGTH, start, length, 2)[1]
        overlap[name] = abs(torch.cosine_similarity(component, shape, dim=0).item())
    assert overlap["weighted"] > 0.95
    assert overlap["equal"] < 0.9
