"""Redshifts of template spectra and of spectra without any."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from datasets.errors import UserError
from utils.spectroscopy.galaxy_templates import RedshiftTemplates
from utils.spectroscopy.redshift import fit_redshift
from utils.spectroscopy.wavelength import REST_GRID

WAVELENGTH = np.arange(4000.0, 8500.0)
TEMPLATES = RedshiftTemplates.default()


def spectra(redshift: np.ndarray, mixture: np.ndarray) -> np.ndarray:
    """Mixtures (N, K) of the default templates at known redshifts, median 1."""
    rest = mixture @ TEMPLATES.flux
    rows = zip(redshift, rest, strict=True)
    flux = np.stack([np.interp(WAVELENGTH / (1 + z), REST_GRID.angstrom, row) for z, row in rows])
    return flux / np.median(flux, axis=1, keepdims=True)


def quiescent_and_star_forming(count: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(4)
    redshift = generator.uniform(0.01, 0.3, count)
    mixture = np.zeros((count, len(TEMPLATES.flux)))
    mixture[:, 0] = 1.0
    mixture[1::2, 1] = 1.0
    mixture[1::2, 2:] = 4.0
    return redshift, mixture


def test_templates_are_found_where_they_are():
    redshift, mixture = quiescent_and_star_forming(20)
    fit = fit_redshift(WAVELENGTH, spectra(redshift, mixture), np.full((20, 4500), 0.01))
    np.testing.assert_allclose(fit.redshift, redshift, atol=2e-5)
    assert np.all(fit.margin > 100.0)


@pytest.mark.parametrize("first", [5000.0, 5500.0, 6000.0])
def test_a_line_that_no_redshift_brings_into_the_spectrum_does_no_harm(first):
    """[O II] of spectra that begin, or are masked, far to the red of it."""
    redshift, mixture = quiescent_and_star_forming(20)
    flux = spectra(redshift, mixture)
    generator = np.random.default_rng(2)
    sigma = np.full(flux.shape, 0.01)
    flux += generator.normal(0.0, sigma)
    red = first <= WAVELENGTH
    for given in (np.where(red, sigma, np.inf), None):
        fit = fit_redshift(WAVELENGTH, np.where(red, flux, np.nan), given)
        np.testing.assert_allclose(fit.redshift, redshift, atol=3e-4)
        assert np.all((fit.error > 1e-6) & (fit.error < 1e-3))
    fit = fit_redshift(WAVELENGTH[red], flux[:, red], sigma[:, red])
    np.testing.assert_allclose(fit.redshift, redshift, atol=3e-4)


def test_errors_are_the_scatter():
    redshift, mixture = quiescent_and_star_forming(2)
    flux = np.repeat(spectra(redshift, mixture), 60, axis=0)
    truth = np.repeat(redshift, 60)
    generator = np.random.default_rng(6)
    sigma = np.full(flux.shape, 0.1)
    fit = fit_redshift(WAVELENGTH, flux + generator.normal(0.0, sigma), sigma)
    pull = (fit.redshift - truth) / fit.error
    for galaxy in (slice(0, 60), slice(60, 120)):
        assert pull[galaxy].std() == pytest.approx(1.0, abs=0.35)
    free = fit_redshift(WAVELENGTH, flux + generator.normal(0.0, sigma))
    np.testing.assert_allclose(np.median(free.error[:60]), np.median(fit.error[:60]), rtol=0.2)


def test_without_sigma_the_noise_is_found_correlation_included():
    redshift, mixture = quiescent_and_star_forming(2)
    flux = np.repeat(spectra(redshift, mixture), 60, axis=0)
    noise = np.random.default_rng(7).normal(0.0, 0.2, flux.shape)
    fit = fit_redshift(WAVELENGTH, flux + gaussian_filter1d(noise, 2.0, axis=1))
    pull = (fit.redshift - np.repeat(redshift, 60)) / fit.error
    for galaxy in (slice(0, 60), slice(60, 120)):
        assert pull[galaxy].std() == pytest.approx(1.0, abs=0.35)


def test_spectra_of_equal_weights_share_their_matrix_and_nothing_else():
    redshift, mixture = quiescent_and_star_forming(6)
    generator = np.random.default_rng(8)
    flux = spectra(redshift, mixture) + generator.normal(0.0, 0.1, (6, 4500))
    together = fit_redshift(WAVELENGTH, flux)
    gap = flux.copy()
    gap[5, 2000:2100] = np.nan  # one of them has other weights: each has its own matrix
    apart = fit_redshift(WAVELENGTH, gap)
    for name in ("redshift", "error", "margin"):
        values = getattr(together, name), getattr(apart, name)
        np.testing.assert_allclose(values[0][:5], values[1][:5], rtol=1e-9, err_msg=name)


def test_every_eighth_pixel_is_enough():
    redshift, mixture = quiescent_and_star_forming(10)
    flux = spectra(redshift, mixture)[:, ::8]
    fit = fit_redshift(WAVELENGTH[::8], flux, redshift_range=(0.0, 0.31))
    np.testing.assert_allclose(fit.redshift, redshift, atol=5e-4)


def test_emission_lines_are_not_fitted_to_absorption():
    redshift, mixture = np.array([0.1]), np.zeros((1, len(TEMPLATES.flux)))
    mixture[:, 0] = 1.0
    flux = spectra(redshift, mixture)
    lines = TEMPLATES.flux[3]
    flux -= 6.0 * np.interp(WAVELENGTH / 1.3, REST_GRID.angstrom, lines)
    sigma = np.full(flux.shape, 0.05)
    assert fit_redshift(WAVELENGTH, flux, sigma).redshift[0] == pytest.approx(0.1, abs=1e-4)
    either_sign = RedshiftTemplates(TEMPLATES.flux, np.zeros(len(TEMPLATES.lines), bool))
    fooled = fit_redshift(WAVELENGTH, flux, sigma, templates=either_sign)
    assert fooled.redshift[0] == pytest.approx(0.3, abs=1e-3)


def test_a_spectrum_without_data_has_no_redshift():
    redshift, mixture = quiescent_and_star_forming(2)
    flux = spectra(redshift, mixture)
    flux[0] = np.nan
    fit = fit_redshift(WAVELENGTH, flux)
    assert np.isnan([fit.redshift[0], fit.error[0], fit.margin[0]]).all()
    assert fit.redshift[1] == pytest.approx(redshift[1], abs=2e-5)


def test_templates_that_never_overlap_are_refused():
    with pytest.raises(UserError, match="overlap too little"):
        fit_redshift(np.arange(10000.0, 11000.0), np.ones((1, 1000)))


@pytest.mark.parametrize(
    "limits", [(0.3, 0.0), (0.1, 0.1), (0.1, 0.1001), (-2.0, 0.3), (0.0, np.inf), (np.nan, 0.3)]
)
def test_ranges_without_redshifts_are_refused(limits):
    with pytest.raises(UserError, match=r"redshift range .* above"):
        fit_redshift(WAVELENGTH, np.ones((1, 4500)), redshift_range=limits)


def test_the_margin_is_over_another_redshift():
    redshift, mixture = np.array([0.0995, 0.1]), np.eye(len(TEMPLATES.flux))[[0, 0]]
    flux = spectra(redshift, mixture)
    narrow, wide = (
        fit_redshift(WAVELENGTH, flux, np.full(flux.shape, 0.01), redshift_range=limits)
        for limits in ((0.0995, 0.102), (0.0995, 0.107))
    )
    assert np.isnan(narrow.margin).all()  # all of it is within 1000 km/s of the best redshift
    np.testing.assert_allclose(wide.redshift, redshift, atol=1e-4)
    assert (wide.margin > 100.0).all()
