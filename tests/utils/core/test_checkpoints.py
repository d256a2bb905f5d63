"""Checkpoints: each weight once, the tower shared, other formats and missing files refused."""

from __future__ import annotations

import pytest
import torch

import train_generative
from datasets.errors import UserError
from datasets.photometry import PHOTOMETRY_VERSION
from models.conditioning import FrozenCondition, JointCondition
from models.image_encoder import ImageEncoder
from tests.support import tiny
from utils.core.checkpoints import (
    InferenceState,
    load_contrastive,
    load_generator,
    read_checkpoint,
    with_data_of,
)
from utils.core.config import GenerativeConfig

TOWER = "condition.image_encoder."


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


def test_last_holds_the_frozen_tower_once(tiny_generator):
    last = read_checkpoint(tiny_generator.with_name("last.pt"))
    assert last.keys() >= {"optimiser", "scheduler", "average", "best", "trainer", "network"}
    assert not any(TOWER in name for part in ("network", "average") for name in last[part])
    assert any(name.startswith("image_encoder.") for name in last["contrastive"]["weights"])


def test_a_generator_shares_the_tower_of_its_towers(tiny_towers, tiny_generator):
    stage, towers = load_generator(tiny_generator), load_contrastive(tiny_towers)
    own = stage.network.condition.image_encoder
    assert own is stage.contrastive.network.image_encoder
    for name, weight in towers.network.image_encoder.state_dict().items():
        assert torch.equal(own.state_dict()[name], weight)
    saved = read_checkpoint(tiny_generator)["network"]
    assert saved.keys() == {n for n in stage.network.state_dict() if not n.startswith(TOWER)}
    for name, weight in saved.items():
        assert torch.equal(stage.network.state_dict()[name], weight)


def test_inference_state_leaves_out_a_frozen_tower_only():
    encoder = ImageEncoder(18, 3, embedding=4, width=8)
    frozen = torch.nn.ModuleDict({"condition": FrozenCondition(encoder, 8)})
    kept = InferenceState(frozen).state_dict()
    assert kept and not any(name.startswith(TOWER) for name in kept)
    average = torch.optim.swa_utils.AveragedModel(frozen)
    kept = InferenceState(average).state_dict()
    assert "n_averaged" in kept and not any(TOWER in name for name in kept)
    assert InferenceState(FrozenCondition(encoder, 8)).frozen == ("image_encoder.",)
    joint = JointCondition(ImageEncoder(18, 3, embedding=None, width=8))
    assert InferenceState(joint).state_dict().keys() == joint.state_dict().keys()


def test_inference_state_loads_with_and_without_the_tower():
    def fresh():
        encoder = ImageEncoder(18, 3, embedding=4, width=8)
        return torch.nn.ModuleDict({"condition": FrozenCondition(encoder, 8)})

    saved, without, whole = fresh(), fresh(), fresh()
    tower = without["condition"].image_encoder.conv1.weight.clone()
    InferenceState(without).load_state_dict(InferenceState(saved).state_dict())
    InferenceState(whole).load_state_dict(saved.state_dict())
    assert torch.equal(without["condition"].image_encoder.conv1.weight, tower)
    for name, weight in saved.state_dict().items():
        assert torch.equal(whole.state_dict()[name], weight)
        assert name.startswith(TOWER) or torch.equal(without.state_dict()[name], weight)
    with pytest.raises(RuntimeError, match="Missing key"):  # but a learnt weight must be there
        InferenceState(fresh()).load_state_dict({})


@pytest.mark.parametrize(
    ("found", "reason"),
    [(1, "keys and weights were renamed; train it again"), (3, "newer version")],
)
def test_other_formats_are_refused_with_the_reason(found, reason, tiny_towers, tmp_path):
    checkpoint = read_checkpoint(tiny_towers)
    checkpoint["about"] |= {"format": found, "code": "0.0.9"}
    torch.save(checkpoint, tmp_path / "other.pt")
    with pytest.raises(UserError, match=reason) as refusal:
        load_contrastive(tmp_path / "other.pt")
    assert "other.pt" in str(refusal.value) and "0.0.9" in str(refusal.value)


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


def test_other_photometric_features_are_refused(tiny_towers, tmp_path):
    checkpoint = torch.load(tiny_towers, weights_only=True)
    checkpoint["about"]["photometry"] = PHOTOMETRY_VERSION + 1
    torch.save(checkpoint, tmp_path / "other.pt")
    with pytest.raises(UserError, match="photometric features"):
        read_checkpoint(tmp_path / "other.pt")
