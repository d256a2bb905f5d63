"""Photometry against closed forms and against SDSS's own figures for real spectra."""

import h5py
import numpy as np
import pytest

from datasets.photometry import aperture_nanomaggies
from datasets.synthetic_photometry import (
    covered_bands,
    scale_to_photometry,
    synthetic_nanomaggies,
)
from tests.support import REAL_DATA

SPECTRA = REAL_DATA / "sdss_spectra.h5"
GRID = np.arange(4000.0, 8500.0)


def ab_source(nanomaggies: float) -> np.ndarray:
    """f_λ in 1e-17 erg/s/cm²/Å of a source with the same f_ν everywhere."""
    return nanomaggies * 1e-9 * 3631e-23 * 2.99792458e18 / GRID**2 * 1e17


def test_aperture_of_uniform_and_of_gaussian_light():
    uniform = np.ones((2, 3, 64, 64))
    area = np.pi * 1.5**2 / 0.396**2
    np.testing.assert_allclose(aperture_nanomaggies(uniform, 0.396), area, rtol=2e-3)
    y, x = (np.mgrid[:64, :64] - 31.5) * 0.396
    sigma = 1.2
    gaussian = np.exp(-(x**2 + y**2) / (2 * sigma**2)) * 0.396**2 / (2 * np.pi * sigma**2)
    expected = 1 - np.exp(-(1.5**2) / (2 * sigma**2))
    assert aperture_nanomaggies(gaussian[None], 0.396)[0] == pytest.approx(expected, rel=0.01)


def test_an_ab_source_has_its_flux_in_every_covered_band():
    assert covered_bands(GRID) == ("r", "i")
    seen = synthetic_nanomaggies(GRID, ab_source(7.0), covered_bands(GRID))
    np.testing.assert_allclose(seen, 7, rtol=1e-3)


def test_scale_restores_the_flux_of_a_normalised_spectrum():
    flux = ab_source(50.0) * (1 + 0.3 * np.sin(GRID / 500))
    measured = dict(zip("gri", synthetic_nanomaggies(GRID, flux, "gri"), strict=True))
    scale = scale_to_photometry(GRID, flux / np.median(flux), measured)
    assert scale == pytest.approx(np.median(flux), rel=1e-9)


def test_no_scale_without_light_or_covered_bands():
    flux = np.ones_like(GRID)
    assert scale_to_photometry(GRID, flux, {"u": 1.0, "g": 3.0}) is None
    assert scale_to_photometry(GRID, flux, {"r": -0.1, "i": 0.0}) is None
    assert scale_to_photometry(GRID, -flux, {"r": 1.0}) is None


@pytest.mark.skipif(not SPECTRA.exists(), reason="real survey data not at hand")
def test_real_spectra_have_the_flux_that_sdss_states():
    with h5py.File(SPECTRA) as file:
        wavelength = 10 ** file["loglam"][:]
        whole = np.flatnonzero((file["ivar"][:300] > 0).mean(1) > 0.97)
        flux, stated = file["flux"][:300][whole], file["spectroflux"][:300][whole]
    seen = synthetic_nanomaggies(wavelength, flux, ("r", "i"))
    ratio = seen / stated[:, 2:4]
    assert len(ratio) > 100
    np.testing.assert_allclose(np.median(ratio, axis=0), 1, atol=0.005)
