"""Networks from configurations: weights files of another network are refused with their key."""

from __future__ import annotations

import pytest
import torch

from datasets.errors import UserError
from models.image_encoder import ImageEncoder
from utils.core.config import DiffusionConfig, TowersConfig
from utils.core.model_factory import build_contrastive, joint_condition


def test_imagenet_weights_of_another_depth_are_refused_with_their_key(tmp_path):
    path = tmp_path / "resnet34.pth"
    torch.save(ImageEncoder(34, 3, embedding=1000).state_dict(), path)
    with pytest.raises(UserError, match=r"towers\.imagenet_weights: .*resnet34"):
        build_contrastive(TowersConfig(image_depth=18, imagenet_weights=str(path)), 3, 8, 563)
    config = DiffusionConfig(condition="joint", imagenet_weights=str(path))
    with pytest.raises(UserError, match=r"diffusion\.imagenet_weights: .*resnet34"):
        joint_condition(config, 3)


def test_imagenet_weights_that_are_not_there_or_no_state_dict_are_refused(tmp_path):
    (tmp_path / "text.pth").write_text("text")
    for name, reason in (("none.pth", "no such weights file"), ("text.pth", "state dict")):
        config = DiffusionConfig(condition="joint", imagenet_weights=str(tmp_path / name))
        with pytest.raises(UserError, match=reason):
            joint_condition(config, 3)
