"""`python -m utils.evaluate` end to end on a tiny network, regression and figures included."""

import json
import re
import shutil
from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

from datasets.errors import USER_ERROR, UserError
from datasets.survey import SPLITS, Survey
from figures import evaluation as figures
from figures.errors import draw_errors
from figures.evaluation_files import Results
from figures.given_redshift import draw_given_redshift
from figures.populations import draw_mass_metallicity
from figures.reliability import draw_redshift_pdfs, draw_reliability
from tests.support import make_tiny_survey
from utils import evaluate
from utils import train_regression as regression
from utils.core.folder_lock import lock_folder
from utils.evaluation import candidates as generating
from utils.evaluation import measurement_cache as measuring
from utils.evaluation.columns import HEADINGS
from utils.evaluation.markdown import plus_minus
from utils.evaluation.method import CLIMATOLOGY, CONSTANT, GENERATED, REGRESSION, SHIFTED, TEMPLATES
from utils.training.regression import load_regression

GALAXIES = 12
ABLATIONS = ("no-unet", "other-image")


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
    more = ["--regression", str(tiny_regression), "--ablations", *ABLATIONS]
    assert run(tiny_generator, tiny_survey, folder, *more) == 0
    return folder


@pytest.fixture(scope="module")
def found(evaluated):
    return json.loads((evaluated / "evaluation.json").read_text())


def test_every_method_has_every_metric(found):
    methods = found["observed"]["methods"]
    assert next(iter(methods)) == GENERATED and len(methods) == 7 + len(ABLATIONS)
    for name, values in methods.items():
        assert values["mse_oracle"]["value"] <= values["mse_medoid"]["value"]
        assert ("coverage_68" in values) == (name != CONSTANT)
        assert ("noise_ratio" in values) == (name != CONSTANT)
        assert {"energy_ratio", "energy_100_ratio"} < values.keys()
        assert found["observed"]["differences"].keys() == methods.keys() - {GENERATED}
        assert name in found["observed"]["quantities"]["Dn4000"]
        assert (name in found["observed"]["coherence"]) == (name != CONSTANT)
    assert methods[CONSTANT]["mse_mean_ratio"]["value"] == pytest.approx(1)
    assert methods[CLIMATOLOGY]["crps_ratio"]["value"] == pytest.approx(1)
    assert methods[CLIMATOLOGY]["noise_ratio"]["value"] == pytest.approx(1, abs=0.1)
    assert {"recall_10", "recall_10_swapped", "median_rank"} <= found["retrieval"].keys()


def test_two_questions_are_kept_apart(found):
    redshift, rest = found["redshift"]["methods"], found["rest"]
    assert {"crps", "log_score", "log_score_pdf", "scatter"} < redshift[GENERATED].keys()
    assert "log_score" not in redshift[CONSTANT]
    assert list(rest["methods"]) == [GENERATED, CONSTANT, CLIMATOLOGY, SHIFTED]
    assert rest["methods"][CLIMATOLOGY]["crps_ratio"]["value"] == pytest.approx(1)
    assert rest["methods"][CONSTANT]["mse_mean_ratio"]["value"] == pytest.approx(1)
    assert "coherence" in rest and "Dn4000" in rest["quantities"]
    for entry in rest["methods"][GENERATED].values():
        assert entry["error"] is None or entry["error"] >= 0


def test_candidates_of_the_second_question_have_the_catalogue_redshift(evaluated, tiny_survey):
    survey = Survey(tiny_survey)
    rows = survey.indices("test")[:GALAXIES]
    with h5py.File(evaluated / "candidates_given_redshift.h5") as file:
        z = survey.catalogue["z"][rows].astype("f4")
        np.testing.assert_array_equal(file["redshift"][:], np.repeat(z[:, None], 3, axis=1))


def test_parts_are_exchanged_for_the_same_candidates(evaluated):
    def sampled(name):
        with h5py.File(evaluated / f"{name}.h5") as file:
            order = np.argsort(file["numbers"][:], axis=1)
            columns = file["redshift"][:], file["flux"][..., 0]
            return [np.take_along_axis(values, order, axis=1) for values in columns]

    redshift, flux = sampled("candidates")
    same, without_unet = sampled("candidates_no-unet")
    np.testing.assert_array_equal(same, redshift)
    assert not np.isclose(without_unet, flux, rtol=1e-4).any()
    assert not np.array_equal(sampled("candidates_other-image")[0], redshift)


def test_calibration_classes_photometry_and_memorising_are_reported(found):
    assert {"pixels", "z", "pixels, z given", "Dn4000"} < found["conditional"]["all"].keys()
    assert found["subgroups"]["observed"]["all"]["galaxies"] == GALAXIES
    assert found["photometry"]["bands"][GENERATED].keys() == {"g", "r", "i"}
    assert len(found["memorising"]["distances"][GENERATED]["pixels"]) == 3


def test_errors_of_the_constant_are_those_of_the_training_mean(found, tiny_survey):
    survey = Survey(tiny_survey)
    rows = survey.indices("test")[:GALAXIES]
    mean = survey.read("spectra", survey.indices("train")).mean(axis=0, dtype=float)
    expected = np.mean((survey.read("spectra", rows) - mean) ** 2)
    constant = found["observed"]["methods"][CONSTANT]["mse_mean"]["value"]
    assert constant == pytest.approx(expected, rel=1e-4)


def test_regression_learns_from_the_tiny_images(found):
    ratio = found["observed"]["methods"][REGRESSION]["mse_mean_ratio"]["value"]
    assert ratio < 0.8  # slope and line strength follow from colour and brightness


def test_a_regression_of_other_images_or_spectra_is_refused(tiny_regression, tiny_survey):
    smoothed = replace(Survey(tiny_survey).preparation, smoothing_sigma_angstrom=1.0)
    for name, value in (
        ("pixel_scale_arcsec", 0.2), ("image_unit", "count"), ("preparation", smoothed)
    ):  # fmt: skip
        survey = Survey(tiny_survey)
        setattr(survey, name, value)
        with pytest.raises(UserError, match=rf"tiny\.h5: {name} is .*utils\.train_regression"):
            load_regression(tiny_regression, survey, torch.device("cpu"))


def test_tables_hold_the_metrics(evaluated, found):
    table = (evaluated / "table.md").read_text()
    assert f"{GALAXIES} galaxies of the test split, 3 candidates each" in table
    generated = found["observed"]["methods"][GENERATED]
    assert f"| generated | {plus_minus(generated['crps_ratio'])} |" in table
    for heading in HEADINGS.values():
        assert f"## {heading}" in table
    assert "another image: all networks" in table and "without the U-Net" in table
    details = (evaluated / "details.md").read_text()
    assert "| true spectra |" in details and "| coherent |" in table
    for heading in ("Calibration by magnitude and redshift", "Classes of galaxies", "Coherence"):
        assert f"# {heading}" in details
    for block in details.split("\n\n"):  # every row of a table has as many cells as its header
        rows = [line.count("|") for line in block.splitlines() if line.startswith("|")]
        assert len(set(rows)) <= 1, block


def test_galaxies_are_kept_one_by_one(evaluated, found, tiny_survey):
    with h5py.File(evaluated / "galaxies.h5") as file:
        errors = file["errors/observed/generated/mse_mean"][:]
        mean = found["observed"]["methods"][GENERATED]["mse_mean"]["value"]
        assert errors.mean() == pytest.approx(mean)
        assert file["errors/redshift/generated/crps"].shape == (GALAXIES,)
        rows = Survey(tiny_survey).indices("test")[:GALAXIES]
        np.testing.assert_array_equal(file["row"], rows)
        assert file["measured/observed/generated/Dn4000"].shape == (GALAXIES, 3)
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
            order, values = file["order"][:], file["measured/observed/generated/Dn4000"][:]
        return order, np.take_along_axis(values, np.argsort(order, axis=1), axis=1)

    first_order, first = in_order_of_candidates()
    monkeypatch.setattr(generating.Pipeline, "generate", never)
    monkeypatch.setattr(measuring, "measure", never)
    more = ("--regression", str(tiny_regression), "--rank", "both", "--ablations", *ABLATIONS)
    assert run(tiny_generator, tiny_survey, evaluated, *more) == 0
    again = json.loads((evaluated / "evaluation.json").read_text())
    assert again["sources"]["rank"] == "both"
    order, values = in_order_of_candidates()
    assert not np.array_equal(order, first_order)
    np.testing.assert_array_equal(values, first)
    for name in ("mse_mean", "crps", "mse_oracle"):
        one, two = (x["observed"]["methods"][GENERATED][name]["value"] for x in (again, found))
        assert one == pytest.approx(two)


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
    assert "quantities" not in json.loads((tmp_path / "evaluation.json").read_text())["observed"]


def test_a_second_evaluation_in_the_folder_has_to_wait(
    tiny_generator, tiny_survey, tmp_path, capsys
):
    with lock_folder(tmp_path):
        assert run(tiny_generator, tiny_survey, tmp_path, "--no-measure") == 2
    assert "another run is writing here" in capsys.readouterr().err


@pytest.fixture
def without_candidates(evaluated, tmp_path):
    """A copy of the evaluation's folder from which a user has deleted the candidates."""
    folder = shutil.copytree(evaluated, tmp_path / "copy")
    for path in folder.glob("candidates*.h5"):
        path.unlink()
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
    metrics = json.loads((without_candidates / "evaluation.json").read_text())
    constant = metrics["observed"]["methods"][CONSTANT]
    assert metrics["rest"]["methods"]  # these candidates answer both questions
    assert metrics["redshift"] == {}  # the third is not asked where the redshift is given
    assert (
        "## The spectrum as observed, redshift given, S/N inf"
        in (without_candidates / "table.md").read_text()
    )
    mean = survey.truth("noiseless", survey.indices("train")).mean(axis=0, dtype=float)
    error = ((survey.truth("noiseless", rows) - mean) ** 2).mean()
    assert constant["mse_mean"]["value"] == pytest.approx(error, rel=1e-3)


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
    assert any(np.array_equal(measured[i], flux[0]) for i in range(len(measured)))


def test_candidates_of_another_evaluation_are_refused(
    evaluated, tiny_generator, tiny_survey, capsys
):
    assert run(tiny_generator, tiny_survey, evaluated, "--seed", "9") == USER_ERROR
    error = capsys.readouterr().err
    assert "belongs to another evaluation (another seed)" in error and "--output" in error


def test_candidates_of_another_version_of_the_code_are_refused(
    evaluated, tiny_generator, tiny_survey, monkeypatch, capsys
):
    monkeypatch.setattr("utils.evaluation.setup.code_digest", lambda *paths: "of tomorrow")
    assert run(tiny_generator, tiny_survey, evaluated) == USER_ERROR
    assert "another code" in capsys.readouterr().err


def test_a_survey_of_other_galaxies_has_the_baselines_of_the_training_survey(
    tiny_generator, tiny_survey, tmp_path, capsys
):
    other = make_tiny_survey(tmp_path / "other.h5", 30, seed=4)
    more = ("--split", "all", "--training-survey", str(tiny_survey), "--no-measure")
    assert run(tiny_generator, other, tmp_path / "shifted", *more) == 0
    assert "too good" not in capsys.readouterr().err
    metrics = json.loads((tmp_path / "shifted" / "evaluation.json").read_text())
    assert metrics["identity"]["galaxies"] == GALAXIES and "retrieval" not in metrics
    training = Survey(tiny_survey)
    mean = training.read("spectra", training.indices("train")).mean(axis=0, dtype=float)
    truth = Survey(other).read("spectra", np.arange(GALAXIES))
    constant = metrics["observed"]["methods"][CONSTANT]["mse_mean"]["value"]
    assert constant == pytest.approx(np.mean((truth - mean) ** 2), rel=1e-4)


def test_scores_of_training_galaxies_are_warned_of(tiny_generator, tiny_survey, tmp_path, capsys):
    assert run(tiny_generator, tiny_survey, tmp_path, "--split", "all", "--no-measure") == 0
    known = np.intersect1d(np.arange(GALAXIES), Survey(tiny_survey).indices("train"))
    assert f"{np.sum(known > 0)} of {GALAXIES} galaxies are among those" in capsys.readouterr().err


@pytest.fixture
def changed_survey(tiny_survey, tmp_path):
    """Copies the tiny survey with other settings or columns of the catalogue."""

    def change(settings=None, **columns):
        path = shutil.copy(tiny_survey, tmp_path / "changed.h5")
        with h5py.File(path, "r+") as file:
            found = json.loads(file.attrs["settings"]) | (settings or {})
            file.attrs["settings"] = json.dumps(found)
            for name, values in columns.items():
                file[f"catalogue/{name}"][...] = values
        return path

    return change


def test_galaxies_without_a_redshift_are_left_out(
    changed_survey, tiny_generator, tiny_survey, tmp_path, capsys
):
    survey = Survey(tiny_survey)
    test, training = survey.indices("test"), survey.indices("train")
    z = survey.catalogue["z"].copy()
    z[[test[1], *training[:2]]] = np.nan
    path = changed_survey(z=z)
    assert run(tiny_generator, path, tmp_path, "--template-fit", "--no-measure") == 0
    out = capsys.readouterr().out
    assert f"1 of {len(test)} galaxies (test) have no redshift" in out
    assert f"2 of {len(training)} galaxies (train) have no redshift" in out
    metrics = json.loads((tmp_path / "evaluation.json").read_text())
    assert CONSTANT in metrics["redshift"]["methods"] and TEMPLATES in metrics["rest"]["methods"]
    with h5py.File(tmp_path / "galaxies.h5") as file:
        np.testing.assert_array_equal(file["row"], np.delete(test, 1)[:GALAXIES])


def test_a_survey_without_redshifts_is_evaluated_as_observed(
    changed_survey, tiny_generator, tmp_path, capsys
):
    path = changed_survey(z=np.nan)
    assert run(tiny_generator, path, tmp_path, "--no-measure") == 0
    assert "given redshift are not evaluated" in capsys.readouterr().out
    metrics = json.loads((tmp_path / "evaluation.json").read_text())
    assert metrics["observed"]["methods"] and "rest" not in metrics
    assert run(tiny_generator, path, tmp_path, "--template-fit") == USER_ERROR
    assert "has no redshifts of training galaxies" in capsys.readouterr().err


def test_given_redshifts_that_the_network_cannot_take_are_refused(
    changed_survey, tiny_generator, tmp_path, capsys
):
    path = changed_survey(z=0.02)
    assert run(tiny_generator, path, tmp_path, "--redshift", "given") == USER_ERROR
    assert "--redshift given: the network is trained for" in capsys.readouterr().err


def test_images_of_another_scale_are_refused(changed_survey, tiny_generator, tmp_path, capsys):
    path = changed_survey({"pixel_scale_arcsec": 0.262})
    assert run(tiny_generator, path, tmp_path) == USER_ERROR
    assert f"{path}: pixel_scale_arcsec is 0.262" in capsys.readouterr().err


def test_images_of_another_size_are_refused(changed_survey, tiny_generator, tmp_path, capsys):
    path = changed_survey()
    with h5py.File(path, "r+") as file:
        images = file["images"][..., 8:-8, 8:-8]
        del file["images"]
        file["images"] = images
    assert run(tiny_generator, path, tmp_path) == USER_ERROR
    assert f"{path}: image_size is 48" in capsys.readouterr().err


@pytest.mark.parametrize("more", [("--galaxies", "0"), ("--galaxies", "-3"), ("--candidates", "0")])
def test_numbers_below_one_are_refused(tiny_generator, tiny_survey, tmp_path, more, capsys):
    with pytest.raises(SystemExit):
        run(tiny_generator, tiny_survey, tmp_path, *more)
    assert "at least 1 is needed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "missing", "message"),
    [
        (("--candidates", "1"), None, "--candidates 1: .* at least 2"),
        (("--candidates", "500"), None, "training galaxies, .* fewer --candidates"),
        ((), "train", "changed.h5: 0 training galaxies, .* --training-survey"),
        (("--regression", "REGRESSION"), "validation", "--regression: .* 0 validation"),
    ],
)
def test_numbers_of_galaxies_that_do_not_suffice_are_refused(
    changed_survey, tiny_generator, tiny_regression, tmp_path, more, missing, message, capsys
):
    more = [str(tiny_regression) if word == "REGRESSION" else word for word in more]
    split = Survey(changed_survey()).catalogue["split"]
    if missing:
        split = np.where(split == SPLITS[missing], SPLITS["test"], split)
    assert run(tiny_generator, changed_survey(split=split), tmp_path, *more) == USER_ERROR
    assert re.search(message, capsys.readouterr().err)


def test_template_fit_needs_calibrated_images(tiny_generator, tiny_survey, tmp_path):
    assert run(tiny_generator, tiny_survey, tmp_path, "--template-fit", "--no-measure") == 0
    metrics = json.loads((tmp_path / "evaluation.json").read_text())
    assert TEMPLATES in metrics["observed"]["methods"] and TEMPLATES in metrics["rest"]["methods"]


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
    assert {"given_redshift", "redshift_pdfs", "reliability"} < names
    assert draw_mass_metallicity(results) is None  # the tiny survey has no masses
    with h5py.File(evaluated / "candidates.h5") as file:
        np.testing.assert_array_equal(results.galaxy(3).scores, file["scores"][3][results.order[3]])
    axes = draw_errors(results).axes
    assert len(axes) == 6 and len(axes[3].get_yticks()) == len(results.methods) - 2
    assert len(draw_reliability(results).axes) == 6
    assert len(draw_given_redshift(results).axes) == 8
    assert len(draw_redshift_pdfs(results).axes) == 8


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
