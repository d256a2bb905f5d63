"""Sampled parameters: in range, exact where given, the same for the same seed."""

import math

import pytest
import torch

import train_generative
from datasets.survey import Survey
from tests.support import tiny
from utils.core.checkpoints import load_generator
from utils.generation.conditions import image_features, sample_parameters

FREE = torch.full((4, 2), torch.nan)
KEYS = ["a", "b", "c", "d"]


@pytest.fixture(scope="module")
def stage(tiny_generator):
    return load_generator(tiny_generator)


@pytest.fixture(scope="module")
def features(stage, tiny_survey):
    survey = Survey(tiny_survey)
    images = torch.from_numpy(survey.read("images", survey.indices("test")[:4]))
    return image_features(stage.contrastive, images)


def given(column, value):
    conditions = FREE.clone()
    conditions[:, column] = value
    return conditions


def test_parameters_are_sampled_within_the_training_range(stage, features):
    sampled = sample_parameters(stage, features, KEYS, 5, 1, FREE)
    assert sampled.shape == (4, 5, 2 + 4) and torch.isfinite(sampled).all()
    lowest, highest = stage.about["conditions"]["redshift"]
    assert sampled[..., 0].min() >= lowest and sampled[..., 0].max() <= highest
    assert len(sampled[..., 0].unique()) > 10
    again = sample_parameters(stage, features, KEYS, 3, 1, FREE)
    torch.testing.assert_close(again, sampled[:, :3])
    assert not torch.allclose(sample_parameters(stage, features, KEYS, 5, 2, FREE), sampled)


@pytest.mark.parametrize(("column", "value"), [(0, 0.0731), (1, 33.3), (1, 1e4)])
def test_given_values_are_exact_and_the_others_follow_them(column, value, stage, features):
    free = sample_parameters(stage, features, KEYS, 5, 1, FREE)
    sampled = sample_parameters(stage, features, KEYS, 5, 1, given(column, value))
    exact = torch.tensor(value) if column == 0 else torch.tensor(value).log()
    assert (sampled[..., column] == exact).all()
    assert not torch.allclose(sampled[..., 2:], free[..., 2:], atol=1e-4)
    both = given(column, value)
    both[:, 1 - column] = 0.09 if column == 1 else 25.0
    found = sample_parameters(stage, features, KEYS, 5, 1, both)[..., :2]
    assert (found[..., 0] == both[:, :1]).all() and (found[..., 1] == both[:, 1:].log()).all()


def test_an_infinite_snr_replaces_the_sampled_one_and_nothing_else(stage, features):
    free = sample_parameters(stage, features, KEYS, 5, 1, FREE)
    clean = sample_parameters(stage, features, KEYS, 5, 1, given(1, torch.inf))
    assert clean[..., 1].isposinf().all()
    others = [0, 2, 3, 4, 5]
    torch.testing.assert_close(clean[..., others], free[..., others], rtol=0, atol=0)


@pytest.mark.parametrize(("flux", "standardise"), [("none", "pixel"), ("log", "none")])
def test_spectra_in_other_representations_are_expected_too(
    flux, standardise, tiny_survey, tiny_towers, tmp_path
):
    """The settings of the YAML file that no other test trains with."""
    survey, output = Survey(tiny_survey), tmp_path / "run"
    given = [f"--data.survey={tiny_survey}", f"--diffusion.contrastive={tiny_towers}"]
    given += [f"--data.flux={flux}", f"--data.standardise={standardise}"]
    arguments = [tiny("generative"), *given, "--optimiser.epochs=1", f"--run.output={output}"]
    assert train_generative.main(arguments) == 0
    stage = load_generator(output / "best.pt")
    assert stage.spectra.flux == flux
    assert stage.spectra.mean.ndim == (1 if standardise == "pixel" else 0)
    true = torch.from_numpy(survey.read("spectra", survey.indices("train")[:4]))
    known = torch.full((4, stage.network.prior.parameters_count), 0.0)
    known[:, 0] = torch.from_numpy(survey.catalogue["z"][survey.indices("train")[:4]])
    known[:, 1] = math.log(20.0)
    expected = stage.spectra.decode(stage.network.prior(known).mean)
    assert torch.isfinite(expected).all()
    assert (expected - true).abs().mean() < true.abs().mean()
