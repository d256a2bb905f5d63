"""p(z) from draws, against the distribution that they come from."""

import numpy as np
from scipy.stats import norm

from utils.generation.redshift_pdf import BINS, redshift_pdf, silverman_bandwidth

GENERATOR = np.random.default_rng(5)


def test_the_histogram_is_that_of_the_distribution():
    draws = GENERATOR.normal(0.1, 0.01, (3, 20_000))
    probability, edges = redshift_pdf(draws, 0.05, 0.15)
    assert probability.shape == (3, BINS) and len(edges) == BINS + 1
    np.testing.assert_allclose(probability.sum(axis=1), 1, rtol=1e-5)
    expected = np.diff(norm.cdf(edges, 0.1, 0.01))
    np.testing.assert_allclose(probability, np.tile(expected, (3, 1)), atol=2e-3)


def test_probability_beyond_the_range_is_left_out():
    probability, _ = redshift_pdf(np.full((1, 64), 0.05), 0.05, 0.15)
    assert probability.sum() > 0.999 and probability[0, 0] > 0.6 and probability[0, 50:].max() == 0


def test_the_bandwidth_of_a_normal_distribution():
    draws = GENERATOR.normal(0, 0.02, (1, 10_000))
    assert abs(silverman_bandwidth(draws)[0] / (0.9 * 0.02 * 10_000**-0.2) - 1) < 0.03
