"""Scores of synthetic spectra with known answers."""

import numpy as np
import pytest

from utils.evaluation.aggregate import flux_metrics, paired_differences, without_nan
from utils.evaluation.method import CLIMATOLOGY, Method
from utils.evaluation.pixel_metrics import score_method
from utils.evaluation.question import observed_question
from utils.evaluation.subgroups import by_subgroup

GRID = np.arange(4000.0, 8500.0, 8.0)
N, P = 70, 9
GENERATOR = np.random.default_rng(8)
TRUTH = GENERATOR.normal(1, 0.2, (N, 1)) + GENERATOR.normal(0, 0.1, (N, len(GRID)))


def scored(candidates, name="test", **about):
    method = Method(name, lambda part: candidates[part], **about)
    question = observed_question(GRID, N, lambda part: TRUTH[part], TRUTH.astype("f4"))
    return score_method(method, question, 0)


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
    assert list(pit) == ["4000–5000 Å", "5000–6000 Å", "6000–7000 Å", "7000–8500 Å"]
    assert pit["4000–5000 Å"][0] > 0.3
    np.testing.assert_allclose(pit["7000–8500 Å"], 1 / (P + 1), atol=0.015)


def test_the_climatology_is_scored_with_its_reference_spectra():
    """The same for every choice of its few candidates."""
    few = scored(np.repeat(TRUTH[:1, None], P, axis=1).repeat(N, axis=0), CLIMATOLOGY)
    others = scored(TRUTH[GENERATOR.integers(N, size=(N, P))], CLIMATOLOGY)
    for name in ("crps", "energy", "energy_100"):
        np.testing.assert_array_equal(few.errors[name], others.errors[name])
    assert not np.allclose(few.errors["mse_mean"], others.errors["mse_mean"])


def test_ratios_differences_and_subgroups():
    far = np.where(np.arange(N) < 20, 0.4, 0.2)[:, None, None]
    errors = {
        "generated": scored(TRUTH[:, None] + 0.5 * far * np.ones((P, 1)), ranked=True).errors,
        "constant": scored(TRUTH[:, None] + far * np.ones((P, 1)), spread=False).errors,
        "climatology": scored(TRUTH[:, None] + far * np.ones((P, 1))).errors,
    }
    metrics = flux_metrics(errors)
    assert metrics["generated"]["mse_mean_ratio"]["value"] == pytest.approx(0.25, rel=1e-5)
    # every galaxy has the same ratio: the paired error is zero
    assert metrics["generated"]["mse_mean_ratio"]["error"] == pytest.approx(0, abs=1e-6)
    for score in ("crps", "energy", "energy_100"):
        found = metrics["generated"][f"{score}_ratio"]
        assert found["value"] == pytest.approx(0.5, rel=1e-4), score
    assert "coverage_68" not in metrics["constant"]
    found = paired_differences(errors)["constant"]["mse_mean"]
    assert found["value"] == pytest.approx(-0.75, rel=1e-5)
    assert found["low"] < found["value"] < found["high"]
    masks = {"far": np.arange(N) < 20, "near": np.arange(N) >= 20}
    groups = by_subgroup(masks, errors, "climatology", "constant")
    mean = np.where(np.arange(N) < 20, 0.4, 0.2).mean()
    assert groups["far"]["galaxies"] == 20
    assert groups["far"]["crps"]["value"] == pytest.approx(0.2 / mean, rel=1e-4)
    assert groups["near"]["crps"]["difference"]["value"] == pytest.approx(-0.1 / mean, rel=1e-4)


def test_json_has_null_for_what_is_not_a_number():
    assert without_nan({"a": [np.nan, 1.0], "b": {"c": np.inf}}) == {
        "a": [None, 1.0],
        "b": {"c": None},
    }
