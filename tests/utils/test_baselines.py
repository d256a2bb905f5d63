"""Baselines do what they say on data where the answer is known."""

import numpy as np

from utils import baselines

GENERATOR = np.random.default_rng(0)


def test_nearest_finds_the_galaxy_itself_first():
    features = GENERATOR.normal(size=(50, 3))
    found = baselines.nearest(features, features[:7], 4)
    assert found.shape == (7, 4)
    np.testing.assert_array_equal(found[:, 0], np.arange(7))


def test_nearest_standardises_each_feature():
    training = np.array([[0.0, 0.0], [1.0, 1000.0], [0.9, 0.0]])
    found = baselines.nearest(training, np.array([[1.0, 0.0]]), 1)
    assert found[0, 0] == 2


def test_climatology_draws_without_repetition_and_reproducibly():
    rows = baselines.climatology(100, 5, 16, seed=3)
    assert all(len(set(row)) == 16 for row in rows)
    np.testing.assert_array_equal(rows, baselines.climatology(100, 5, 16, seed=3))


def test_photometry_knows_colour_and_concentration():
    pixel = np.arange(64) - 31.5
    blob = np.exp(-0.5 * (pixel[:, None] ** 2 + pixel**2) / 9) * 100
    red = np.stack([blob * factor for factor in (0.2, 0.5, 1.0, 1.5, 2.0)])
    features = baselines.photometry(np.stack([red, red * 10]), 0.396)
    assert features.shape == (2, 10)
    # ten times the flux is 2.5 magnitudes brighter, of the same colours and concentration
    np.testing.assert_allclose(features[0, 0] - features[1, 0], 2.5, atol=1e-3)
    np.testing.assert_allclose(features[0, 1:], features[1, 1:], atol=2e-3)
    # g - r of the total flux: -2.5 log10(0.5)
    np.testing.assert_allclose(features[1, 2], 2.5 * np.log10(2), atol=2e-3)
