"""Bootstrap errors against the textbook's."""

import numpy as np
import pytest

from utils.evaluation import bootstrap as resampling
from utils.evaluation.bootstrap import (
    bootstrap,
    correlation,
    mean,
    median,
    scatter,
    with_error,
    with_interval,
)

VALUES = np.random.default_rng(2).normal(3.0, 2.0, 400)


def test_error_of_a_mean_and_of_a_median():
    assert with_error(mean, VALUES)["error"] == pytest.approx(2 / np.sqrt(400), rel=0.15)
    expected = np.sqrt(np.pi / 2) * 2 / np.sqrt(400)
    assert with_error(median, VALUES)["error"] == pytest.approx(expected, rel=0.4)


def test_interval_holds_the_value_and_has_the_right_width():
    found = with_interval(mean, VALUES)
    assert found["low"] < found["value"] < found["high"]
    assert found["high"] - found["low"] == pytest.approx(2 * 1.96 * 2 / np.sqrt(400), rel=0.15)


def test_columns_are_resampled_together():
    other = VALUES + 1.0
    differences = bootstrap(lambda a, b: (b - a).mean(axis=-1), VALUES, other)
    np.testing.assert_allclose(differences, 1.0)
    assert np.std(bootstrap(mean, VALUES)) > 0.05  # negative control


def test_blocks_do_not_change_the_number_of_draws(monkeypatch):
    monkeypatch.setattr(resampling, "VALUES_AT_ONCE", 1000)
    assert bootstrap(mean, VALUES, draws=7).shape == (7,)


def test_scatter_is_sigma_of_a_normal_distribution_and_ignores_outliers():
    many = np.random.default_rng(3).normal(0, 2, 20_000)
    assert scatter(many) == pytest.approx(2, rel=0.03)
    assert scatter(np.append(many, np.full(100, 1e6))) == pytest.approx(2, rel=0.04)


def test_correlation_is_numpys_and_nan_without_variance():
    x, y = VALUES, VALUES + np.random.default_rng(4).normal(0, 2, 400)
    assert correlation(x, y) == pytest.approx(np.corrcoef(x, y)[0, 1])
    assert np.isnan(correlation(np.ones(9), np.arange(9.0)))


def test_no_galaxies_no_figure():
    assert np.isnan(with_error(mean, np.array([]))["value"])
