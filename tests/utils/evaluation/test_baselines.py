"""Baselines on data with known answers."""

import numpy as np
import torch

from datasets.photometry import aperture_features
from utils.evaluation import baselines

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


def test_climatology_is_reproducible_and_without_repetition():
    rows = baselines.climatology(100, 5, 16, seed=3)
    assert all(len(set(row)) == 16 for row in rows)
    np.testing.assert_array_equal(rows, baselines.climatology(100, 5, 16, seed=3))


def test_photometry_measures_colour_and_concentration():
    pixel = np.arange(64) - 31.5
    blob = np.exp(-0.5 * (pixel[:, None] ** 2 + pixel**2) / 9) * 100
    red = np.stack([blob * factor for factor in (0.2, 0.5, 1.0, 1.5, 2.0)])
    features = aperture_features(torch.from_numpy(np.stack([red, red * 10])), 0.396).numpy()
    assert features.shape == (2, 10)
    # ten times the flux is 2.5 magnitudes brighter, of the same colours and concentration
    np.testing.assert_allclose(features[0, 0] - features[1, 0], 2.5, atol=1e-3)
    np.testing.assert_allclose(features[0, 1:], features[1, 1:], atol=2e-3)
    # g - r of the total flux: -2.5 log10(0.5)
    np.testing.assert_allclose(features[1, 2], 2.5 * np.log10(2), atol=2e-3)


def test_most_similar_are_the_largest_scalar_products(monkeypatch):
    training, test = GENERATOR.normal(size=(60, 8)), GENERATOR.normal(size=(9, 8))
    monkeypatch.setattr(baselines, "SIMILARITY_VALUES", 120)  # two rows at a time
    found = baselines.most_similar(training, test, 5)
    np.testing.assert_array_equal(found, np.argsort(-(test @ training.T), axis=1)[:, :5])


def test_residuals_keep_the_prediction_and_the_spread():
    prediction = GENERATOR.normal(size=(40, 30))
    residuals = GENERATOR.normal(0, 0.3, size=(200, 30))
    seeds, own = np.arange(40), np.full(40, -1)
    found = baselines.with_residuals(prediction, residuals, own, 16, seeds)
    np.testing.assert_allclose(found.mean(axis=1), prediction, atol=1e-12)
    np.testing.assert_allclose((found - prediction[:, None]).std(), 0.3, rtol=0.05)
    again = baselines.with_residuals(prediction[3:5], residuals, own[3:5], 16, seeds[3:5])
    np.testing.assert_array_equal(again, found[3:5])


def test_a_galaxy_never_gets_its_own_residual():
    residuals = np.zeros((20, 4))
    residuals[7] = 100.0
    found = baselines.with_residuals(
        np.zeros((2, 4)), residuals, np.array([7, -1]), 19, np.array([0, 1])
    )
    assert np.abs(found[0]).max() == 0 < np.abs(found[1]).max()
