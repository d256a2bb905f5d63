"""Calibration in bins, and the numbers of tables."""

import numpy as np
import pytest

from utils.evaluation.bootstrap import mean_with_error, ratio_with_error
from utils.evaluation.calibration import coverage_of, pit_intervals
from utils.evaluation.conditional import conditional_coverage, quantile_bins, table
from utils.evaluation.markdown import decimals, interval, plus_minus

GENERATOR = np.random.default_rng(2)


def test_bins_hold_equal_numbers_and_every_galaxy():
    masks = quantile_bins("r", GENERATOR.normal(size=1000))
    assert [mask.sum() for mask in masks.values()] == [250] * 4
    assert np.sum(list(masks.values()), axis=0).max() == 1


@pytest.mark.parametrize(
    ("values", "sizes"),
    [
        ([0] * 30 + [1] * 10, [30, 10]),
        ([5] * 40, []),
        ([1, 2], [1, 1]),
        (1e-5 * np.arange(40), [10] * 4),
    ],
)
def test_equal_and_close_values_have_bins_with_galaxies_and_names_that_differ(values, sizes):
    masks = quantile_bins("r", 17 + np.array(values))
    assert [mask.sum() for mask in masks.values()] == sizes


def test_a_generator_that_is_right_only_on_average_is_seen():
    values = np.linspace(0, 1, 4000)
    sigma = np.where(values < 0.5, 0.3, 3.0)  # of the candidates; the truth scatters by 1
    candidates = sigma[:, None] * GENERATOR.normal(size=(4000, 16))
    covered = coverage_of(pit_intervals(candidates, GENERATOR.normal(size=4000)), 0.68)
    found = conditional_coverage(quantile_bins("r", values, 2), {"pixels": covered})
    narrow, wide = found.values()
    assert narrow["pixels"]["value"] < 0.35 and wide["pixels"]["value"] > 0.95
    assert narrow["galaxies"] == 2000
    assert len(table(found)) == 5


def test_coverage_of_calibrated_candidates_is_nominal():
    sample = GENERATOR.normal(size=(20_000, 17))
    covered = coverage_of(pit_intervals(sample[:, 1:], sample[:, 0]), 0.68)
    assert covered.mean() == pytest.approx(0.68, abs=0.01)


def test_error_of_a_mean_and_of_a_paired_ratio():
    unit = GENERATOR.uniform(1, 2, 400)
    assert ratio_with_error(3 * unit, unit) == pytest.approx({"value": 3.0, "error": 0.0}, abs=1e-9)
    ratios = []
    for _ in range(500):
        rows = GENERATOR.integers(400, size=400)
        ratios.append((unit**2)[rows].mean() / unit[rows].mean())
    assert ratio_with_error(unit**2, unit)["error"] == pytest.approx(np.std(ratios), rel=0.15)
    assert mean_with_error(unit)["error"] == pytest.approx(unit.std(ddof=1) / 20)


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (0.5432, 0.0123, "0.543 ± 0.012"),
        (0.5432, 0.0421, "0.54 ± 0.04"),
        (123.4, 15.2, "123 ± 15"),
        (1.0, 0.0, "1"),
        (float("nan"), 0.1, "–"),
    ],
)
def test_digits_follow_the_error(value, error, text):
    assert plus_minus({"value": value, "error": error}) == text


def test_intervals_show_the_sign():
    entry = {"value": -0.0123, "low": -0.0234, "high": -0.0012}
    assert interval(entry) == "-0.012 (-0.023 to -0.001)"
    assert interval(None) == "–" and decimals(0.0) == 3


def test_numbers_of_a_network_that_diverged_stay_short():
    assert plus_minus({"value": 2.3e37, "error": 1.1e37}) == "2e+37 ± 1e+37"
    assert interval({"value": 5.2e9, "low": 1e3, "high": 7e9}) == "+5e+09 (+1e+03 to +7e+09)"
    assert plus_minus({"value": 999.4, "error": 12.0}) == "999 ± 12"
