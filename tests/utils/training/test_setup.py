"""Training that starts from the weights of another run."""

from __future__ import annotations

import pytest
import torch

import train_contrastive
import train_generative
from datasets.errors import UserError
from tests.support import tiny
from utils.core.checkpoints import (
    load_contrastive,
    load_generator,
    read_checkpoint,
    trained_weights,
)
from utils.training.setup import start_from

# Weights move by less than the last printed digit of the learning rate.
STILL = [
    "--optimiser.epochs=1",
    "--optimiser.learning_rate=1e-30",
    "--optimiser.final_learning_rate=0",
]


def same(ours: dict, theirs: dict, names) -> bool:
    return all(torch.equal(ours[name], theirs[name]) for name in names)


def test_towers_start_from_the_trained_weights(tiny_survey, tiny_towers, tmp_path):
    arguments = [tiny("contrastive"), f"--data.survey={tiny_survey}", *STILL]
    for name, more in (("new", []), ("further", [f"--run.start_from={tiny_towers}"])):
        assert train_contrastive.main([*arguments, f"--run.output={tmp_path / name}", *more]) == 0
    before = trained_weights(read_checkpoint(tiny_towers))
    new, further = (
        load_contrastive(tmp_path / name / "last.pt").network for name in ("new", "further")
    )
    names = [name for name, _ in new.named_parameters()]
    assert same(dict(further.named_parameters()), before, names)
    assert not same(dict(new.named_parameters()), before, names)


def test_the_frozen_tower_stays_that_of_the_new_contrastive_stage(
    tiny_survey, tiny_towers, tiny_generator, tmp_path
):
    other = tmp_path / "towers"
    arguments = [f"--data.survey={tiny_survey}", *STILL]
    assert train_contrastive.main([tiny("contrastive"), *arguments, f"--run.output={other}"]) == 0
    further = tmp_path / "further"
    arguments += [f"--run.start_from={tiny_generator}", f"--run.output={further}"]
    arguments += [f"--diffusion.contrastive={other / 'best.pt'}"]
    assert train_generative.main([tiny("generative"), *arguments]) == 0
    before, after = load_generator(tiny_generator), load_generator(further / "last.pt")
    fitted = ("prior",)  # what stays that of the new survey
    names = (name for name, _ in before.network.named_parameters())
    learnt = [name for name in names if not any(part in name for part in fitted)]
    assert same(after.network.state_dict(), before.network.state_dict(), learnt)
    tower = load_contrastive(other / "best.pt").network.image_encoder.state_dict()
    assert same(after.contrastive.network.image_encoder.state_dict(), tower, tower)


def test_other_sizes_and_other_stages_are_refused(tiny_towers):
    network = load_contrastive(tiny_towers).network
    network.spectrum_encoder = torch.nn.Linear(2, 3)
    with pytest.raises(UserError, match="needs the same sizes"):
        start_from(tiny_towers, "contrastive", network, "ugriz")
    with pytest.raises(UserError, match="a generative one is needed"):
        start_from(tiny_towers, "generative", network, "ugriz")


def test_the_towers_of_a_generator_can_be_trained_further(tiny_towers, tiny_generator):
    network, trained = load_contrastive(tiny_towers).network, load_contrastive(tiny_generator)
    with torch.no_grad():
        network.image_encoder.fc.weight.zero_()
    start_from(tiny_generator, "contrastive", network, "ugriz")
    assert torch.equal(network.image_encoder.fc.weight, trained.network.image_encoder.fc.weight)


def test_weights_of_other_bands_are_reported(tiny_towers, caplog):
    start_from(tiny_towers, "contrastive", load_contrastive(tiny_towers).network, "rgiuz")
    assert "trained on u, g, r, i, z, not r, g, i, u, z" in caplog.text
