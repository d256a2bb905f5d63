"""Training the parameter diffusion on another survey first."""

import json

import h5py
import pytest
import torch

import train_generative
from tests.support import make_tiny_survey, tiny
from tests.utils.training.test_trainer import assert_same_run, check_resume
from utils import export
from utils.core.run_log import MetricsTable
from utils.training.feature_cache import VIEWS
from utils.training.parameter_task import ParameterTask


@pytest.fixture(scope="module")
def other_survey(tmp_path_factory):
    return make_tiny_survey(tmp_path_factory.mktemp("other") / "other.h5", count=60, seed=5)


@pytest.fixture
def arguments(tiny_survey, tiny_towers):
    return [
        tiny("generative"),
        f"--data.survey={tiny_survey}",
        f"--diffusion.contrastive={tiny_towers}",
        "--diffusion.condition_views=2",
        "--parameters.pretraining_epochs=2",
    ]


def losses(folder):
    rows = MetricsTable(folder / "metrics.csv").rows
    return [float(row["validation_loss"]) for row in rows if row.get("validation_loss")]


def test_the_training_goes_on_with_the_weights_of_the_pretraining(arguments, tiny_survey, tmp_path):
    # the same survey twice: the second validates first what the first found best
    asked = [*arguments, f"--parameters.pretraining_survey={tiny_survey}"]
    assert train_generative.main([*asked, f"--run.output={tmp_path / 'run'}"]) == 0
    first, second = (losses(tmp_path / "run" / part) for part in ("pretraining", "parameters"))
    assert min(first) < first[0]
    assert second[0] == min(first)
    assert not list((tmp_path / "run").rglob(VIEWS))


def test_components_and_scales_are_those_of_the_survey(
    arguments, other_survey, tiny_generator, tmp_path
):
    asked = [*arguments, f"--parameters.pretraining_survey={other_survey}"]
    assert train_generative.main([*asked, f"--run.output={tmp_path / 'run'}"]) == 0
    without = torch.load(tiny_generator.parent / "parameters" / "best.pt", weights_only=True)
    own = [name for name in without["network"] if name.startswith(("prior.", "condition.photom"))]
    fitted = [name for name in own if "projection" not in name]
    assert {"prior.mean", "prior.sigma", "condition.photometry_mean"} <= set(fitted)
    for part in ("pretraining", "parameters"):
        found = torch.load(tmp_path / "run" / part / "best.pt", weights_only=True)
        for name in fitted:
            assert torch.equal(found["network"][name], without["network"][name]), name
        for name, values in without["prior"].items():
            assert torch.equal(found["prior"][name], values), name


@pytest.mark.parametrize("step", [2, 6, 11, 17])  # two epochs of 4 and of 7 steps
def test_resume_is_exact(arguments, other_survey, tmp_path, monkeypatch, step):
    asked = [*arguments, f"--parameters.pretraining_survey={other_survey}"]
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    main = train_generative.main
    assert main([*asked, "--optimiser.epochs=3", f"--run.output={whole}"]) == 0
    check_resume(main, asked, whole, stopped, monkeypatch, (ParameterTask, "prepare", step))
    for part in ("pretraining", "parameters"):
        assert_same_run(whole / part, stopped / part)


def test_a_run_that_has_come_further_needs_the_other_survey_no_more(
    arguments, other_survey, tmp_path
):
    copy = tmp_path / "copy.h5"
    copy.write_bytes(other_survey.read_bytes())
    asked = [*arguments, f"--parameters.pretraining_survey={copy}"]
    asked += [f"--run.output={tmp_path / 'run'}"]
    assert train_generative.main([*asked, "--optimiser.epochs=1"]) == 0
    copy.unlink()
    assert train_generative.main([*asked, "--optimiser.epochs=2", "--resume"]) == 0


def test_a_missing_survey_and_one_of_another_kind_are_refused(
    arguments, other_survey, tmp_path, capsys
):
    other = tmp_path / "coarse.h5"
    other.write_bytes(other_survey.read_bytes())
    with h5py.File(other, "r+") as file:
        settings = json.loads(file.attrs["settings"])
        file.attrs["settings"] = json.dumps(settings | {"pixel_scale_arcsec": 0.9})
    for survey, reason in ((tmp_path / "none.h5", "no such survey"), (other, "of the same kind")):
        asked = [*arguments, f"--parameters.pretraining_survey={survey}"]
        assert train_generative.main([*asked, f"--run.output={tmp_path / 'run'}"]) == 2
        message = capsys.readouterr().err
        assert str(survey) in message
        assert reason in message


def test_a_dry_run_leaves_nothing(arguments, other_survey, tmp_path):
    asked = [*arguments, f"--parameters.pretraining_survey={other_survey}", "--dry-run"]
    assert train_generative.main([*asked, f"--run.output={tmp_path / 'run'}"]) == 0
    assert not (tmp_path / "run").exists()


def test_exported_weights_name_the_survey_but_not_its_folder(arguments, other_survey, tmp_path):
    asked = [*arguments, f"--parameters.pretraining_survey={other_survey}"]
    assert train_generative.main([*asked, f"--run.output={tmp_path / 'run'}"]) == 0
    weights = tmp_path / "weights.safetensors"
    assert export.main([str(tmp_path / "run" / "best.pt"), str(weights)]) == 0
    content = weights.read_bytes()
    assert other_survey.name.encode() in content
    assert str(other_survey.parent).encode() not in content
