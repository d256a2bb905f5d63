"""Evaluations side by side: who is whom, means over seeds, and what is missing."""

import json

import pytest

from utils.compare_evaluations import BASELINE, compare, main


def write(folder, mse, **more):
    figures = {
        "methods": {
            "generated": {"mse_mean_ratio": mse, "crps_ratio": 0.5, **more},
            BASELINE: {"mse_mean_ratio": 0.65},
        },
        "quantities": {"z": {"generated": {"scatter": {"value": 0.0123}, "coverage_68": None}}},
    }
    folder.mkdir(parents=True)
    (folder / "evaluation.json").write_text(json.dumps(figures))
    return folder


def test_seeds_share_a_row_and_baselines_stand_once(tmp_path):
    folders = [
        write(tmp_path / "drawn-seed1" / "evaluation", 0.60),
        write(tmp_path / "drawn-seed2" / "evaluation", 0.64),
        write(tmp_path / "free" / "evaluation", 0.70),
    ]
    text = compare(folders)
    assert "| drawn | 0.620 ± 0.028 | 0.500 ± 0.000 | 0.0123 ± 0.0000 | – |" in text
    assert "| free | 0.700 | 0.500 | 0.0123 | – |" in text
    assert text.count(BASELINE) == 1
    assert f"| {BASELINE} | 0.650 | – |" in text


def test_the_table_is_printed_and_written(tmp_path, capsys):
    folder = write(tmp_path / "run" / "evaluation", 0.6, noise_ratio=1.03)
    assert main([str(folder), "--output", str(tmp_path / "table.md")]) == 0
    text = (tmp_path / "table.md").read_text()
    assert "1.03" in text and text in capsys.readouterr().out


@pytest.mark.parametrize("content", [None, "{"])
def test_a_folder_without_an_evaluation_is_refused(tmp_path, capsys, content):
    if content:
        (tmp_path / "evaluation.json").write_text(content)
    assert main([str(tmp_path)]) == 1
    assert str(tmp_path / "evaluation.json") in capsys.readouterr().err
