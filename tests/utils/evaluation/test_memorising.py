"""Distances to the nearest training spectrum."""

import numpy as np
import pytest

from utils.evaluation.memorising import memorising_metrics, nearest_distances, table

GENERATOR = np.random.default_rng(5)
GRID = np.arange(4000.0, 5000.0, 2.0)
TRAINING = GENERATOR.normal(1, 0.3, (1300, 1)) + GENERATOR.normal(0, 0.1, (1300, len(GRID)))


def read(part: slice) -> np.ndarray:
    return TRAINING[part]


def test_distances_are_those_of_a_search_by_hand():
    spectra = GENERATOR.normal(1, 0.3, (5, len(GRID)))
    blocks = (TRAINING[i : i + 512] for i in range(0, len(TRAINING), 512))
    found = nearest_distances(spectra, blocks)
    every = np.sqrt(((spectra[:, None] - TRAINING) ** 2).mean(axis=-1))
    np.testing.assert_allclose(found, every.min(axis=1), rtol=1e-6)


def test_copies_of_training_spectra_are_found():
    new = GENERATOR.normal(1, 0.3, (40, 1)) + GENERATOR.normal(0, 0.1, (40, len(GRID)))
    samples = {"copied": TRAINING[700:740], "new": new}
    metrics = memorising_metrics(GRID, samples, len(TRAINING), read)
    assert max(metrics["copied"]["pixels"]) == pytest.approx(0, abs=1e-6)
    assert min(metrics["new"]["pixels"]) > 0.1  # √2 times the noise, at least
    assert metrics["new"]["bins"][1] < metrics["new"]["pixels"][1]
    assert any("copied" in line for line in table(metrics))
