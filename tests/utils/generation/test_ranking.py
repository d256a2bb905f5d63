"""Colours of spectra and images against closed forms and against real spectra."""

from types import SimpleNamespace

import h5py
import numpy as np
import pytest

from datasets.photometry import image_colours
from datasets.synthetic_photometry import filter_weights, synthetic_colours
from tests.support import REAL_DATA, needs_real_data
from utils.generation.ranking import ranking_scores

GRID = np.arange(4000.0, 8500.0)


def test_colours_of_a_power_law():
    # f_ν ∝ λ^k has g − r of about −2.5 k log10 of the ratio of the effective wavelengths
    flat = synthetic_colours(GRID, 1e6 / GRID**2)
    np.testing.assert_allclose(flat, 0, atol=0.006)  # AB: flat f_ν has no colour
    red = synthetic_colours(GRID, (GRID / 6000) ** 2 / GRID**2)
    np.testing.assert_allclose(red[0], 5 * np.log10(6165 / 4686), atol=0.05)
    np.testing.assert_allclose(red[1], 5 * np.log10(7481 / 6165), atol=0.05)


def test_the_unit_of_the_flux_does_not_matter_and_negative_flux_has_no_colour():
    flux = 1 + 0.3 * np.sin(GRID / 700)
    np.testing.assert_allclose(synthetic_colours(GRID, flux), synthetic_colours(GRID, 7e-9 * flux))
    assert np.isnan(synthetic_colours(GRID, -flux)).all()


def test_spectra_that_begin_too_late_have_no_g():
    late = GRID[GRID > 4600]
    colours = synthetic_colours(late, np.ones_like(late))
    assert np.isnan(colours[0]) and np.isfinite(colours[1])


def test_low_resolution_has_the_same_colours():
    flux = 1 + 0.3 * np.sin(GRID / 700)
    coarse = synthetic_colours(GRID[::8], flux[::8])
    np.testing.assert_allclose(coarse, synthetic_colours(GRID, flux), atol=2e-3)


@needs_real_data
def test_the_missing_blue_end_of_g_costs_two_millimagnitudes():
    with h5py.File(REAL_DATA / "sdss_spectra.h5") as file:
        wavelength = 10 ** file["loglam"][:]
        whole = np.flatnonzero((file["ivar"][:400] > 0).mean(1) > 0.97)
        flux, sn = file["flux"][:400][whole], file["sn"][:400][whole]
    flux = flux[sn > 8]
    weights = filter_weights(wavelength, ("g", "r"))
    g, r = (np.trapezoid(flux * w, wavelength) for w in weights)
    inside = (wavelength >= 4000) & (wavelength <= 8499)
    ours = synthetic_colours(wavelength[inside], flux[:, inside])[:, 0]
    difference = ours + 2.5 * np.log10(g / r)
    assert len(difference) > 100
    assert np.median(np.abs(difference)) < 0.002
    assert np.percentile(np.abs(difference), 95) < 0.006


def test_image_colours_see_the_aperture_only():
    image = np.zeros((5, 64, 64))
    image[:, 30:34, 30:34] = np.array([1.0, 2.0, 4.0, 6.0, 7.0])[:, None, None]
    image[1:4, :10, :10] = 1000.0  # a neighbour outside the aperture
    survey = SimpleNamespace(bands=tuple("ugriz"), pixel_scale_arcsec=0.396, image_unit="nanomaggy")
    found = image_colours(image, survey)
    np.testing.assert_allclose(found, 2.5 * np.log10([4 / 2, 6 / 4]), rtol=1e-9)
    survey.image_unit = "count"
    assert np.isnan(image_colours(image, survey)).all()


@pytest.mark.parametrize("ranking", ["photometric", "both"])
def test_a_candidate_without_a_colour_comes_last(ranking):
    differences = np.array([[0.2, 0.1], [np.nan, 0.0], [0.1, 0.1]])
    scores = ranking_scores(ranking, np.zeros(3), differences, 0.05)
    assert np.argsort(-scores).tolist() == [2, 0, 1]


def test_rankings():
    similarity = np.array([[0.5, 0.4, 0.1]])
    differences = np.array([[[0.3, 0.0], [0.02, 0.0], [0.0, 0.0]]])
    best = {
        name: int(ranking_scores(name, similarity, differences, 0.05).argmax())
        for name in ("contrastive", "photometric", "both")
    }
    assert best == {"contrastive": 0, "photometric": 2, "both": 1}
    unknown = ranking_scores("both", similarity, np.full((1, 3, 2), np.nan), 0.05)
    np.testing.assert_allclose(unknown, similarity / 0.05)
    assert ranking_scores("photometric", similarity, differences, 0.05)[0, 2] == pytest.approx(0)
