"""Scores of synthetic spectra with known answers."""

import numpy as np
import pytest

from utils.evaluation.aggregate import flux_metrics, paired_differences, without_nan
from utils.evaluation.method import Method
from utils.evaluation.pixel_metrics import WINDOWS_ANGSTROM, coarse, score_method
from utils.evaluation.subgroups import by_subgroup

GRID = np.arange(4000.0, 8500.0, 8.0)
N, P = 70, 9
GENERATOR = np.random.default_rng(8)
TRUTH = GENERATOR.normal(1, 0.2, (N, 1)) + GENERATOR.normal(0, 0.1, (N, len(GRID)))


def scored(candidates, **about):
    method = Method("test", lambda part: candidates[part], **about)
    return score_method(method, np.arange(N), lambda rows: TRUTH[rows], GRID, np.arange(N), 0)


def test_coarse_pixels_are_means_over_wavelength():
    flux = np.stack([GRID, GRID**0])
    binned = coarse(GRID, flux)
    assert binned.shape == (2, 45)
    np.testing.assert_allclose(binned[1], 1)
    inside = (GRID >= 4100) & (GRID < 4200)
    assert binned[0, 1] == pytest.approx(GRID[inside].mean())


def test_blocks_of_galaxies_make_no_difference(monkeypatch):
    candidates = TRUTH[:, None] + GENERATOR.normal(0, 0.1, (N, P, len(GRID)))
    whole = scored(candidates)
    monkeypatch.setattr("utils.evaluation.pixel_metrics.BLOCK", 1000)
    once = scored(candidates)
    for name, values in whole.errors.items():
        assert values.shape == (N,)
        np.testing.assert_allclose(values, once.errors[name])
    assert whole.spread.ratio() == pytest.approx(once.spread.ratio())


def test_windows_are_scored_apart():
    noise = np.where(GRID < 5000, 0.02, 0.1)  # too narrow in the first window
    centre = TRUTH - GENERATOR.normal(0, 0.1, TRUTH.shape)
    candidates = centre[:, None] + noise * GENERATOR.normal(size=(N, P, len(GRID)))
    pit = scored(candidates).calibration()["pit"]
    assert list(pit) == list(WINDOWS_ANGSTROM)
    assert pit["4000–5000 Å"][0] > 0.3
    np.testing.assert_allclose(pit["7000–8500 Å"], 1 / (P + 1), atol=0.015)


def test_ratios_differences_and_subgroups():
    far = np.where(np.arange(N) < 20, 0.4, 0.2)[:, None, None]
    errors = {
        "generated": scored(TRUTH[:, None] + 0.5 * far * np.ones((P, 1)), ranked=True).errors,
        "constant": scored(TRUTH[:, None] + far * np.ones((P, 1)), spread=False).errors,
        "climatology": scored(TRUTH[:, None] + far * np.ones((P, 1))).errors,
    }
    metrics = flux_metrics(errors)
    assert metrics["generated"]["mse_mean_ratio"] == pytest.approx(0.25, rel=1e-5)
    assert metrics["generated"]["crps_ratio"] == pytest.approx(0.5, rel=1e-5)
    assert "coverage_68" not in metrics["constant"]
    found = paired_differences(errors)["constant"]["mse_mean"]
    assert found["value"] == pytest.approx(-0.75, rel=1e-5)
    assert found["low"] < found["value"] < found["high"]
    masks = {"far": np.arange(N) < 20, "near": np.arange(N) >= 20}
    groups = by_subgroup(masks, errors, "constant")
    assert groups["far"]["galaxies"] == 20
    assert groups["far"]["methods"]["generated"]["mse_mean_ratio"] == pytest.approx(0.25, rel=1e-5)
    assert groups["near"]["methods"]["generated"]["crps"] == pytest.approx(0.1, rel=1e-4)


def test_json_has_null_for_what_is_not_a_number():
    assert without_nan({"a": [np.nan, 1.0], "b": {"c": np.inf}}) == {
        "a": [None, 1.0],
        "b": {"c": None},
    }
