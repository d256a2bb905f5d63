"""Bootstrap errors against those of textbooks."""

import numpy as np
import pytest

from utils.evaluation import bootstrap
from utils.evaluation.bootstrap import (
    correlation,
    mean_difference,
    with_error,
    with_interval,
)

VALUES = np.random.default_rng(2).normal(3.0, 2.0, 400)


def test_error_of_a_mean_and_of_a_median():
    assert with_error(np.mean, VALUES)["error"] == pytest.approx(2 / np.sqrt(400), rel=0.15)
    expected = np.sqrt(np.pi / 2) * 2 / np.sqrt(400)
    assert with_error(np.median, VALUES)["error"] == pytest.approx(expected, rel=0.4)


def test_interval_holds_the_value_and_has_the_right_width():
    found = with_interval(np.mean, VALUES)
    assert found["low"] < found["value"] < found["high"]
    assert found["high"] - found["low"] == pytest.approx(2 * 1.96 * 2 / np.sqrt(400), rel=0.15)


def test_columns_are_resampled_together():
    shifted = with_interval(mean_difference, VALUES + 1.0, VALUES)
    assert shifted["low"] == pytest.approx(1.0) and shifted["high"] == pytest.approx(1.0)
    other = with_interval(mean_difference, VALUES[::-1], VALUES)  # negative control
    assert other["high"] - other["low"] > 0.3


def test_blocks_make_no_difference(monkeypatch):
    whole = with_error(np.mean, VALUES)
    monkeypatch.setattr(bootstrap, "VALUES_AT_ONCE", 1000)
    assert with_error(np.mean, VALUES) == pytest.approx(whole)


def test_correlation_is_numpys_and_nan_without_variance():
    x, y = VALUES, VALUES + np.random.default_rng(4).normal(0, 2, 400)
    assert correlation(x, y) == pytest.approx(np.corrcoef(x, y)[0, 1])
    assert np.isnan(correlation(np.ones(9), np.arange(9.0)))


def test_few_galaxies_have_no_error():
    assert np.isnan(list(with_error(np.mean, np.array([])).values())).all()
    one = with_interval(np.mean, np.array([3.0]))
    assert one["value"] == 3.0 and np.isnan([one["low"], one["high"]]).all()
