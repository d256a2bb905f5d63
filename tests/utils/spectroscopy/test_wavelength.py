"""Air and vacuum, grids, resampling."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.wavelengths import air_to_vacuum, refractive_index
from utils.spectroscopy.wavelength import (
    REST_GRID,
    LogGrid,
    fill_bad_pixels,
    good_pixels,
    pixel_edges,
    resample,
    weights_on_grid,
)


@pytest.mark.parametrize(
    ("air", "vacuum"),
    [(5889.951, 5891.583), (5006.843, 5008.240), (6562.80, 6564.61), (3933.66, 3934.77)],
)
def test_wavelengths_of_the_sdss_line_list(air, vacuum):
    assert air_to_vacuum(air) == pytest.approx(vacuum, abs=0.01)
    assert vacuum / refractive_index(vacuum) == pytest.approx(air, abs=0.01)


@given(st.floats(2500.0, 12000.0))
def test_the_conversion_has_an_inverse(vacuum):
    assert air_to_vacuum(vacuum / refractive_index(vacuum)) == pytest.approx(vacuum, abs=1e-8)


def test_parts_of_a_grid_are_grids():
    window = REST_GRID.window(4000.0, 5000.0)
    np.testing.assert_allclose(window.angstrom, REST_GRID.angstrom[REST_GRID.part(4000.0, 5000.0)])
    assert window.km_s == pytest.approx(69.03, abs=0.01)


def test_resampling_brings_features_to_rest():
    wavelength = np.arange(4000.0, 8500.0)
    redshift = np.array([0.05, 0.12])
    line = 6564.61 * (1.0 + redshift)[:, None]
    flux = np.exp(-0.5 * ((wavelength - line) / 5.0) ** 2)
    grid = LogGrid(np.log10(6000.0), 700)
    rest = resample(wavelength, flux, redshift, grid)
    peak = np.sum(grid.angstrom * rest, axis=1) / rest.sum(axis=1)
    np.testing.assert_allclose(peak, 6564.61, atol=0.05)


def test_straight_lines_survive_resampling_and_the_outside_is_zero():
    wavelength = np.arange(5000.0, 6000.0)
    grid = LogGrid(np.log10(4900.0), 1000)
    rest = resample(wavelength, (2.0 * wavelength + 1.0)[None], np.zeros(1), grid)[0]
    inside = (grid.angstrom >= 5000.0) & (grid.angstrom <= 5999.0)
    np.testing.assert_allclose(rest[inside], 2.0 * grid.angstrom[inside] + 1.0)
    assert np.all(rest[~inside] == 0)


def test_bad_pixels_get_no_weight_and_neighbours_fill_them():
    wavelength = np.arange(5000.0, 5100.0)
    flux = np.ones((1, 100))
    flux[0, 50] = np.nan
    sigma = np.full((1, 100), 2.0)
    sigma[0, 20] = np.inf
    good = good_pixels(flux, sigma)
    assert np.flatnonzero(~good[0]).tolist() == [20, 50]
    assert np.all(fill_bad_pixels(flux, good) == 1.0)
    grid = LogGrid(np.log10(5000.1), 80)
    weight = weights_on_grid(wavelength, good, sigma, np.zeros(1), grid)[0]
    near = np.abs(grid.angstrom[:, None] - [5020.0, 5050.0]).min(axis=1) < 1.0
    assert np.all(weight[near] == 0)
    np.testing.assert_allclose(weight[~near & (grid.angstrom < 5098)], 0.25)


def test_edges_lie_between_centres():
    np.testing.assert_allclose(pixel_edges(np.array([1.0, 2.0, 4.0])), [0.5, 1.5, 3.0, 5.0])
