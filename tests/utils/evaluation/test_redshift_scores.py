"""Scores of redshift samples with answers in closed form."""

import numpy as np
import pytest
from scipy.stats import norm

from utils.evaluation.calibration import pit_histogram, pit_intervals
from utils.evaluation.redshift_scores import (
    SMALLEST_DENSITY,
    fifths,
    histogram_scores,
    log_score,
    redshift_metrics,
    redshift_scores,
)
from utils.generation.redshift_pdf import SMALLEST_BANDWIDTH

GENERATOR = np.random.default_rng(3)
SIGMA = 0.01


def test_log_score_of_many_samples_is_that_of_their_distribution():
    samples = GENERATOR.normal(0.1, SIGMA, (20, 20_000))
    truth = np.linspace(0.08, 0.12, 20)
    expected = -norm.logpdf(truth, 0.1, SIGMA)
    np.testing.assert_allclose(log_score(samples, truth), expected, atol=0.1)


def test_log_score_of_equal_samples_has_the_smallest_bandwidth():
    found = log_score(np.full((1, 16), 0.1), np.array([0.1 + SMALLEST_BANDWIDTH]))
    assert found[0] == pytest.approx(-norm.logpdf(1) + np.log(SMALLEST_BANDWIDTH), rel=1e-6)


def test_calibrated_samples_have_the_nominal_coverage_and_a_flat_pit():
    centre = GENERATOR.normal(0.1, 0.02, (20_000, 1))
    samples = centre + GENERATOR.normal(0, SIGMA, (20_000, 16))
    truth = (centre + GENERATOR.normal(0, SIGMA, (20_000, 1)))[:, 0]
    metrics = redshift_metrics(redshift_scores(samples, truth))
    assert metrics["coverage_68"]["value"] == pytest.approx(0.68, abs=0.01)
    assert metrics["coverage_95"]["value"] == pytest.approx(0.95, abs=0.005)
    # CRPS of a calibrated normal distribution: σ/√π
    assert metrics["crps"]["value"] == pytest.approx(SIGMA / np.sqrt(np.pi), rel=0.02)
    pit = pit_histogram(pit_intervals(samples, truth), 17)
    np.testing.assert_allclose(pit, 1 / 17, atol=0.006)
    assert metrics["crps"]["error"] == pytest.approx(0.6 * SIGMA / np.sqrt(20_000), rel=0.5)


def test_one_number_for_all_claims_no_uncertainty():
    scores = redshift_scores(np.full((5, 4), 0.1), np.linspace(0.08, 0.12, 5))
    assert "coverage_68" not in scores and "log_score" not in scores
    np.testing.assert_allclose(scores["crps"], np.abs(np.linspace(0.08, 0.12, 5) - 0.1))


def test_histograms_by_hand():
    edges = np.array([0.0, 0.1, 0.3])
    probability = np.array([[0.25, 0.75]] * 3)
    found = histogram_scores(probability, edges, np.array([0.05, 0.2, 0.4]))
    np.testing.assert_allclose(
        found["log_score_pdf"], [-np.log(2.5), -np.log(3.75), -np.log(SMALLEST_DENSITY)]
    )
    np.testing.assert_allclose(found["pit_pdf"], [0.125, 0.625, 1.0])


def test_pit_histograms_in_fifths():
    np.testing.assert_allclose(fifths([1 / 17] * 17), 0.2)
    np.testing.assert_allclose(fifths([0.5, 0.5, 0, 0, 0, 0, 0, 0, 0, 0]), [1, 0, 0, 0, 0])
    uniform = np.histogram(GENERATOR.uniform(size=50_000), 17, (0, 1))[0] / 50_000
    np.testing.assert_allclose(fifths(uniform), 0.2, atol=0.01)
