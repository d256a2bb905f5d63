"""Measured once, kept, and the same for every method that uses a spectrum."""

import h5py
import numpy as np
import pytest

from utils.evaluation import measurement_cache as measuring
from utils.evaluation.candidate_sources import Method
from utils.evaluation.measurement_cache import (
    Spectroscope,
    measure_method,
    measure_training,
    rest_colour,
)

GRID = np.arange(4000.0, 8500.0)


@pytest.fixture
def spectroscope(tmp_path, monkeypatch):
    """Measures the mean of a spectrum and counts."""
    scope = Spectroscope(tmp_path / "measured.h5", GRID[:10], (0.0, 0.3), 2.0)
    calls = []

    def measure(self, flux, redshift):
        calls.append(len(flux))
        return {
            "Dn4000": flux.mean(axis=1),
            "z": np.zeros(len(flux)) if redshift is None else redshift,
        }

    monkeypatch.setattr(Spectroscope, "measure", measure)
    monkeypatch.setattr(measuring, "BLOCK", 7)
    return scope, calls


def test_candidates_come_back_in_their_places(spectroscope):
    scope, calls = spectroscope
    values = np.arange(15.0).reshape(5, 3)
    method = Method("test", lambda part: values[part, :, None] * np.ones(10))
    found = measure_method(scope, method, 5, 3)
    np.testing.assert_array_equal(found["Dn4000"], values)
    assert calls == [7, 7, 1]
    measure_method(scope, method, 5, 3)
    assert len(calls) == 3  # read, not measured again


def test_an_interrupted_measurement_goes_on(spectroscope):
    scope, calls = spectroscope

    def killed(part):
        if part.start >= 7:
            raise KeyboardInterrupt
        return np.ones((7, 10))

    with pytest.raises(KeyboardInterrupt):
        scope.source("test", 12, killed)
    found = scope.source("test", 12, lambda part: np.full((part.stop - part.start, 10), 2.0))
    assert calls == [7, 5]
    np.testing.assert_array_equal(found["Dn4000"], [1.0] * 7 + [2.0] * 5)


def test_a_cache_without_todays_columns_is_measured_again(spectroscope):
    scope, calls = spectroscope
    with h5py.File(scope.path, "w") as file:
        file["test/Dn4000"] = np.zeros(9)
        file["test"].attrs["done"] = 9
    found = scope.source("test", 9, lambda part: np.ones((part.stop - part.start, 10)))
    assert calls == [7, 2]
    np.testing.assert_array_equal(found["Dn4000"], 1.0)
    scope.source("test", 9, lambda part: None)
    assert len(calls) == 2


def test_each_training_galaxy_is_measured_once_at_its_own_redshift(spectroscope):
    scope, calls = spectroscope
    methods = [
        Method("a", lambda part: None, rows=np.array([[4, 2], [4, 9]])),
        Method("b", lambda part: None, rows=np.array([[2, 2], [30, 4]])),
    ]
    redshift = np.arange(40) / 100
    found = measure_training(scope, methods, lambda rows: rows[:, None] * np.ones(10), redshift)
    assert sum(calls) == 4
    for method in methods:
        np.testing.assert_array_equal(found[method.name]["Dn4000"], method.rows)
        np.testing.assert_array_equal(found[method.name]["z"], redshift[method.rows])


def test_rest_colour_does_not_know_the_redshift():
    rest = (GRID / 6000) ** 1.5
    z = np.array([0.05, 0.15, np.nan])
    flux = np.stack([np.interp(GRID, GRID * (1 + value), rest) for value in z[:2]] + [rest])
    found = rest_colour(GRID, flux, z)
    # f_ν ∝ λ^3.5 between 4275 and 5625 Å
    assert found[0] == pytest.approx(found[1], abs=0.01)
    assert found[0] == pytest.approx(2.5 * 3.5 * np.log10(5625 / 4275), abs=0.03)
    assert np.isnan(found[2])
