"""Evaluations side by side: names of rows, means over seeds, missing values."""

import json

import pytest

from utils.compare_evaluations import main
from utils.evaluation.comparison import compare, run_name
from utils.evaluation.method import PHOTOMETRY


def write(folder, mse, **more):
    metrics = {
        "methods": {
            "generated": {"mse_mean_ratio": mse, "crps_ratio": 0.5, **more},
            PHOTOMETRY: {"mse_mean_ratio": 0.65},
        },
        "quantities": {"z": {"generated": {"scatter": {"value": 0.0123}, "coverage_68": None}}},
    }
    folder.mkdir(parents=True)
    (folder / "evaluation.json").write_text(json.dumps(metrics))
    return folder


def test_seeds_share_a_row_and_baselines_stand_once(tmp_path):
    folders = [
        write(tmp_path / "sampled-seed1" / "evaluation", 0.60),
        write(tmp_path / "sampled-seed2" / "evaluation", 0.64),
        write(tmp_path / "given" / "evaluation", 0.70),
    ]
    text = compare(folders)
    assert "| sampled | 0.620 ± 0.028 | 0.500 ± 0.000 | 0.0123 ± 0.0000 | – |" in text
    assert "| given | 0.700 | 0.500 | 0.0123 | – |" in text
    assert text.count(PHOTOMETRY) == 1
    assert f"| {PHOTOMETRY} | 0.650 | – |" in text


@pytest.mark.parametrize("names", [("demo", "demo2"), ("run-1", "run-2"), ("z0", "z1")])
def test_runs_without_a_seed_in_their_names_are_not_pooled(tmp_path, names):
    text = compare([write(tmp_path / names[0], 0.6), write(tmp_path / names[1], 0.7)])
    assert f"| {names[0]} | 0.600 |" in text and f"| {names[1]} | 0.700 |" in text


@pytest.mark.parametrize("folder", ["a-seed1", "a_seed12", "a seed3", "a-seed-4", "aseed5"])
def test_the_suffix_of_a_seed_is_not_part_of_the_name(tmp_path, folder):
    assert run_name(tmp_path / folder / "evaluation") == "a"
    assert run_name(tmp_path / folder / "evaluation" / "evaluation.json") == "a"


def test_the_table_is_printed_and_written(tmp_path, capsys):
    folder = write(tmp_path / "run" / "evaluation", 0.6, noise_ratio=1.03)
    assert main([str(folder), "--output", str(tmp_path / "table.md")]) == 0
    text = (tmp_path / "table.md").read_text()
    assert "1.03" in text and text in capsys.readouterr().out


@pytest.mark.parametrize("content", [None, "{"])
def test_a_folder_without_an_evaluation_is_refused(tmp_path, capsys, content):
    if content:
        (tmp_path / "evaluation.json").write_text(content)
    assert main([str(tmp_path)]) == 2
    assert str(tmp_path / "evaluation.json") in capsys.readouterr().err
