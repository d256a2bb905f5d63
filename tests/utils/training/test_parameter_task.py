"""Every key of the parameter diffusion has an effect."""

from dataclasses import fields, replace

import pytest
import torch

from datasets.survey import Survey
from utils.core.checkpoints import load_generator
from utils.core.config import ParametersConfig
from utils.core.model_factory import build_parameter_denoiser
from utils.generation.conditions import image_features, sample_parameters
from utils.training.parameter_task import given_at_random

SIZES = {"width": 64, "depth": 1, "token_width": 32, "dropout": 0.7}
SCALES = {"redshift_scale": 3.0, "snr_scale": 1.5}


@pytest.fixture(scope="module")
def stage(tiny_generator):
    return load_generator(tiny_generator)


@pytest.mark.parametrize(("key", "value"), SIZES.items())
def test_sizes_are_those_of_the_network(key, value, stage):
    changed = replace(stage.config, parameters=replace(stage.config.parameters, **{key: value}))
    pair = (
        str(build_parameter_denoiser(config, stage.contrastive.network, stage.spectra))
        for config in (stage.config, changed)
    )
    assert len(set(pair)) == 2


def test_scales_are_those_of_redshift_and_snr(stage):
    changed = replace(stage.config, parameters=replace(stage.config.parameters, **SCALES))
    denoiser = build_parameter_denoiser(changed, stage.contrastive.network, stage.spectra)
    assert denoiser.prior.scale[:3].tolist() == [3.0, 1.5, 1.0]


@pytest.mark.parametrize("share", [0.0, 0.2, 0.7])
def test_a_share_of_redshifts_and_of_snr_is_given(share):
    parameters = torch.randn(4000, 5)
    given = given_at_random(parameters, share, torch.Generator().manual_seed(0))
    known = given.isfinite()
    assert known[:, :2].float().mean(dim=0).tolist() == pytest.approx([share] * 2, abs=0.03)
    assert not known[:, 2:].any()
    assert torch.equal(given[known], parameters[known])


def test_steps_are_those_of_the_sampler(stage, tiny_survey):
    survey = Survey(tiny_survey)
    images = torch.from_numpy(survey.read("images", survey.indices("test")[:2]))
    features, free = image_features(stage.contrastive, images), torch.full((2, 2), torch.nan)
    more = replace(stage.config, parameters=replace(stage.config.parameters, sampling_steps=9))
    few, many = (
        sample_parameters(replace(stage, config=config), features, ["a", "b"], 3, 1, free)
        for config in (stage.config, more)
    )
    assert not torch.allclose(few, many, atol=1e-4)


def test_these_are_all_keys():
    names = {field.name for field in fields(ParametersConfig)}
    assert names == {*SIZES, *SCALES, "given", "sampling_steps", "optimiser"}
