"""Checkpoints: each weight once, the tower shared, other formats and missing files refused."""

from __future__ import annotations

import pytest
import torch

import train_generative
from datasets.errors import UserError
from datasets.photometry import PHOTOMETRY_VERSION
from tests.support import tiny
from utils.core.checkpoints import (
    load_contrastive,
    load_generator,
    read_checkpoint,
    trained_weights,
    with_data_of,
)
from utils.core.config import GenerativeConfig
from utils.generation.conditions import image_features


def tensors(values):
    """Every tensor in nested dicts and lists."""
    if isinstance(values, torch.Tensor):
        return [values]
    items = values.values() if isinstance(values, dict) else values
    nested = isinstance(values, dict | list | tuple)
    return [tensor for item in items for tensor in tensors(item)] if nested else []


def test_best_holds_each_weight_once_and_no_optimiser(tiny_towers, tiny_generator):
    for path in (tiny_towers, tiny_generator):
        best = read_checkpoint(path)
        assert not best.keys() & {"optimiser", "scheduler", "average", "best"}
        matrices = [tensor for tensor in tensors(best) if tensor.ndim > 1 and tensor.std() > 0]
        pairs = [(a, b) for i, a in enumerate(matrices) for b in matrices[:i]]
        assert not any(a.shape == b.shape and torch.equal(a, b) for a, b in pairs)


def test_towers_from_before_photometry_was_part_of_them_see_images_alone(tiny_towers, tmp_path):
    checkpoint = read_checkpoint(tiny_towers)
    del checkpoint["about"]["config"]["towers"]["photometry"]
    for name in [name for name in checkpoint["network"] if name.startswith("photometry_encoder.")]:
        del checkpoint["network"][name]
    torch.save(checkpoint, tmp_path / "older.pt")
    older, towers = load_contrastive(tmp_path / "older.pt"), load_contrastive(tiny_towers)
    images = torch.rand(3, 5, 64, 64, generator=torch.Generator().manual_seed(1))
    features = image_features(older, images)
    vectors = older.network.encode_images(older.images.evaluation(images))
    assert torch.equal(features.embedding, vectors)
    assert torch.equal(older.vectors_of(features), vectors)
    assert torch.equal(image_features(towers, images).embedding, vectors)
    assert not torch.equal(towers.vectors_of(features), vectors)


def test_last_holds_the_frozen_tower_once(tiny_generator):
    last = read_checkpoint(tiny_generator.with_name("last.pt"))
    assert last.keys() >= {"optimiser", "scheduler", "average", "best", "trainer", "network"}
    parts = ("network", "average", "parameters")
    assert not any("image_encoder" in name for part in parts for name in last[part])
    assert any(name.startswith("image_encoder.") for name in last["contrastive"]["weights"])


def test_a_generator_has_the_trained_weights_of_all_its_networks(tiny_towers, tiny_generator):
    stage, towers = load_generator(tiny_generator), load_contrastive(tiny_towers)
    first = read_checkpoint(tiny_generator.parent / "parameters" / "best.pt", "parameters")
    for module, weights in (
        (stage.contrastive.network, towers.network.state_dict()),
        (stage.parameters, trained_weights(first)),
        (stage.network, read_checkpoint(tiny_generator)["network"]),
    ):
        state = module.state_dict()
        assert state.keys() == weights.keys()
        assert all(torch.equal(state[name], weight) for name, weight in weights.items())
        assert not any(parameter.requires_grad for parameter in module.parameters())
        assert not module.training


@pytest.mark.parametrize(
    ("found", "reason"),
    [(3, "before residuals were whitened: train it again"), (5, "newer version")],
)
def test_other_formats_are_refused_with_the_reason(found, reason, tiny_towers, tmp_path):
    checkpoint = read_checkpoint(tiny_towers)
    checkpoint["about"] |= {"format": found, "code": "0.0.9"}
    torch.save(checkpoint, tmp_path / "other.pt")
    with pytest.raises(UserError, match=reason) as refusal:
        load_contrastive(tmp_path / "other.pt")
    assert "other.pt" in str(refusal.value) and "0.0.9" in str(refusal.value)


def without(*keys):
    """A change that removes an entry."""

    def change(checkpoint):
        for key in keys[:-1]:
            checkpoint = checkpoint[key]
        del checkpoint[keys[-1]]

    return change


def reshaped(checkpoint):
    name, weight = next(iter(checkpoint["network"].items()))
    checkpoint["network"][name] = weight[..., :1]


@pytest.mark.parametrize(
    "change",
    [without("network"), without("about", "config"), without("about", "spectra"), reshaped],
)
@pytest.mark.parametrize("stage", ["towers", "generator"])
def test_contents_that_do_not_fit_are_refused(stage, change, tiny_towers, tiny_generator, tmp_path):
    path, load = {
        "towers": (tiny_towers, load_contrastive),
        "generator": (tiny_generator, load_generator),
    }[stage]
    checkpoint = torch.load(path, weights_only=True)
    change(checkpoint)
    torch.save(checkpoint, tmp_path / "damaged.pt")
    with pytest.raises(UserError, match=r"damaged\.pt: damaged .*copy it again"):
        load(tmp_path / "damaged.pt")


def test_files_that_are_not_checkpoints_are_refused(tmp_path):
    with pytest.raises(UserError, match="no such checkpoint"):
        read_checkpoint(tmp_path / "none.pt")
    (tmp_path / "text.pt").write_text("text")
    with pytest.raises(UserError, match="not a readable checkpoint"):
        read_checkpoint(tmp_path / "text.pt")
    torch.save({"weights": torch.ones(1)}, tmp_path / "original.pt")
    with pytest.raises(UserError, match=r"python -m utils\.original convert"):
        read_checkpoint(tmp_path / "original.pt")


def test_stage_2_needs_no_survey_on_the_command_line(tiny_survey, tiny_towers, tmp_path, capsys):
    arguments = [tiny("generative"), f"--diffusion.contrastive={tiny_towers}", "--dry-run"]
    assert train_generative.main([*arguments, f"--run.output={tmp_path / 'r'}"]) == 0
    plan = capsys.readouterr().out
    assert f"survey: {tiny_survey}" in plan and "representation: polyphase" in plan


def test_a_survey_of_the_towers_that_is_gone_is_named(tiny_towers):
    towers, config = load_contrastive(tiny_towers), GenerativeConfig()
    towers.config.data.survey = "gone.h5"
    with pytest.raises(UserError, match=r"was trained on gone\.h5.*--data\.survey"):
        with_data_of(towers, config)
    config.data.survey = "here.h5"
    assert with_data_of(towers, config).data.survey == "here.h5"


@pytest.mark.parametrize("change", [-1, 1])
def test_other_photometric_features_are_refused(tiny_towers, tmp_path, change):
    checkpoint = torch.load(tiny_towers, weights_only=True)
    checkpoint["about"]["photometry"] = PHOTOMETRY_VERSION + change
    torch.save(checkpoint, tmp_path / "other.pt")
    with pytest.raises(UserError, match="photometric features"):
        read_checkpoint(tmp_path / "other.pt")
