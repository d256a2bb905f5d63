"""Spectra are measured once, and again when they, the settings or the code have changed."""

from dataclasses import replace

import h5py
import numpy as np
import pytest

from utils.evaluation import measurement_cache as measuring
from utils.evaluation.measurement_cache import (
    Spectroscope,
    measure_method,
    measure_training,
    rest_colour,
)
from utils.evaluation.method import Method

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


OF = {"survey": "0123"}
ROWS = np.array([8, 1, 6, 3, 9])


def ones(part):
    return np.ones((part.stop - part.start, 10))


def test_candidates_come_back_best_first(spectroscope):
    scope, calls = spectroscope
    values = np.arange(15.0).reshape(5, 3)
    order = np.array([[2, 0, 1]] * 5)
    method = Method("test", lambda part: values[part, :, None] * np.ones(10), order=order)
    found = measure_method(scope, method, ROWS, 3, OF)
    np.testing.assert_array_equal(found["Dn4000"], values[:, [2, 0, 1]])
    assert calls == [7, 7, 1]
    measure_method(scope, method, ROWS, 3, OF)
    assert len(calls) == 3  # read, not measured again


def test_an_interrupted_measurement_continues(spectroscope):
    scope, calls = spectroscope

    def killed(part):
        if part.start >= 7:
            raise KeyboardInterrupt
        return np.ones((7, 10))

    with pytest.raises(KeyboardInterrupt):
        scope.cached("test", OF, 12, killed)
    found = scope.cached("test", OF, 12, lambda part: np.full((part.stop - part.start, 10), 2.0))
    assert calls == [7, 5]
    np.testing.assert_array_equal(found["Dn4000"], [1.0] * 7 + [2.0] * 5)


def test_a_cache_without_an_identity_is_measured_again(spectroscope, capsys):
    scope, calls = spectroscope
    with h5py.File(scope.path, "w") as file:
        file["test/Dn4000"] = np.zeros(9)
        file["test"].attrs["done"] = 9
    found = scope.cached("test", OF, 9, ones)
    assert calls == [7, 2]
    np.testing.assert_array_equal(found["Dn4000"], 1.0)
    assert "measured again" in capsys.readouterr().out
    scope.cached("test", OF, 9, lambda part: None)
    assert len(calls) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"redshift_range": (0.0, 0.4)},
        {"smoothing_sigma_angstrom": 3.0},
        {"wavelength_angstrom": GRID[1:11]},
    ],
)
def test_other_settings_measure_again(spectroscope, change, capsys):
    scope, calls = spectroscope
    scope.cached("test", OF, 5, ones)
    replace(scope, **change).cached("test", OF, 5, ones)
    assert calls == [5, 5]
    assert "measured again" in capsys.readouterr().out


def test_other_spectra_measure_again(spectroscope):
    scope, calls = spectroscope
    first, second = (Method("test", lambda part: ones(part)[:, None], version=v) for v in "ab")
    for method in (first, first, second):
        measure_method(scope, method, ROWS, 1, OF)
    assert calls == [5, 5]
    measure_method(scope, second, ROWS[::-1], 1, OF)
    measure_method(scope, second, ROWS[::-1], 1, {"survey": "4567"})
    assert calls == [5] * 4


def test_another_number_of_candidates_measures_again(spectroscope):
    scope, calls = spectroscope
    for count in (3, 2, 4):
        method = Method("test", lambda part, n=count: np.ones((part.stop - part.start, n, 10)))
        assert measure_method(scope, method, ROWS, count, OF)["Dn4000"].shape == (5, count)
    assert sum(calls) == 5 * (3 + 2 + 4)


def test_changed_code_measures_again(spectroscope, monkeypatch, capsys):
    scope, calls = spectroscope
    scope.cached("test", OF, 5, ones)
    monkeypatch.setattr(measuring, "code_digest", lambda *paths: "of tomorrow")
    scope.cached("test", OF, 5, ones)
    assert calls == [5, 5]
    assert "another code" in capsys.readouterr().out


def test_each_training_galaxy_is_measured_once_at_its_own_redshift(spectroscope):
    scope, calls = spectroscope
    methods = [
        Method("a", lambda part: None, rows=np.array([[4, 2], [4, 9]])),
        Method("b", lambda part: None, rows=np.array([[2, 2], [30, 4]])),
    ]
    redshift = np.arange(40) / 100

    def spectra(rows):
        return rows[:, None] * np.ones(10)

    found = measure_training(scope, methods, spectra, redshift, OF)
    assert sum(calls) == 4
    for method, columns in zip(methods, found, strict=True):
        np.testing.assert_array_equal(columns["Dn4000"], method.rows)
        np.testing.assert_array_equal(columns["z"], redshift[method.rows])


def test_candidates_at_given_redshifts_are_kept_apart(spectroscope):
    scope, calls = spectroscope
    redshift = np.array([[0.05, 0.07], [0.1, 0.12]])
    method = Method(
        "test", lambda part: np.ones((part.stop - part.start, 2, 10)), redshift=redshift
    )
    fitted = measure_method(scope, method, np.arange(2), 2, OF)
    given = measure_method(scope, method, np.arange(2), 2, OF, given=True)
    assert sum(calls) == 8
    np.testing.assert_array_equal(given["z"], redshift)
    assert not np.array_equal(fitted["z"], redshift)


def test_rest_colour_does_not_depend_on_the_redshift():
    rest = (GRID / 6000) ** 1.5
    z = np.array([0.05, 0.15, np.nan])
    flux = np.stack([np.interp(GRID, GRID * (1 + value), rest) for value in z[:2]] + [rest])
    found = rest_colour(GRID, flux, z)
    # f_ν ∝ λ^3.5 between 4275 and 5625 Å
    assert found[0] == pytest.approx(found[1], abs=0.01)
    assert found[0] == pytest.approx(2.5 * 3.5 * np.log10(5625 / 4275), abs=0.03)
    assert np.isnan(found[2])
