"""Comparisons of measured quantities with known answers."""

import numpy as np
import pytest

from utils.evaluation.derived_quantities import (
    QUANTITIES,
    compare,
    estimates,
    joint_tarp,
    true_values,
    with_constant,
)
from utils.evaluation.method import CLIMATOLOGY, CONSTANT
from utils.spectroscopy.measurements import column_units

N, P = 800, 16
GENERATOR = np.random.default_rng(5)


def columns(values, secure=None):
    return {"Dn4000": values, "secure": np.ones(N) if secure is None else secure}


def test_bias_scatter_and_correlation_of_a_shifted_noisy_copy():
    true = GENERATOR.normal(1.5, 0.3, N)
    guess = true + 0.1 + GENERATOR.normal(0, 0.05, N)
    found = compare("Dn4000", columns(true), {"Dn4000": guess[:, None] * np.ones(P)})
    assert found["galaxies"] == N
    assert found["bias"]["value"] == pytest.approx(0.1, abs=4 * found["bias"]["error"])
    assert found["scatter"]["value"] == pytest.approx(0.05, rel=0.1)
    expected = 0.3 / np.hypot(0.3, 0.05)
    assert found["correlation"]["value"] == pytest.approx(expected, abs=0.01)
    assert found["bias"]["error"] == pytest.approx(0.05 * np.sqrt(np.pi / 2 / N), rel=0.4)
    assert "coverage_68" not in found  # equal candidates claim no uncertainty


def test_coverage_of_candidates_like_the_truth_and_of_narrow_ones():
    centre = GENERATOR.normal(1.5, 0.3, N)
    true = centre + GENERATOR.normal(0, 0.1, N)
    candidates = centre[:, None] + GENERATOR.normal(0, 0.1, (N, P))
    calibrated = compare("Dn4000", columns(true), {"Dn4000": candidates})
    assert calibrated["coverage_68"]["value"] == pytest.approx(0.68, abs=0.05)
    assert sum(calibrated["pit"]) == pytest.approx(1)
    narrow = centre[:, None] + 0.3 * (candidates - centre[:, None])
    assert compare("Dn4000", columns(true), {"Dn4000": narrow})["coverage_68"]["value"] < 0.45


def test_redshift_errors_are_relative_to_one_plus_z():
    true = np.full(N, 0.25)
    guess = np.where(np.arange(N) < N // 4, 0.25 + 0.03 * 1.25, 0.25)
    found = compare("z", {"z": true, "secure": np.ones(N)}, {"z": guess[:, None] * np.ones(P)})
    assert found["outliers"]["value"] == pytest.approx(0.25)
    assert found["mean_bias"]["value"] == pytest.approx(0.25 * 0.03)
    assert found["bias"]["value"] == 0 and found["scatter"]["value"] == 0


def test_line_ratios_count_only_where_the_true_lines_are_secure():
    secure = (np.arange(N) < 10).astype(float)
    truth = {"log_nii_halpha": np.zeros(N), "z": np.zeros(N), "secure": secure}
    assert np.isfinite(true_values(truth, "log_nii_halpha")).sum() == 10
    assert np.isfinite(true_values(truth, "z")).sum() == N


def test_every_quantity_is_a_column_that_is_measured():
    measured = column_units(populations=True).keys() | {"iron", "rest_colour"}
    assert QUANTITIES.keys() <= measured


def test_estimates_leave_out_what_was_not_measured():
    values = np.array([[1.0, np.nan, 3.0], [np.nan, np.nan, np.nan]])
    np.testing.assert_array_equal(estimates(values), [2.0, np.nan])


def test_the_constant_is_one_number_for_all():
    climatology = {"Dn4000": GENERATOR.normal(1.5, 0.3, (N, P))}
    constant = with_constant({CLIMATOLOGY: climatology})[CONSTANT]["Dn4000"]
    assert constant.shape == (N, P) and np.ptp(constant) == 0
    assert constant[0, 0] == pytest.approx(1.5, abs=0.02)


def test_joint_tarp_of_climatology_is_calibrated_when_it_is_the_population():
    def population(*shape):
        names = ("z", "Dn4000", "Mgb", "HdeltaA", "Halpha_ew")
        return {name: GENERATOR.normal(size=shape) for name in names}

    truth, climatology = population(N), population(N, P)
    off = {name: values + 1.0 for name, values in climatology.items()}
    off["z"][:10] = np.nan  # galaxies without a measurement do not count
    found = joint_tarp(truth, {CLIMATOLOGY: climatology, "off": off}, 4, 0)
    assert found[CLIMATOLOGY].shape == (N, 4, 2) and found["off"].shape == (N - 10, 4, 2)
    assert found[CLIMATOLOGY].mean() == pytest.approx(0.5, abs=0.03)
    assert found["off"].mean() < 0.4
