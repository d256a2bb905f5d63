"""`python -m utils.evaluate` end to end on a tiny network, regression and figures included."""

import json
import shutil

import h5py
import numpy as np
import pytest
from PIL import Image

from datasets.errors import USER_ERROR
from datasets.survey import Survey
from figures import evaluation as figures
from figures.errors import draw_errors
from figures.evaluation_files import Results
from figures.populations import draw_mass_metallicity
from utils import evaluate
from utils import train_regression as regression
from utils.evaluation import candidates as generating
from utils.evaluation import measurement_cache as measuring
from utils.evaluation.method import CLIMATOLOGY, CONSTANT, GENERATED, REGRESSION

GALAXIES = 12


@pytest.fixture(scope="module")
def tiny_regression(tiny_survey, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "regression"
    arguments = [
        f"--data.survey={tiny_survey}", f"--run.output={folder}", "--network.image_width=8",
        "--optimiser.epochs=12", "--optimiser.batch_size=8", "--optimiser.learning_rate=3e-3",
        "--run.tensorboard=false", "--run.device=cpu", "--run.preview_every_epochs=12",
        "--optimiser.ema_decay=0.5",
    ]  # fmt: skip
    assert regression.main(arguments) == 0
    return folder / "best.pt"


def run(checkpoint, survey, folder, *more):
    arguments = ["--checkpoint", str(checkpoint), "--survey", str(survey), "--output", str(folder)]
    return evaluate.main(
        [*arguments, "--galaxies", str(GALAXIES), "--device", "cpu", "--workers", "1", *more]
    )


@pytest.fixture(scope="module")
def evaluated(tiny_generator, tiny_survey, tiny_regression, tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluation") / "all"
    assert run(tiny_generator, tiny_survey, folder, "--regression", str(tiny_regression)) == 0
    return folder


@pytest.fixture(scope="module")
def found(evaluated):
    return json.loads((evaluated / "evaluation.json").read_text())


def test_every_method_has_every_metric(found):
    methods = found["methods"]
    assert list(methods)[:2] == [GENERATED, REGRESSION] and len(methods) == 7
    for name, values in methods.items():
        assert values["mse_oracle"] <= values["mse_medoid"]
        assert ("coverage_68" in values) == (name != CONSTANT)
        assert ("noise_ratio" in values) == (name != CONSTANT)
        assert found["differences"].keys() == methods.keys() - {GENERATED}
        assert name in found["quantities"]["Dn4000"]
        assert (name in found["coherence"]) == (name != CONSTANT)
    assert methods[CONSTANT]["mse_mean_ratio"] == pytest.approx(1)
    assert methods[CLIMATOLOGY]["crps_ratio"] == pytest.approx(1)
    assert methods[CLIMATOLOGY]["noise_ratio"] == pytest.approx(1, abs=0.1)
    assert {"recall_10", "recall_10_swapped", "median_rank"} <= found["retrieval"].keys()


def test_errors_of_the_constant_are_those_of_the_training_mean(found, tiny_survey):
    survey = Survey(tiny_survey)
    rows = survey.indices("test")[:GALAXIES]
    mean = survey.read("spectra", survey.indices("train")).mean(axis=0, dtype=float)
    expected = np.mean((survey.read("spectra", rows) - mean) ** 2)
    assert found["methods"][CONSTANT]["mse_mean"] == pytest.approx(expected, rel=1e-4)


def test_regression_learns_from_the_tiny_images(found):
    ratio = found["methods"][REGRESSION]["mse_mean_ratio"]
    assert ratio < 0.8  # slope and line strength follow from colour and brightness


def test_tables_hold_the_metrics(evaluated, found):
    table = (evaluated / "table.md").read_text()
    assert f"{GALAXIES} galaxies of the test split, 3 candidates each" in table
    generated = found["methods"][GENERATED]
    assert f"| generated | {generated['mse_mean_ratio']:.3f} |" in table
    assert f"{generated['crps']:.4f} | {generated['crps_ratio']:.3f}" in table
    details = (evaluated / "details.md").read_text()
    assert "| true spectra |" in details and "| coherent |" in table
    for heading in ("Calibration", "Measured quantities", "Coherence", "Active nuclei"):
        assert f"# {heading}" in details


def test_galaxies_are_kept_one_by_one(evaluated, found, tiny_survey):
    with h5py.File(evaluated / "galaxies.h5") as file:
        errors = file["errors/generated/mse_mean"][:]
        assert errors.mean() == pytest.approx(found["methods"][GENERATED]["mse_mean"])
        rows = Survey(tiny_survey).indices("test")[:GALAXIES]
        np.testing.assert_array_equal(file["row"], rows)
        assert file["measured/generated/Dn4000"].shape == (GALAXIES, 3)
        assert file["order"][0].tolist() == [0, 1, 2]
    with h5py.File(evaluated / "candidates.h5") as file:
        assert (np.diff(file["scores"][:]) <= 0).all()  # best first
        assert np.sort(file["numbers"][0]).tolist() == [0, 1, 2]


def test_evaluating_again_generates_and_measures_nothing(
    evaluated, found, tiny_generator, tiny_survey, tiny_regression, monkeypatch
):
    def never(*args, **kwargs):
        raise AssertionError("this is kept in the folder")

    def in_order_of_candidates():
        with h5py.File(evaluated / "galaxies.h5") as file:
            order, values = file["order"][:], file["measured/generated/Dn4000"][:]
        return order, np.take_along_axis(values, np.argsort(order, axis=1), axis=1)

    first_order, first = in_order_of_candidates()
    monkeypatch.setattr(generating.Pipeline, "generate", never)
    monkeypatch.setattr(measuring, "measure", never)
    more = ("--regression", str(tiny_regression), "--rank", "both")
    assert run(tiny_generator, tiny_survey, evaluated, *more) == 0
    again = json.loads((evaluated / "evaluation.json").read_text())
    assert again["sources"]["rank"] == "both"
    order, values = in_order_of_candidates()
    assert not np.array_equal(order, first_order)
    np.testing.assert_array_equal(values, first)
    for name in ("mse_mean", "crps", "mse_oracle"):
        assert again["methods"][GENERATED][name] == pytest.approx(found["methods"][GENERATED][name])


def test_an_interrupted_generation_continues(
    evaluated, tiny_generator, tiny_survey, tmp_path, monkeypatch
):
    monkeypatch.setattr(generating, "BATCH", 5)
    generate, calls = generating.Pipeline.generate, []

    def killed(self, *args, **kwargs):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return generate(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(generating.Pipeline, "generate", killed)
        with pytest.raises(KeyboardInterrupt):
            run(tiny_generator, tiny_survey, tmp_path, "--no-measure")
    assert run(tiny_generator, tiny_survey, tmp_path, "--no-measure") == 0
    with (
        h5py.File(tmp_path / "candidates.h5") as ours,
        h5py.File(evaluated / "candidates.h5") as whole,
    ):
        np.testing.assert_allclose(ours["flux"][:], whole["flux"][:], rtol=1e-4, atol=1e-5)
    assert "quantities" not in json.loads((tmp_path / "evaluation.json").read_text())


@pytest.fixture
def without_candidates(evaluated, tmp_path):
    """A copy of the evaluation's folder from which a user has deleted the candidates."""
    folder = shutil.copytree(evaluated, tmp_path / "copy")
    (folder / "candidates.h5").unlink()
    return folder


def test_given_conditions_and_the_noiseless_truth_in_a_folder_with_other_training_features(
    without_candidates, tiny_generator, tiny_survey, capsys
):
    wanted = ["--redshift", "given", "--snr", "inf", "--against", "noiseless", "--no-measure"]
    assert run(tiny_generator, tiny_survey, without_candidates, *wanted) == 0
    assert "training.h5: made from another against; computed again" in capsys.readouterr().out
    survey = Survey(tiny_survey)
    rows = survey.indices("test")[:GALAXIES]
    with h5py.File(without_candidates / "candidates.h5") as file:
        z = survey.catalogue["z"][rows].astype("f4")
        assert np.array_equal(file["redshift"][:], np.repeat(z[:, None], 3, axis=1))
        assert np.isinf(file["snr"][:]).all()
    constant = json.loads((without_candidates / "evaluation.json").read_text())["methods"][CONSTANT]
    mean = survey.truth("noiseless", survey.indices("train")).mean(axis=0, dtype=float)
    error = ((survey.truth("noiseless", rows) - mean) ** 2).mean()
    assert constant["mse_mean"] == pytest.approx(error, rel=1e-3)


def test_new_candidates_are_not_given_the_measurements_of_the_old_ones(
    without_candidates, tiny_generator, tiny_survey, monkeypatch
):
    measured, measure = [], measuring.measure

    def counted(wavelength, flux, *args, **kwargs):
        measured.extend(flux)
        return measure(wavelength, flux, *args, **kwargs)

    monkeypatch.setattr(measuring, "measure", counted)
    assert run(tiny_generator, tiny_survey, without_candidates, "--seed", "9") == 0
    with h5py.File(without_candidates / "candidates.h5") as file:
        flux = file["flux"][:].reshape(GALAXIES * 3, -1)
    assert np.array_equal(measured[-len(flux) :], flux)


def test_candidates_of_another_evaluation_are_refused(
    evaluated, tiny_generator, tiny_survey, capsys
):
    assert run(tiny_generator, tiny_survey, evaluated, "--seed", "9") == USER_ERROR
    error = capsys.readouterr().err
    assert "belongs to another evaluation (another seed)" in error and "--output" in error


def test_candidates_of_another_version_of_the_code_are_refused(
    evaluated, tiny_generator, tiny_survey, monkeypatch, capsys
):
    monkeypatch.setattr("utils.evaluation.evaluator.code_digest", lambda *paths: "of tomorrow")
    assert run(tiny_generator, tiny_survey, evaluated) == USER_ERROR
    assert "another code" in capsys.readouterr().err


def test_noiseless_truth_needs_a_mock_survey(tiny_generator, tiny_survey, tmp_path, capsys):
    path = shutil.copy(tiny_survey, tmp_path / "observed.h5")
    with h5py.File(path, "r+") as file:
        del file["truth"]
    assert run(tiny_generator, path, tmp_path, "--against", "noiseless") == USER_ERROR
    assert "--against" in capsys.readouterr().err


def test_there_is_a_figure_for_all_metrics(evaluated):
    results = Results(evaluated)
    names = {name for name, _ in figures.figures_of(results)}
    assert {"errors", "samples", "ranked", "calibration", "colours", "measured", "redshift"} < names
    assert {"bimodality", "mass_metallicity"} < names
    assert draw_mass_metallicity(results) is None  # the tiny survey has no masses
    with h5py.File(evaluated / "candidates.h5") as file:
        np.testing.assert_array_equal(results.galaxy(3).scores, file["scores"][3][results.order[3]])
    axes = draw_errors(results).axes
    assert len(axes) == 3 and len(axes[0].get_yticks()) == len(results.methods) - 1


@pytest.mark.slow
def test_all_figures_have_ink(evaluated, tmp_path, capsys):
    assert figures.main([str(evaluated), "--output", str(tmp_path)]) == 0
    names = {path.stem for path in tmp_path.glob("*.png")}
    expected = {"errors", "samples", "ranked", "calibration", "colours", "measured", "redshift"}
    assert expected <= names
    assert {path.stem for path in tmp_path.glob("*.pdf")} == names
    for path in tmp_path.glob("*.png"):
        with Image.open(path) as picture:
            grey = np.asarray(picture.convert("L"))
        assert 0.01 < np.mean(grey < 200) < 0.9, path  # ink, but not everywhere


def test_a_folder_without_an_evaluation_is_refused(tmp_path, capsys):
    assert figures.main([str(tmp_path)]) == USER_ERROR
    assert "utils.evaluate" in capsys.readouterr().err
