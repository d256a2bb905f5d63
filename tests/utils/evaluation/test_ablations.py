"""Exchanged parts change what they should, and nothing else."""

import numpy as np
import pytest
import torch

from datasets.survey import Survey
from models.diffusion import NoiseSchedule
from models.samplers import DPMSolverPP2M, StationaryNoise
from utils.core.checkpoints import load_generator
from utils.generation.pipeline import Pipeline, Substitute


def test_stationary_noise_is_the_starting_noise():
    start = torch.randn(3, 4, 16)
    noise = StationaryNoise().sample(None, NoiseSchedule(), start, None)
    torch.testing.assert_close(noise, start, atol=0, rtol=0)


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
