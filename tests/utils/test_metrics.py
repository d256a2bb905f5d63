"""Figures with answers known in closed form."""

import numpy as np
import pytest

from utils.metrics import (
    coverage,
    crps,
    judge,
    mean_squared_error,
    nominal_coverage,
    one_sigma_discard,
)

GENERATOR = np.random.default_rng(0)


def test_squared_error_of_a_constant_offset():
    truth = GENERATOR.normal(size=(3, 50))
    np.testing.assert_allclose(mean_squared_error(truth + 0.5, truth), 0.25, rtol=1e-12)


def test_crps_equals_its_double_sum():
    candidates, truth = GENERATOR.normal(size=(4, 7, 5)), GENERATOR.normal(size=(4, 5))
    pairs = np.abs(candidates[:, :, None] - candidates[:, None]).sum((1, 2)) / (2 * 7 * 6)
    expected = (np.abs(candidates - truth[:, None]).mean(1) - pairs).mean(-1)
    np.testing.assert_allclose(crps(candidates, truth), expected, rtol=1e-12)


def test_crps_of_a_calibrated_normal_ensemble():
    # truth and members from N(0, 1): E|X - Y| - E|X - X'|/2 = 1/sqrt(pi)
    candidates, truth = GENERATOR.normal(size=(1, 16, 200_000)), GENERATOR.normal(size=(1, 200_000))
    assert crps(candidates, truth)[0] == pytest.approx(1 / np.sqrt(np.pi), rel=0.01)


def test_crps_of_identical_candidates_is_the_absolute_error():
    truth = GENERATOR.normal(size=(2, 9))
    candidates = np.broadcast_to(truth[:, None] + 0.3, (2, 5, 9))
    np.testing.assert_allclose(crps(candidates, truth), 0.3, rtol=1e-12)


@pytest.mark.parametrize("discard", [0, 1, 2])
def test_coverage_of_a_calibrated_ensemble_is_nominal(discard):
    members = GENERATOR.normal(size=(1, 16, 100_000))
    truth = GENERATOR.normal(size=(1, 100_000))
    nominal = nominal_coverage(16, discard)
    assert coverage(members, truth, discard)[0] == pytest.approx(nominal, abs=0.006)
    # negative control: an ensemble half as wide covers clearly less
    assert coverage(members / 2, truth, discard)[0] < nominal - 0.1


def test_sixteen_candidates_leave_out_two_at_either_end():
    assert one_sigma_discard(16) == 2
    assert nominal_coverage(16, 2) == pytest.approx(11 / 17)


def test_oracle_is_the_nearest_candidate_and_best_the_chosen_one():
    truth = np.zeros((2, 3))
    candidates = np.stack([np.full((2, 3), value) for value in (3.0, 1.0, 2.0)], axis=1)
    judged = judge(candidates, truth, best=np.array([2, 0]), discard=0)
    np.testing.assert_array_equal(judged.mse_oracle, [1.0, 1.0])
    np.testing.assert_array_equal(judged.mse_best, [4.0, 9.0])
    np.testing.assert_array_equal(judged.mse_mean, [4.0, 4.0])
    np.testing.assert_array_equal(judged.mse_median, [4.0, 4.0])
