"""The demo keeps its promises: from nothing, with figures that pass the gates."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_demo_passes_its_gates(tmp_path):
    folder = tmp_path / "demo"
    subprocess.run(
        ["make", "demo", f"DEMO={folder}", f"PYTHON={sys.executable}"], cwd=ROOT, check=True
    )
    figures = json.loads((folder / "evaluation" / "evaluation.json").read_text())
    generated = figures["methods"]["generated"]
    assert generated["mse_mean_ratio"] <= 0.92
    assert generated["crps_ratio"] <= 0.80
    assert figures["retrieval"]["recall_10_swapped"] >= 0.40
    assert figures["retrieval"]["pool"] == 500
    assert 0.58 <= generated["coverage"] <= 0.75
    assert len(list((folder / "spectra" / "spectra").glob("*.fits"))) == 16
    assert (folder / "generated.png").stat().st_size > 50_000


def test_every_step_of_the_demo_is_a_command_that_exists():
    listed = subprocess.run(
        ["make", "--dry-run", "--always-make", "demo"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.replace("\\\n", " ")
    commands = [line.split() for line in listed.splitlines() if "/bin/python " in line]
    scripts = [words[1] for words in commands if words[1].endswith(".py")]
    modules = [words[2] for words in commands if words[1] == "-m" and words[2] != "pip"]
    assert scripts == ["train_contrastive.py", "train_generative.py", "generate.py"]
    assert {"datasets.mock", "utils.export_cutouts", "utils.evaluate"} <= set(modules)
    for module in modules:
        if module != "venv":
            path = ROOT / module.replace(".", "/")
            assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module
