"""Evaluations side by side: names of rows, pooling of seeds, paired differences."""

import json

import h5py
import numpy as np
import pytest

from datasets.errors import UserError
from utils.compare_evaluations import main
from utils.evaluation.columns import COLUMNS
from utils.evaluation.comparison import Run, compare, group_seeds, pooled, pooled_difference
from utils.evaluation.method import CLIMATOLOGY, GENERATED, PHOTOMETRY
from utils.evaluation.question import OBSERVED

GALAXIES = 400
CRPS = COLUMNS[OBSERVED][0]
UNIT = np.random.default_rng(0).uniform(0.5, 1.5, GALAXIES)


def write(folder, crps, survey="a"):
    """An evaluation in which the generator's CRPS is `crps` (N,), the neighbours' 0.6 UNIT."""
    scores = {GENERATED: crps, PHOTOMETRY: 0.6 * UNIT, CLIMATOLOGY: UNIT}
    methods = {
        name: {"crps_ratio": {"value": values.mean() / UNIT.mean(), "error": 0.01}}
        for name, values in scores.items()
    }
    metrics = {
        "identity": {"survey": survey, "split": "test", "galaxies": GALAXIES},
        "observed": {"methods": methods},
    }
    folder.mkdir(parents=True)
    (folder / "evaluation.json").write_text(json.dumps(metrics))
    with h5py.File(folder / "galaxies.h5", "w") as file:
        for name, values in scores.items():
            file[f"errors/observed/{name}/crps"] = values
    return folder


def test_seeds_share_a_row(tmp_path):
    folders = [
        write(tmp_path / "sampled-seed1" / "evaluation", 0.50 * UNIT),
        write(tmp_path / "sampled-seed2" / "evaluation", 0.54 * UNIT),
        write(tmp_path / "given" / "evaluation", 0.7 * UNIT),
    ]
    text = compare(folders)
    assert "sampled: 2 seeds" in text
    # every galaxy has the same ratio, so that the error is that of the seeds, 0.04/2
    assert "| sampled | 0.52 ± 0.02 |" in text
    assert "| given | 0.7 |" in text and f"| given: {PHOTOMETRY} | 0.6 |" in text


def test_error_of_the_galaxies_is_that_of_the_mean_over_seeds(tmp_path):
    generator = np.random.default_rng(1)
    noise = generator.normal(0, 0.1, (2, GALAXIES))
    noise -= noise.mean(axis=1, keepdims=True)  # the seeds agree in the mean
    runs = [Run(write(tmp_path / f"a-seed{k}", 0.5 * UNIT + noise[k])) for k in (0, 1)]
    found = pooled(runs, OBSERVED, GENERATED, CRPS)
    expected = noise.mean(axis=0).std(ddof=1) / np.sqrt(GALAXIES) / UNIT.mean()
    assert found["error"] == pytest.approx(expected, rel=0.05)


def test_differences_are_paired(tmp_path):
    runs = [Run(write(tmp_path / f"a-seed{k}", (0.5 + 0.02 * k) * UNIT)) for k in (0, 1)]
    found = pooled_difference(runs, OBSERVED, GENERATED, PHOTOMETRY, CRPS)
    assert found["value"] == pytest.approx(0.51 - 0.6)
    own = 0.09 * UNIT.std(ddof=1) / UNIT.mean() / np.sqrt(GALAXIES)
    half = 1.96 * np.hypot(own, 0.02 / np.sqrt(2) / np.sqrt(2))
    assert found["high"] - found["value"] == pytest.approx(half, rel=0.01)
    assert pooled_difference(runs, OBSERVED, PHOTOMETRY, PHOTOMETRY, CRPS) is None


def test_seeds_on_different_galaxies_are_refused(tmp_path):
    folders = [write(tmp_path / f"a-seed{k}", UNIT, survey=f"{k}") for k in (0, 1)]
    with pytest.raises(UserError, match="different galaxies"):
        compare(folders)


@pytest.mark.parametrize("names", [("demo", "demo2"), ("run-1", "run-2"), ("z0", "z1")])
def test_runs_without_a_seed_in_their_names_are_not_pooled(tmp_path, names):
    text = compare([write(tmp_path / names[0], 0.6 * UNIT), write(tmp_path / names[1], 0.7 * UNIT)])
    assert f"| {names[0]} | 0.6 |" in text and f"| {names[1]} | 0.7 |" in text


@pytest.mark.parametrize("folder", ["a-seed1", "a_seed12", "a seed3", "a-seed-4", "aseed5"])
def test_the_suffix_of_a_seed_is_not_part_of_the_name(tmp_path, folder):
    path = tmp_path / folder / "evaluation"
    assert group_seeds([path, path / "evaluation.json"]) == {"a": [path.resolve()]}
    assert list(group_seeds([tmp_path / "demo" / "seed1" / "evaluation"])) == ["demo"]


def test_runs_of_the_same_name_in_different_folders_are_not_pooled(tmp_path):
    names = ["A/generative", "B/generative", "A/x-seed1", "A/x-seed2", "B/x-seed1", "A/x"]
    folders = [tmp_path / name / "evaluation" for name in names]
    groups = group_seeds([*folders, folders[0]])
    assert list(groups)[:2] == ["A/generative", "B/generative"]
    assert groups["B/x"] == [folders[4].resolve()]
    assert sorted(map(len, groups.values())) == [1, 1, 1, 1, 2]  # a run without a seed is alone
    text = compare([write(f, k * UNIT, f"{k}") for k, f in enumerate(folders[:2])])
    assert "seeds" not in text and "| A/generative | 0 |" in text


def test_a_baseline_that_none_has_is_refused(tmp_path):
    folder = write(tmp_path / "run", 0.6 * UNIT)
    with pytest.raises(UserError, match=f"--baseline neighbors: .*{PHOTOMETRY}"):
        compare([folder], "neighbors")


def test_differences_that_no_row_has_are_left_out(tmp_path):
    text = compare([write(tmp_path / "run", 0.6 * UNIT)], PHOTOMETRY)
    assert text.count(f"minus {PHOTOMETRY}") == 1  # the CRPS, the one score of these evaluations


def test_the_table_is_printed_and_written(tmp_path, capsys):
    folder = write(tmp_path / "run" / "evaluation", 0.6 * UNIT)
    arguments = [str(folder), "--output", str(tmp_path / "table.md"), "--baseline", "neighbours"]
    assert main(arguments) == 0
    text = (tmp_path / "table.md").read_text()
    assert f"minus {PHOTOMETRY}" in text and text in capsys.readouterr().out


@pytest.mark.parametrize("content", [None, "{"])
def test_a_folder_without_an_evaluation_is_refused(tmp_path, capsys, content):
    if content:
        (tmp_path / "evaluation.json").write_text(content)
    assert main([str(tmp_path)]) == 2
    assert str(tmp_path / "evaluation.json") in capsys.readouterr().err
