"""Dn4000 and Lick indices of spectra whose indices are known."""

import numpy as np
import pytest

from datasets.wavelengths import air_to_vacuum
from utils.spectroscopy.lick_indices import LICK_INDICES, measure_indices

WAVELENGTH = np.arange(3800.0, 8000.0)


def at_rest(redshift: float) -> np.ndarray:
    return WAVELENGTH / (1.0 + redshift)


def test_there_are_25_indices():
    assert len(LICK_INDICES) == 25
    for index in LICK_INDICES.values():
        assert index.blue[0] < index.blue[1] <= index.red[0] < index.red[1]
        assert index.band[0] < index.band[1]


@pytest.mark.parametrize("redshift", [0.03, 0.0712, 0.15])
def test_a_step_in_f_nu_is_its_dn4000(redshift):
    rest = at_rest(redshift)
    flux = np.where(rest > 3975.0, 1.7, 1.0) / rest**2
    measured = measure_indices(WAVELENGTH, flux[None], None, np.array([redshift]))
    assert measured["Dn4000"][0] == pytest.approx(1.7, rel=1e-12)


def test_a_straight_continuum_has_no_absorption():
    flux = (3.0 - 2e-4 * WAVELENGTH)[None]
    measured = measure_indices(WAVELENGTH, flux, None, np.array([0.04]))
    for name in LICK_INDICES:
        assert measured[name][0] == pytest.approx(0.0, abs=1e-4), name


@pytest.mark.parametrize("redshift", [0.0, 0.0837])
def test_a_box_that_holds_the_band_but_no_side_band(redshift):
    low, high = air_to_vacuum(np.array([4140.0, 4179.0]))
    rest = at_rest(redshift)
    flux = np.where((rest > low) & (rest < high), 0.8, 1.0)
    cn1 = measure_indices(WAVELENGTH, flux[None], None, np.array([redshift]))["CN1"][0]
    assert cn1 == pytest.approx(-2.5 * np.log10(0.8), rel=1e-10)
    low, high = air_to_vacuum(np.array([4220.8, 4237.5]))
    flux = np.where((rest > low) & (rest < high), 0.8, 1.0)
    ca4227 = measure_indices(WAVELENGTH, flux[None], None, np.array([redshift]))["Ca4227"][0]
    assert ca4227 == pytest.approx(0.2 * np.ptp(air_to_vacuum(np.array([4222.25, 4234.75]))))


def test_a_gaussian_line_on_a_slope_has_its_equivalent_width():
    redshift, sigma, width = 0.06, 3.0, 2.5
    rest = at_rest(redshift)
    continuum = 1.0 + 1e-4 * (rest - 5000.0)
    centre = air_to_vacuum(0.5 * (5387.5 + 5415.0))
    depth = width / (np.sqrt(2.0 * np.pi) * sigma)
    flux = continuum * (1.0 - depth * np.exp(-0.5 * ((rest - centre) / sigma) ** 2))
    measured = measure_indices(WAVELENGTH, flux[None], None, np.array([redshift]))
    assert measured["Fe5406"][0] == pytest.approx(width, rel=2e-3)


def test_errors_are_the_scatter_of_noisy_spectra():
    generator = np.random.default_rng(5)
    rest = at_rest(0.05)
    clean = (1.0 + 0.3 * (rest > 4000.0)) * (1.0 - 0.2 * np.exp(-0.5 * ((rest - 4862) / 5) ** 2))
    sigma = np.full((600, rest.size), 0.05)
    noisy = clean + generator.normal(0.0, sigma)
    measured = measure_indices(WAVELENGTH, noisy, sigma, np.full(600, 0.05))
    for name in ("Dn4000", "Hbeta", "HdeltaA", "Mgb", "CN1", "TiO2"):
        scatter = measured[name].std()
        assert np.median(measured[f"{name}_err"]) == pytest.approx(scatter, rel=0.12), name


def test_what_is_not_covered_is_nan():
    flux = np.ones((3, WAVELENGTH.size))
    flux[2, np.abs(WAVELENGTH - 4862.0 * 1.05) < 15.0] = np.nan
    measured = measure_indices(WAVELENGTH, flux, None, np.array([-0.02, np.nan, 0.05]))
    assert np.isnan(measured["Dn4000"]).tolist() == [True, True, False]
    assert np.isnan(measured["Hbeta"]).tolist() == [False, True, True]
    assert np.isnan(measured["Mgb"]).tolist() == [False, True, False]
    assert np.isnan(measured["Mgb_err"]).all()
