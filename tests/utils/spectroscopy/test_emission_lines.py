"""Emission lines of spectra whose fluxes and equivalent widths are known."""

import numpy as np
import pytest

from datasets.constants import SPEED_OF_LIGHT_KM_S
from datasets.line_list import LINES
from utils.spectroscopy.continuum import fit_continuum
from utils.spectroscopy.emission_lines import LineFit, fit_lines
from utils.spectroscopy.galaxy_templates import kcorrect_stars
from utils.spectroscopy.wavelength import REST_GRID

WAVELENGTH = np.arange(4000.0, 8500.0)
FLUXES = {
    "Hbeta": 30.0,
    "OIII4959": 20.0,
    "OIII5007": 60.0,
    "OI6300": 5.0,
    "NII6548": 12.0,
    "Halpha": 95.0,
    "NII6584": 36.0,
    "SII6716": 18.0,
    "SII6731": 14.0,
}


def emission(redshift: float, width_km_s: float, velocity_km_s: float = 0.0) -> np.ndarray:
    """Gaussians in wavelength with `FLUXES`, observed frame."""
    flux = np.zeros(WAVELENGTH.size)
    for name, total in FLUXES.items():
        centre = LINES[name][0] * (1.0 + redshift) * (1.0 + velocity_km_s / SPEED_OF_LIGHT_KM_S)
        sigma = centre * width_km_s / SPEED_OF_LIGHT_KM_S
        shape = np.exp(-0.5 * ((WAVELENGTH - centre) / sigma) ** 2)
        flux += total / (np.sqrt(2.0 * np.pi) * sigma) * shape
    return flux


def measured(
    flux: np.ndarray, redshift: np.ndarray, sigma: np.ndarray | None = None, every: int = 1
) -> LineFit:
    return fit_lines(fit_continuum(WAVELENGTH[::every], flux, sigma, redshift), redshift)


@pytest.mark.parametrize("width_km_s", [90.0, 180.0])
def test_gaussians_on_a_flat_continuum(width_km_s):
    redshift = np.array([0.06, 0.11])
    flux = np.stack([2.0 + emission(z, width_km_s, 40.0) for z in redshift])
    fit = measured(flux, redshift, np.full(flux.shape, 0.01))
    for name, total in FLUXES.items():
        np.testing.assert_allclose(fit.flux[name], total, rtol=0.01, err_msg=name)
        expected = total / 2.0 / (1.0 + redshift)
        np.testing.assert_allclose(fit.ew[name], expected, rtol=0.01, err_msg=name)
    np.testing.assert_allclose(fit.velocity_km_s, 40.0, atol=2.0)
    np.testing.assert_allclose(fit.width_km_s, width_km_s, rtol=0.05)


def test_oii_is_seen_where_it_is_covered():
    redshift = np.array([0.05, 0.10])
    line = 3728.485 * 1.10
    flux = 1.0 + np.stack([emission(z, 150.0) for z in redshift])
    flux[1] += 40.0 / (np.sqrt(2 * np.pi) * 3.0) * np.exp(-0.5 * ((WAVELENGTH - line) / 3.0) ** 2)
    fit = measured(flux, redshift, np.full(flux.shape, 0.02))
    assert np.isnan(fit.flux["OII3727"][0])
    assert fit.flux["OII3727"][1] == pytest.approx(40.0, rel=0.1)


def test_stellar_balmer_absorption_is_not_taken_from_the_emission():
    redshift = np.array([0.08])
    stars = np.interp(WAVELENGTH / 1.08, REST_GRID.angstrom, kcorrect_stars()[1])
    flux = (5.0 * stars + emission(0.08, 120.0))[None]
    fit = measured(flux, redshift, np.full(flux.shape, 0.02))
    assert fit.flux["Hbeta"][0] == pytest.approx(FLUXES["Hbeta"], rel=0.03)
    assert fit.flux["Halpha"][0] == pytest.approx(FLUXES["Halpha"], rel=0.03)


def test_errors_are_the_scatter_and_nothing_is_biased_at_low_signal():
    generator = np.random.default_rng(8)
    redshift = np.full(300, 0.09)
    clean = 1.0 + 0.05 * emission(0.09, 130.0)
    noisy = clean + generator.normal(0.0, 0.05, (300, WAVELENGTH.size))
    fit = measured(noisy, redshift, np.full(noisy.shape, 0.05))
    for name in ("Halpha", "Hbeta", "NII6584", "SII6731"):
        pull = (fit.flux[name] - 0.05 * FLUXES[name]) / fit.flux_err[name]
        assert abs(pull.mean()) < 0.3, name
        assert pull.std() == pytest.approx(1.0, abs=0.25), name


def test_equivalent_widths_have_the_errors_of_their_continuum():
    """Most of the error, for a strong line in a noisy spectrum."""
    redshift = np.full(200, 0.09)
    stars = np.interp(WAVELENGTH / 1.09, REST_GRID.angstrom, kcorrect_stars()[1])
    clean = (stars / np.median(stars) + 3.0 * emission(0.09, 130.0))[::2]
    sigma = np.full((200, clean.size), 0.3)
    noise = np.random.default_rng(10).normal(0.0, sigma)
    true = measured(clean[None], redshift[:1], sigma[:1], every=2)
    fit = measured(clean + noise, redshift, sigma, every=2)
    for name in ("Halpha", "OIII5007", "Hbeta"):
        pull = (fit.ew[name] - true.ew[name]) / fit.ew_err[name]
        assert pull.std() == pytest.approx(1.0, abs=0.2), name
    assert np.median(fit.ew_err["Halpha"] / fit.flux_err["Halpha"]) > 2.0 * np.median(
        fit.ew["Halpha"] / fit.flux["Halpha"]
    )


@pytest.mark.parametrize("covered", [(6000.0, 6600.0), (6400.0, 6700.0)])
def test_lines_at_the_end_of_a_short_spectrum_have_errors(covered):
    inside = (covered[0] < WAVELENGTH) & (covered[1] > WAVELENGTH)
    redshift = np.linspace(0.0, 0.6, 61)
    flux = np.random.default_rng(12).normal(1.0, 0.1, (len(redshift), inside.sum()))
    sigma = np.full(flux.shape, 0.1)
    fit = fit_lines(fit_continuum(WAVELENGTH[inside], flux, sigma, redshift), redshift)
    for name in LINES:
        assert np.isfinite(fit.flux_err[name][np.isfinite(fit.flux[name])]).all(), name
        assert np.isfinite(fit.ew_err[name][np.isfinite(fit.ew[name])]).all(), name
    assert any(np.isfinite(flux).any() for flux in fit.ew.values())


def test_pixels_wider_than_the_grid_s_do_not_count_twice():
    redshift = np.full(300, 0.09)
    clean = 1.0 + 0.05 * emission(0.09, 200.0)[::3]
    sigma = np.full((300, clean.size), 0.05)
    noisy = clean + np.random.default_rng(11).normal(0.0, sigma)
    fit = measured(noisy, redshift, sigma, every=3)
    for name in ("Halpha", "Hbeta", "NII6584"):
        pull = (fit.flux[name] - fit.flux[name].mean()) / fit.flux_err[name]
        assert pull.std() == pytest.approx(1.0, abs=0.15), name


def test_without_sigma_the_noise_is_found_correlation_included():
    generator = np.random.default_rng(9)
    noise = generator.normal(0.0, 0.1, (200, WAVELENGTH.size))
    kernel = np.exp(-0.5 * (np.arange(-8, 9) / 2.0) ** 2)
    smooth = np.apply_along_axis(np.convolve, 1, noise, kernel / kernel.sum(), "same")
    redshift = np.full(200, 0.09)
    for values in (noise, smooth):
        fit = measured(1.0 + values, redshift)
        pull = fit.flux["SII6716"] / fit.flux_err["SII6716"]
        assert pull.std() == pytest.approx(1.0, abs=0.3)
