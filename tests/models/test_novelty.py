"""p-values of images: uniform for images like the training's, smallest for others."""

from __future__ import annotations

import torch

from models.conditioning import ImageFeatures
from models.novelty import NoveltyTest


def features(count: int, seed: int, shift: float = 0.0) -> ImageFeatures:
    """Correlated Gaussian features; the last photometric one is a sum of two others."""
    generator = torch.Generator().manual_seed(seed)
    embedding = torch.randn(count, 6, generator=generator)
    photometry = torch.randn(count, 3, generator=generator) * torch.tensor([1.0, 10.0, 0.3])
    photometry[:, 2] = photometry[:, 0] + embedding[:, 0] + photometry[:, 2] + shift
    return ImageFeatures(torch.zeros(count, 1, 1, 1), embedding, photometry)


def fitted(validation: int = 999) -> NoveltyTest:
    return NoveltyTest.fit(features(4000, 1), features(validation, 2))


def test_distance_is_that_of_mahalanobis():
    test, training = fitted(), features(4000, 1)
    values = torch.cat([training.embedding, training.photometry], dim=1).double()
    centred = values - values.mean(dim=0)
    expected = (centred @ torch.linalg.inv(centred.T.cov()) * centred).sum(dim=1)
    assert abs(expected.mean().item() - 9) < 0.01  # features
    torch.testing.assert_close(test.distance(training).double(), expected, rtol=0.1, atol=0.1)


def test_p_values_of_images_like_the_training_are_uniform():
    p = fitted(9999)(features(5000, 3))
    for level in (0.01, 0.1, 0.5, 0.9):
        assert abs((p <= level).double().mean().item() - level) < 0.03, level


def test_an_unusual_combination_of_usual_values_is_noticed():
    p = fitted()(features(200, 4, shift=3.0))  # twice the σ of that feature
    assert (p == 1 / 1000).double().mean() > 0.9


def test_features_that_are_not_finite_are_as_unusual_as_can_be():
    broken = features(2, 5)
    broken.photometry[0, 0] = torch.nan
    p = fitted(99)(broken)
    assert p[0] == 0.01 < p[1]


def test_few_calibration_images_still_flag_the_most_unusual():
    broken = features(1, 5)
    broken.photometry[0, 0] = torch.inf
    for count in (30, 5000):
        test = fitted(count)
        assert test(broken).item() <= test.limit
        assert test.limit == max(0.015, 1.001 / (count + 1))


def test_the_state_restores_the_test():
    test, images = fitted(50), features(20, 6)
    restored = NoveltyTest.from_state(test.state_dict())
    torch.testing.assert_close(restored(images), test(images))
