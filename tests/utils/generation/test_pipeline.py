"""The pipeline from images to sorted candidates, with tiny networks."""

import numpy as np
import pytest
import torch

from datasets.errors import UserError
from datasets.photometry import photometric_features
from datasets.survey import Survey
from utils.core.checkpoints import load_generator
from utils.core.config import SamplingConfig
from utils.core.device import pick_device
from utils.generation.pipeline import Pipeline, make_sampler

SAMPLING = SamplingConfig(sampler="dpm", steps=2, candidates=4)


@pytest.fixture(scope="module")
def images(tiny_survey):
    survey = Survey(tiny_survey)
    return torch.from_numpy(survey.read("images", survey.indices("test")[:3]))


def generate(pipeline, images, **options):
    keys = [str(number) for number in range(len(images))]
    return pipeline.generate(
        images, keys, **{"count": 4, "seed": 1, "sampler": make_sampler(SAMPLING)} | options
    )


def test_every_image_goes_through_the_tower_once(tiny_generator, images):
    pipeline = Pipeline([load_generator(tiny_generator)], pick_device("cpu"))
    passed = []
    encoder = pipeline.last.contrastive.network.image_encoder
    encoder.conv1.register_forward_hook(lambda _, x, y: passed.append(len(y)))
    generate(pipeline, images)
    assert passed == [3]


def test_candidates_come_best_first_with_their_conditions(tiny_generator, images):
    pipeline = Pipeline([load_generator(tiny_generator)], pick_device("cpu"))
    found = generate(pipeline, images, count=6)
    assert np.all(np.diff(found.scores, axis=1) <= 0)
    assert np.array_equal(np.sort(found.numbers, axis=1), np.tile(np.arange(6), (3, 1)))
    assert not np.array_equal(found.numbers, np.sort(found.numbers, axis=1))
    # a candidate has the number, the redshift and the S/N that it has in a run of its own
    fewer = generate(pipeline, images, count=2)
    for row in range(3):
        for number in range(2):
            here = fewer.numbers[row].tolist().index(number)
            there = found.numbers[row].tolist().index(number)
            for name in ("redshift", "snr"):
                ours, theirs = (getattr(c, name)[row] for c in (fewer, found))
                assert ours[here] == pytest.approx(theirs[there], rel=1e-5)
            np.testing.assert_allclose(fewer.flux[row, here], found.flux[row, there], atol=1e-4)
    # and the score of its own spectrum
    towers = pipeline.last.contrastive
    photometry = photometric_features(images, towers.survey.pixel_scale_arcsec)
    vectors = towers.network.encode_images(towers.images.evaluation(images), photometry)
    spectra = towers.network.encode_spectra(towers.spectra.encode(torch.from_numpy(found.flux[1])))
    np.testing.assert_allclose(vectors[1] @ spectra.T, found.scores[1], atol=1e-5)


def test_a_spectrum_is_generated_at_the_redshift_of_its_candidate(tiny_generator, images):
    """With a network that adds nothing, a candidate is the prior's mean for its parameters."""
    stage = load_generator(tiny_generator)
    torch.nn.init.zeros_(stage.network.network.output.weight)
    torch.nn.init.zeros_(stage.network.network.output.bias)
    prior, asked = stage.network.prior, []
    prior.register_forward_hook(lambda _, arguments, moments: asked.append((*arguments, moments)))
    found = generate(Pipeline([stage], pick_device("cpu")), images)
    ((parameters, moments),) = asked
    redshift = parameters[:, 0].reshape(3, 4).numpy()
    mean = stage.spectra.decode(moments.mean).reshape(3, 4, -1).numpy()
    sigma = (moments.sigma * stage.spectra.sigma).mean().item()
    np.testing.assert_array_equal(np.take_along_axis(redshift, found.numbers, 1), found.redshift)
    ours = np.take_along_axis(mean, found.numbers[..., None], axis=1)
    distance = np.sqrt(np.mean((found.flux - ours) ** 2, axis=2))
    others = np.sqrt(np.mean((found.flux - np.roll(ours, 1, axis=0)) ** 2, axis=2))
    assert np.all(distance < 5 * sigma) and np.median(others) > np.median(distance)


@pytest.mark.parametrize(
    ("sampling", "message"),
    [
        (SamplingConfig(sampler="dpm", steps=10**4), r"--steps 10000: the schedule allows 1 to"),
        (SamplingConfig(candidates=4, mean_of_best=5), "best 5 of 4"),
    ],
)
def test_impossible_samplings_are_refused(sampling, message, tiny_generator):
    with pytest.raises(UserError, match=message):
        Pipeline([load_generator(tiny_generator)], pick_device("cpu")).check(sampling)
