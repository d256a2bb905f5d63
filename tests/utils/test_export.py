"""Exported weights are those of the checkpoint, in half the bytes and without local paths."""

from __future__ import annotations

import pytest
import torch

from datasets.photometry import photometry_count
from utils import export
from utils.core.checkpoints import load_contrastive, load_generator, read_checkpoint
from utils.core.weights_file import read_description


@pytest.fixture(scope="module")
def exported(tiny_generator, tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "tiny.safetensors"
    assert export.main([str(tiny_generator), str(path)]) == 0
    return path


def test_weights_are_rounded_and_constants_exact(tiny_generator, exported):
    ours, theirs = load_generator(exported), load_generator(tiny_generator)
    for part in ("network", "parameters", "novelty"):
        weights = {name for name, _ in getattr(theirs, part).named_parameters()}
        weights.add("prior.basis.templates")
        state = getattr(ours, part).state_dict()
        for name, tensor in getattr(theirs, part).state_dict().items():
            expected = tensor.half().float() if name in weights else tensor
            assert torch.equal(state[name], expected), (part, name)
    towers = zip(
        ours.contrastive.network.parameters(), theirs.contrastive.network.parameters(), strict=True
    )
    assert all(torch.equal(a, b.half().float()) for a, b in towers)
    assert ours.about["conditions"]["redshift"] == list(theirs.about["conditions"]["redshift"])
    torch.testing.assert_close(ours.contrastive.images.mean, theirs.contrastive.images.mean)
    torch.testing.assert_close(ours.spectra.sigma, theirs.spectra.sigma)


def test_it_has_half_the_bytes(tiny_generator, exported):
    assert exported.stat().st_size < 0.65 * tiny_generator.stat().st_size


def test_it_names_no_file_of_this_machine(tiny_survey, exported):
    description = str(read_description(exported))
    assert str(tiny_survey.parent) not in description and "best.pt" not in description
    assert tiny_survey.name in description


def test_its_towers_stand_for_a_checkpoint_of_stage_1(tiny_towers, exported):
    ours, theirs = load_contrastive(exported), load_contrastive(tiny_towers)
    images, photometry = torch.randn(2, 5, 64, 64), torch.randn(2, photometry_count(5))
    vectors = [towers.network.encode_images(images, photometry) for towers in (ours, theirs)]
    torch.testing.assert_close(*vectors, atol=0.01, rtol=0)


def test_other_names_and_existing_files_are_refused(tiny_generator, exported, tmp_path, capsys):
    assert export.main([str(tiny_generator), str(tmp_path / "weights.pt")]) == 2
    assert "must end in .safetensors" in capsys.readouterr().err
    assert export.main([str(tiny_generator), str(exported)]) == 2
    assert "add --overwrite" in capsys.readouterr().err
    assert export.main([str(tiny_generator), str(exported), "--overwrite"]) == 0


@pytest.mark.parametrize("kept", [0, 7, 1000, -1])
def test_a_damaged_file_is_refused(exported, tmp_path, kept):
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(exported.read_bytes()[:kept])
    with pytest.raises(Exception, match=r"damaged\.safetensors: not a readable checkpoint"):
        read_checkpoint(damaged)
