"""The paper's cascade: a low-resolution generator, then a super-resolution one."""

import numpy as np
import pytest
import torch

import generate
import train_contrastive
import train_generative
from datasets.cutouts.export import export
from datasets.errors import UserError
from datasets.survey import Survey
from tests.support import tiny
from utils.core.checkpoints import load_generator
from utils.core.config import SamplingConfig
from utils.core.device import pick_device
from utils.generation.conditions import guide_parameters
from utils.generation.fits_output import read_spectrum
from utils.generation.pipeline import GUIDES, Pipeline, make_sampler
from utils.training.fit_prior import galaxy_parameters


@pytest.fixture(scope="module")
def stages(tiny_survey, tmp_path_factory):
    """Checkpoints of both stages of the cascade."""
    folder, checkpoints = tmp_path_factory.mktemp("cascade"), {}
    for resolution in ("low", "super"):
        towers, network = folder / f"towers_{resolution}", folder / resolution
        data = [f"--data.survey={tiny_survey}", f"--data.representation={resolution}"]
        shown = ["--run.preview_every_epochs=1", "--run.tensorboard=true"]
        common = [*data, *shown, "--optimiser.epochs=1"]
        first = [tiny("contrastive"), *common, f"--run.output={towers}"]
        stage = "super" if resolution == "super" else "generative"
        second = [tiny(stage), *common, f"--run.output={network}"]
        assert train_contrastive.main(first) == 0
        given = f"--diffusion.contrastive={towers / 'best.pt'}"
        assert train_generative.main([*second, given]) == 0
        for run in (towers, network):
            assert (run / "preview_0001.png").stat().st_size > 10_000
            assert list((run / "tensorboard").iterdir()) and (run / "log.txt").read_text()
        checkpoints[resolution] = network / "best.pt"
    return checkpoints


def test_cascade_generates_at_full_resolution(stages, tiny_survey, tmp_path):
    export(Survey(tiny_survey), tmp_path / "cutouts", "test", 2)
    both = [str(stages["low"]), str(stages["super"])]
    arguments = [str(tmp_path / "cutouts"), "--checkpoint", *both, "--output"]
    more = ["--candidates", "4", "--device", "cpu", "--no-pictures"]
    assert generate.main([*arguments, str(tmp_path / "out"), *more]) == 0
    paths = sorted((tmp_path / "out" / "spectra").iterdir())
    assert len(paths) == 2
    for path in paths:
        spectrum = read_spectrum(path)
        assert len(spectrum.wavelength_angstrom) == 4500
        assert len(spectrum.provenance.checkpoints) == 2


def cascade(stages, tiny_survey):
    """A pipeline of both stages, and images for it."""
    survey = Survey(tiny_survey)
    images = torch.from_numpy(survey.read("images", survey.indices("test")[:3]))
    paths = (stages["low"], stages["super"])
    return Pipeline([load_generator(path) for path in paths], pick_device("cpu")), images


def test_candidates_have_the_parameters_of_their_guide(stages, tiny_survey):
    """Redshift, S/N and coefficients: those of the low-resolution spectrum in its own place."""
    pipeline, images = cascade(stages, tiny_survey)
    low, fine = pipeline.stages
    seen = {}
    for name, stage in (("low", low), ("super", fine)):
        stage.network.prior.register_forward_pre_hook(
            lambda _, arguments, name=name: seen.setdefault(name, arguments[0])
        )
    channels = []
    fine.network.network.register_forward_pre_hook(
        lambda _, arguments: channels.append(arguments[0][:, 1, ::8])
    )
    found = pipeline.generate(
        images, ["a", "b", "c"], count=4, seed=1, sampler=make_sampler(SamplingConfig(steps=2))
    )
    guides = channels[0].unflatten(0, (3, 4))  # (B, P, 563), standardised
    parameters = seen["super"].unflatten(0, (3, 4))
    of_low = seen["low"].unflatten(0, (3, 4))
    for galaxy in range(3):
        assert len({tuple(guide.tolist()) for guide in guides[galaxy]}) == GUIDES
        for candidate in range(4):
            conditions = parameters[galaxy, candidate, :2].tolist()
            assert conditions in of_low[galaxy, :, :2].tolist()
            # damped least squares of the guide on every eighth pixel of the templates
            templates = fine.network.prior.basis(parameters[galaxy, candidate, :1])[0, :, 0, ::8]
            design = templates[1:].double()
            rest = (guides[galaxy, candidate] - templates[0]).double()
            normal = design @ design.T + 1e-2 * design.shape[1] * torch.eye(len(design))
            expected = torch.linalg.solve(normal, design @ rest)
            torch.testing.assert_close(
                parameters[galaxy, candidate, 2:], expected.float(), rtol=1e-3, atol=1e-3
            )
    numbers = torch.from_numpy(found.numbers)
    redshift = parameters[..., 0].take_along_dim(numbers, dim=1)
    np.testing.assert_array_equal(redshift, found.redshift)


def test_training_takes_the_parameters_of_the_guide_too(stages, tiny_survey):
    stage, survey = load_generator(stages["super"]), Survey(tiny_survey)
    rows, prior = survey.indices("train")[:3], stage.network.prior
    trained = galaxy_parameters(prior, stage.spectra, survey, rows)[rows]
    low = stage.spectra.encode_low(torch.from_numpy(survey.read("spectra", rows)[:, ::8]))
    torch.testing.assert_close(guide_parameters(stage, low, trained[:, :2]), trained)


def test_the_stages_have_other_noise(stages, tiny_survey):
    pipeline, images = cascade(stages, tiny_survey)
    starts = []
    for stage in pipeline.stages:
        stage.network.network.register_forward_pre_hook(
            lambda _, arguments: starts.append(arguments[0][:, 0])
        )
    sampler = make_sampler(SamplingConfig(steps=1))
    pipeline.generate(images, ["a", "b", "c"], count=4, seed=1, sampler=sampler)
    low, fine = starts
    assert low.shape == (12, 563) and fine.shape == (12, 4500)
    assert (low == fine[:, :563]).float().mean() < 0.01


def test_every_image_goes_once_through_the_tower_of_each_stage(stages, tiny_survey):
    pipeline, images = cascade(stages, tiny_survey)
    passed = {0: [], 1: []}
    for number, stage in enumerate(pipeline.stages):
        encoders = {stage.contrastive.network.image_encoder}
        for encoder in encoders:
            encoder.conv1.register_forward_hook(
                lambda _, x, y, number=number: passed[number].append(len(y))
            )
    sampler = make_sampler(SamplingConfig(steps=1))
    pipeline.generate(images, ["a", "b", "c"], count=4, seed=1, sampler=sampler)
    assert passed == {0: [3], 1: [3]}


def test_low_resolution_alone_is_every_eighth_pixel(stages):
    pipeline = Pipeline([load_generator(stages["low"])], pick_device("cpu"))
    np.testing.assert_array_equal(pipeline.wavelength_angstrom, 4000.0 + 8 * np.arange(563))


def test_stages_in_the_wrong_order_are_refused(stages):
    low, fine = (load_generator(stages[name]) for name in ("low", "super"))
    with pytest.raises(UserError, match="super \\+ low"):
        Pipeline([fine, low], pick_device("cpu"))
    with pytest.raises(UserError, match="give one of"):
        Pipeline([fine], pick_device("cpu"))


def test_towers_of_another_resolution_are_refused(tiny_survey, tiny_towers, tmp_path, capsys):
    arguments = [tiny("generative"), f"--data.survey={tiny_survey}", "--data.representation=low"]
    towers = f"--diffusion.contrastive={tiny_towers}"
    assert train_generative.main([*arguments, towers, f"--run.output={tmp_path / 'r'}"]) == 2
    assert "data.representation is low" in capsys.readouterr().err
