"""Exchanged parts change what they should, and nothing else."""

import numpy as np
import pytest
import torch

from datasets.survey import Survey
from models.diffusion import NoiseSchedule
from models.samplers import DPMSolverPP2M, StationaryNoise
from utils.core.checkpoints import load_generator
from utils.evaluate import ABLATION_OPTIONS
from utils.evaluation.ablations import ABLATIONS, ablation_of, residual_power
from utils.generation.pipeline import Pipeline, Substitute


def test_the_command_lists_every_ablation():
    assert tuple(ABLATIONS) == ABLATION_OPTIONS


@pytest.mark.parametrize("channels", [1, 8])
def test_stationary_noise_has_its_power_spectrum(channels):
    count = 128 * channels
    frequency = np.arange(count // 2 + 1) / count
    power = torch.from_numpy(1 / (1 + (frequency / 0.05) ** 2)).float()
    start = torch.randn(4000, channels, 128, generator=torch.Generator().manual_seed(1))
    noise = StationaryNoise(power).sample(None, NoiseSchedule(), start, None)
    ordered = noise.transpose(1, 2).flatten(1)
    found = (torch.fft.rfft(ordered).abs() ** 2).mean(dim=0) / count
    np.testing.assert_allclose(found[1:-1], power[1:-1], rtol=0.12)


def test_white_power_leaves_the_noise_as_it_is():
    start = torch.randn(3, 8, 16)
    noise = StationaryNoise(torch.ones(65)).sample(None, NoiseSchedule(), start, None)
    torch.testing.assert_close(noise, start, atol=1e-5, rtol=1e-4)


@pytest.fixture(scope="module")
def generated(tiny_generator, tiny_survey):
    """Candidates of two galaxies, with the features of two others in some places."""
    stage = load_generator(tiny_generator)
    pipeline = Pipeline([stage], torch.device("cpu"))
    survey = Survey(tiny_survey)
    rows = survey.indices("test")[:4]
    images = torch.from_numpy(survey.read("images", rows))

    def generate(*features: str):
        substitute = Substitute(images[2:], features) if features else None
        sampler = DPMSolverPP2M(2)
        keys = ["a", "b"]
        return pipeline.generate(
            images[:2], keys, count=3, seed=1, sampler=sampler, substitute=substitute
        )

    return generate


def by_number(candidates, name: str) -> np.ndarray:
    """A quantity in the order in which candidates were sampled, not in that of their ranks."""
    values = getattr(candidates, name)
    order = np.argsort(candidates.numbers, axis=1)
    return np.take_along_axis(values, order.reshape(*order.shape, *[1] * (values.ndim - 2)), 1)


def test_the_unet_alone_sees_another_image(generated):
    own, other = generated(), generated("spectrum")
    np.testing.assert_array_equal(by_number(own, "redshift"), by_number(other, "redshift"))
    assert not np.allclose(by_number(own, "flux"), by_number(other, "flux"), atol=1e-6)


def test_the_parameters_alone_see_another_image(generated):
    own, other, all_ = generated(), generated("parameters"), generated("parameters", "spectrum")
    assert not np.array_equal(by_number(own, "redshift"), by_number(other, "redshift"))
    np.testing.assert_array_equal(by_number(other, "redshift"), by_number(all_, "redshift"))
    assert not np.allclose(by_number(other, "flux"), by_number(all_, "flux"), atol=1e-6)


def test_photometry_and_tower_are_two_parts_of_the_features(generated):
    results = [by_number(generated(name), "redshift") for name in ("photometry", "tower")]
    assert not np.array_equal(*results)
    assert not np.array_equal(by_number(generated(), "redshift"), results[0])


def test_power_of_the_residuals_without_unet(tiny_generator, tiny_survey):
    stage, survey = load_generator(tiny_generator), Survey(tiny_survey)
    power = residual_power(stage, survey, survey.indices("train"))
    pixels = stage.spectra.channels * stage.spectra.length
    assert power.shape == (pixels // 2 + 1,)
    # Parseval: the mean over all frequencies is the variance of the residual
    both = torch.cat([power, power[1:-1]]) if pixels % 2 == 0 else torch.cat([power, power[1:]])
    assert 0.3 < both.mean() < 3
    assert ablation_of("no-unet", stage, survey, 1).sampler is not None
    assert ablation_of("other-image", stage, survey, 1).sampler is None
