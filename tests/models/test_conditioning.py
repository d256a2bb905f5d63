"""Frozen stays frozen, joint learns."""

import pytest
import torch

from models.conditioning import FrozenCondition, ImageFeatures, JointCondition
from models.image_encoder import ImageEncoder
from models.property_heads import feature_count


@pytest.fixture
def images():
    return torch.randn(3, 5, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def frozen():
    torch.manual_seed(0)
    return FrozenCondition(ImageEncoder(18, embedding=16, width=8), width=24)


def test_tokens_are_the_map_and_the_unit_vector(frozen, images):
    features = frozen.features(images)
    assert features.map.shape == (3, 64, 2, 2)
    torch.testing.assert_close(features.embedding.norm(dim=1), torch.ones(3))
    tokens = frozen.tokens(features)
    assert tokens.shape == (3, 5, frozen.width) == (3, 5, 24)
    torch.testing.assert_close(tokens[:, 2], frozen.map_projection(features.map[:, :, 1, 0]))
    torch.testing.assert_close(tokens[:, 4], frozen.embedding_projection(features.embedding))


def test_the_vector_of_an_image_is_mean_map_embedding_and_photometry(frozen, images):
    photometry = torch.arange(30.0).reshape(3, 10)
    features = ImageFeatures.of(frozen.image_encoder, images, photometry)
    vector = features.vector()
    assert vector.shape == (3, feature_count(frozen.image_encoder)) == (3, 64 + 16 + 10)
    torch.testing.assert_close(vector[:, 7], features.map[:, 7].mean(dim=(1, 2)))
    torch.testing.assert_close(vector[:, 64:80], features.embedding)
    torch.testing.assert_close(vector[:, 80:], photometry)


def test_training_never_touches_the_frozen_tower(frozen, images):
    before = {name: value.clone() for name, value in frozen.image_encoder.state_dict().items()}
    frozen.train()
    assert frozen.map_projection.training
    frozen.tokens(frozen.features(images)).sum().backward()
    assert not any(module.training for module in frozen.image_encoder.modules())
    assert all(parameter.grad is None for parameter in frozen.image_encoder.parameters())
    assert frozen.map_projection[1].weight.grad is not None
    after = frozen.image_encoder.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_map_tokens_are_the_pixels_of_the_map_row_by_row(images):
    condition = JointCondition(ImageEncoder(18, embedding=None, width=8)).eval()
    feature_map = condition.image_encoder.feature_map(images)
    tokens = condition.tokens(condition.features(images))
    assert tokens.shape == (3, 4, condition.width) == (3, 4, 64)
    torch.testing.assert_close(tokens[:, 1], feature_map[:, :, 0, 1])
    torch.testing.assert_close(tokens[:, 2], feature_map[:, :, 1, 0])


def test_the_joint_encoder_learns(images):
    condition = JointCondition(ImageEncoder(18, embedding=None, width=8))
    condition.tokens(condition.features(images)).square().sum().backward()
    assert all(p.grad.abs().max() > 0 for p in condition.image_encoder.parameters())


def test_a_joint_encoder_with_a_last_layer_is_refused():
    with pytest.raises(ValueError, match="embedding=None"):
        JointCondition(ImageEncoder(18, embedding=16, width=8))
