"""Frozen stays frozen, joint learns."""

import pytest
import torch

from models.conditioning import FrozenCondition, ImageFeatures, JointCondition
from models.image_encoder import ImageEncoder


@pytest.fixture
def images():
    return torch.randn(3, 5, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def frozen():
    torch.manual_seed(0)
    return FrozenCondition(64, 16, 10, width=24)


@pytest.fixture
def tower():
    torch.manual_seed(0)
    return ImageEncoder(18, embedding=16, width=8).eval()


def test_tokens_are_the_map_the_unit_vector_and_the_photometry(frozen, tower, images):
    photometry = torch.randn(3, 10)
    features = ImageFeatures.of(tower, images, photometry)
    assert features.map.shape == (3, 64, 2, 2)
    torch.testing.assert_close(features.embedding.norm(dim=1), torch.ones(3))
    tokens = frozen.tokens(features)
    assert tokens.shape == (3, 6, frozen.width) == (3, 6, 24)
    torch.testing.assert_close(tokens[:, 2], frozen.map_projection(features.map[:, :, 1, 0]))
    torch.testing.assert_close(tokens[:, 4], frozen.embedding_projection(features.embedding))
    torch.testing.assert_close(tokens[:, 5], frozen.photometry_projection(photometry))


def test_photometry_is_standardised_before_it_becomes_a_token(frozen):
    photometry = torch.randn(500, 10) * 3 + torch.arange(10.0)
    frozen.standardise(photometry)
    features = ImageFeatures(
        torch.zeros(1, 64, 2, 2), torch.zeros(1, 16), photometry.mean(dim=0)[None]
    )
    expected = frozen.photometry_projection(torch.zeros(1, 10))
    torch.testing.assert_close(frozen.tokens(features)[:, 5], expected, rtol=1e-4, atol=1e-5)


def test_no_gradient_reaches_the_frozen_tower(frozen, tower, images):
    frozen.tokens(ImageFeatures.of(tower, images, torch.zeros(3, 10))).sum().backward()
    assert all(parameter.grad is None for parameter in tower.parameters())
    assert frozen.map_projection[1].weight.grad is not None


def test_map_tokens_are_the_pixels_of_the_map_row_by_row(images):
    condition = JointCondition(ImageEncoder(18, embedding=None, width=8)).eval()
    feature_map = condition.image_encoder.feature_map(images)
    tokens = condition.tokens(images)
    assert tokens.shape == (3, 4, condition.width) == (3, 4, 64)
    torch.testing.assert_close(tokens[:, 1], feature_map[:, :, 0, 1])
    torch.testing.assert_close(tokens[:, 2], feature_map[:, :, 1, 0])


def test_the_joint_encoder_learns(images):
    condition = JointCondition(ImageEncoder(18, embedding=None, width=8))
    condition.tokens(images).square().sum().backward()
    assert all(p.grad.abs().max() > 0 for p in condition.image_encoder.parameters())


def test_a_joint_encoder_with_a_last_layer_is_refused():
    with pytest.raises(ValueError, match="embedding=None"):
        JointCondition(ImageEncoder(18, embedding=16, width=8))
