"""Templates fitted to photometry: known mixtures are found again."""

import numpy as np
import pytest

from datasets.mock.build import make_mock
from datasets.survey import Survey
from datasets.synthetic_photometry import synthetic_nanomaggies
from utils.evaluation.template_fit import FILTER_ANGSTROM, TemplateFit, template_methods

BANDS = ["u", "g", "r", "i", "z"]
GRID = np.arange(4000.0, 8500.0)
TRAINING = np.random.default_rng(0).uniform(0.05, 0.15, 2000)


@pytest.fixture(scope="module")
def fit() -> TemplateFit:
    return TemplateFit.of(BANDS, TRAINING)


def test_coefficients_of_a_mixture_are_recovered(fit):
    wanted = np.array([0.0, 0.5, 0.0, 2.0, 0.3])
    place = 20
    flux = fit.photometry[place] @ wanted
    found = fit.coefficients(flux, 0.01 * flux, fit.redshift[place])
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    assert fit.chi2(flux, 0.01 * flux)[place] == pytest.approx(0, abs=1e-9)


def test_redshift_of_an_old_galaxy_is_found(fit):
    place = 30
    flux = fit.photometry[place] @ np.array([0.0, 0.0, 0.0, 1.0, 0.0])
    sampled = fit.sample(flux, 0.005 * flux, (np.arange(64) + 0.5) / 64)
    assert np.median(sampled) == pytest.approx(fit.redshift[place], abs=0.01)
    assert np.all(np.diff(sampled) >= 0)  # quantiles
    wide = fit.sample(flux, 0.2 * flux, (np.arange(64) + 0.5) / 64)
    assert wide.std() > 2 * sampled.std()


def test_spectrum_has_the_photometry_that_was_fitted(fit):
    """Synthetic photometry of the mixture, by hand, on the filters' own grid."""
    wanted, place = np.array([0.2, 0.1, 0.4, 1.0, 0.2]), 10
    z = fit.redshift[place]
    spectrum = np.interp(FILTER_ANGSTROM / (1 + z), fit.wavelength, wanted @ fit.templates)
    by_hand = synthetic_nanomaggies(FILTER_ANGSTROM, spectrum, BANDS)
    np.testing.assert_allclose(by_hand, fit.photometry[place] @ wanted, rtol=1e-3)
    shown = fit.spectrum(GRID, wanted, z)
    window = (GRID >= 5500) & (GRID < 7000)
    assert np.median(shown[window]) == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize("colour", [False, True])
def test_candidates_scatter_with_the_photometric_errors(tmp_path, colour):
    path = make_mock(tmp_path / "mock.h5", 4, 1, workers=1, progress=False, colour=colour)
    survey, rows = Survey(path), np.arange(4)
    redshift = survey.catalogue["z"][rows]
    methods = template_methods(survey, rows, 8, GRID, TRAINING, redshift, 1)
    if colour:  # pictures are not calibrated
        assert methods is None
        return
    free, given = methods
    assert free.redshift.shape == (4, 8)
    np.testing.assert_array_equal(given.redshift, np.repeat(redshift[:, None], 8, axis=1))
    other, _ = template_methods(survey, rows, 8, GRID, TRAINING[:1000], redshift, 1)
    assert len({method.version for method in (free, given, other)}) == 3  # n(z) counts, too
    flux = given.candidates(slice(1, 3))
    assert flux.shape == (2, 8, len(GRID))
    again = given.candidates(slice(0, 4))
    np.testing.assert_array_equal(flux, again[1:3])  # whatever the block
    spread = flux.std(axis=1).mean()
    assert 0.002 < spread < 0.3
