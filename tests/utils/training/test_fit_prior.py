"""What the prior is fitted to, and the parameters that training and generation agree on."""

import os
import shutil
import signal
from contextlib import nullcontext
from dataclasses import fields, replace

import h5py
import numpy as np
import pytest
import torch

import train_generative
from datasets.errors import USER_ERROR, UserError
from datasets.survey import Survey
from tests.support import tiny
from utils.core.checkpoints import load_contrastive, with_data_of
from utils.core.config import DataConfig, DiffusionConfig, GenerativeConfig, PriorConfig
from utils.core.interruption import REQUEUE
from utils.core.model_factory import empty_prior
from utils.core.survey_rows import random_subset, split_rows
from utils.training import fit_prior
from utils.training.fit_prior import fitting_rows, training_ranges
from utils.training.parameter_task import ParameterTask
from utils.training.setup import training_split


def changed(survey, path, **columns):
    """A copy of a survey file with values (by row) of catalogue columns set."""
    path.write_bytes(survey.read_bytes())
    with h5py.File(path, "r+") as file:
        for name, values in columns.items():
            for row, value in values.items():
                file["catalogue"][name][row] = value
    return path


def reordered(survey, path, order):
    """A copy of a survey file with its galaxies in another order."""
    path.write_bytes(survey.read_bytes())
    with h5py.File(path, "r+") as file:
        names = ["images", "spectra", "interpolated", "normalisation"]
        for name in [*names, *(f"catalogue/{column}" for column in file["catalogue"])]:
            file[name][:] = file[name][:][order]
    return path


def test_a_sorted_survey_is_fitted_to_the_galaxies_of_a_shuffled_one(tiny_survey, tmp_path):
    config = PriorConfig(galaxies=20)
    ordered = Survey(tiny_survey)  # by redshift
    order = np.random.default_rng(0).permutation(len(ordered))
    shuffled = Survey(reordered(tiny_survey, tmp_path / "shuffled.h5", order))
    chosen = []
    for survey in (ordered, shuffled):
        rows = fitting_rows(survey, survey.indices("train"), config, seed=1)
        assert len(rows) == 20
        chosen.append(set(survey.catalogue["identifier"][rows].tolist()))
    assert chosen[0] == chosen[1]
    z = ordered.catalogue["z"][fitting_rows(ordered, ordered.indices("train"), config, seed=1)]
    assert z.min() < 0.07 and z.max() > 0.13  # of 0.05 to 0.15
    other = fitting_rows(ordered, ordered.indices("train"), config, seed=2)
    assert set(ordered.catalogue["identifier"][other].tolist()) != chosen[0]


def test_a_smaller_subset_is_part_of_a_larger_one(tiny_survey):
    survey = Survey(tiny_survey)
    rows = survey.indices("train")
    small, large = (random_subset(survey, rows, count, seed=1) for count in (10, 30))
    assert set(small) < set(large) < set(rows)
    np.testing.assert_array_equal(random_subset(survey, rows, 10**6, 1), rows)


def test_galaxies_of_extreme_noise_are_not_fitted(tiny_survey, tmp_path):
    rows = Survey(tiny_survey).indices("train")
    survey = Survey(changed(tiny_survey, tmp_path / "noisy.h5", sn={rows[3]: 0.05}))
    assert set(rows) - set(fitting_rows(survey, rows, PriorConfig(), seed=1)) == {rows[3]}


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan])
@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_signal_to_noise_that_is_not_positive_is_refused(value, split, tiny_survey, tmp_path):
    row = Survey(tiny_survey).indices(split)[1]
    survey = Survey(changed(tiny_survey, tmp_path / "zero.h5", sn={row: value}))
    rows = np.concatenate([survey.indices(name) for name in ("train", "validation")])
    with pytest.raises(UserError, match=r"sn \(snr\) of 1 of .*--diffusion.prior none"):
        training_ranges(survey, rows, GenerativeConfig())
    without = GenerativeConfig(diffusion=DiffusionConfig(prior="none"))
    assert training_ranges(survey, rows, without) == {}


def test_an_empty_validation_split_is_refused_before_training(
    tiny_survey, tiny_towers, tmp_path, capsys
):
    rows = Survey(tiny_survey).indices("validation")
    survey = changed(tiny_survey, tmp_path / "none.h5", split=dict.fromkeys(rows, 0))
    with pytest.raises(UserError, match="no validation galaxies"):
        split_rows(Survey(survey), "validation", DataConfig())
    arguments = [tiny("generative"), f"--data.survey={survey}", f"--run.output={tmp_path / 'r'}"]
    assert train_generative.main([*arguments, f"--diffusion.contrastive={tiny_towers}"]) != 0
    assert "no validation galaxies" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


@pytest.fixture(scope="module")
def stopped(tiny_survey, tiny_towers, tmp_path_factory):
    """A run that a signal stops in the last validation of the parameter diffusion: its arguments,
    its folder and its exit status."""
    folder, calls = tmp_path_factory.mktemp("stopped") / "run", []
    arguments = [tiny("generative"), f"--data.survey={tiny_survey}", "--optimiser.epochs=1"]
    arguments += [f"--diffusion.contrastive={tiny_towers}", f"--run.output={folder}"]
    validate = ParameterTask.validate

    def signalled(self, network):
        calls.append(None)
        if len(calls) == 3:  # before the first of two epochs, and after each
            os.kill(os.getpid(), signal.SIGUSR1)
        return validate(self, network)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ParameterTask, "validate", signalled)
        status = train_generative.main(arguments)
    return arguments, folder, status


def test_a_signal_stops_a_run_between_its_two_trainings(stopped):
    _, folder, status = stopped
    assert status == REQUEUE
    assert (folder / "parameters" / "best.pt").exists() and not (folder / "last.pt").exists()


@pytest.mark.parametrize("damaged", [False, True])
def test_a_resumed_run_restores_its_prior(stopped, tmp_path, monkeypatch, damaged):
    arguments, folder, _ = stopped
    shutil.copytree(folder, tmp_path / "run")
    last = tmp_path / "run" / "parameters" / "last.pt"
    if damaged:
        last.write_bytes(last.read_bytes()[:1000])

    def fit(*_):
        raise AssertionError("fitted again")

    monkeypatch.setattr(fit_prior, "_fill_basis", fit)
    more = [f"--run.output={tmp_path / 'run'}", "--resume"]
    assert train_generative.main([*arguments, *more]) == 0


@pytest.mark.parametrize("option", ["--prior.components=3", "--data.survey={}"])
def test_a_run_goes_on_with_its_own_prior_only(stopped, tiny_survey, tmp_path, capsys, option):
    arguments, folder, _ = stopped
    row = Survey(tiny_survey).indices("train")[0]
    farther = changed(tiny_survey, tmp_path / "farther.h5", z={row: 0.3})
    assert train_generative.main([*arguments, option.format(farther), "--resume"]) == USER_ERROR
    assert f"{folder}: the run began with a survey of other redshifts" in capsys.readouterr().err


@pytest.fixture(scope="module")
def fit(tiny_survey, tiny_towers):
    """Fits a prior with the settings that differ from the tiny ones; its shapes and state."""
    survey, towers = Survey(tiny_survey), load_contrastive(tiny_towers)

    def fitted(**settings):
        config = GenerativeConfig(prior=PriorConfig(**{"components": 4} | settings))
        config = with_data_of(towers, config)
        training, spectra = training_split(survey, config.data, torch.device("cpu"))
        prior = empty_prior(config.prior, spectra, training_ranges(survey, training.rows, config))
        fit_prior.fit_prior(prior, spectra, survey, training.rows, config)
        return {"channels": torch.tensor(prior.channels), **prior.state_dict()}

    return fitted


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("components", 2),
        ("template_channels", 2),
        ("galaxies", 20),
        ("basis_galaxies", 20),
        ("rest_bin", 16),
        ("ridge", 1.0),
        ("largest_q", 1.5),
        ("clip_sigma", 1.0),
        ("pseudo_count", 100.0),
        ("variance_floor", 5.0),
        ("smoothing_pixels", 101),
        ("bandwidth", 1.0),
    ],
)
def test_every_key_of_the_prior_has_an_effect(key, value, fit):
    default, changed = fit(), fit(**{key: value})
    same = (
        default[name].shape == changed[name].shape and torch.equal(default[name], changed[name])
        for name in default
    )
    assert not all(same)


def test_more_components_than_galaxies_are_refused(fit):
    with pytest.raises(UserError, match=r"tiny\.h5: 20 usable .* 24 components: lower prior\.comp"):
        fit(components=24, basis_galaxies=20)


def test_the_cases_are_all_keys_of_the_prior():
    (cases,) = (m.args[1] for m in test_every_key_of_the_prior_has_an_effect.pytestmark)
    assert [key for key, _ in cases] == [field.name for field in fields(PriorConfig)]


@pytest.mark.parametrize(("smoothing", "bandwidth", "refused"), [
    (2.0, 0.5, False), (2.0, 0.25, True), (1.0, 0.5, True), (1.0, 1.0, False), (0.0, 1.0, False),
])  # fmt: skip
def test_frequencies_that_spectra_have_are_not_left_out(
    tiny_survey, tiny_towers, smoothing, bandwidth, refused
):
    survey, towers = Survey(tiny_survey), load_contrastive(tiny_towers)
    survey.preparation = replace(survey.preparation, smoothing_sigma_angstrom=smoothing)
    settings = PriorConfig(components=4, bandwidth=bandwidth)
    config = with_data_of(towers, GenerativeConfig(prior=settings))
    training, spectra = training_split(survey, config.data, torch.device("cpu"))
    ranges = training_ranges(survey, training.rows, config)
    prior = empty_prior(config.prior, spectra, ranges)
    expected = pytest.raises(UserError, match="raise it") if refused else nullcontext()
    with expected:
        fit_prior.fit_prior(prior, spectra, survey, training.rows, config)
