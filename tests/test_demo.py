"""The demos keep their promises: from nothing, in spite of an interruption, they pass the gates."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import h5py
import matplotlib.pyplot as plt
import numpy as np
import pytest

from datasets.survey import Survey
from tests.support import ROOT


def share_inside(candidates, truth):
    """Share of truths (N,) between the 3rd and the 14th of 16 candidates (N, 16): 0.647 if both
    come from one distribution."""
    assert candidates.shape[1] == 16
    known = np.isfinite(truth) & np.isfinite(candidates).all(axis=1)
    ordered = np.sort(candidates[known], axis=1)
    return np.mean((truth[known] > ordered[:, 2]) & (truth[known] < ordered[:, 13]))


def value(part, path):
    """The value of a metric of an evaluation, by its path."""
    for key in path.split("/"):
        part = part[key]
    return part["value"]


def check_gates(folder):
    metrics = json.loads((folder / "evaluation.json").read_text())
    observed, rest = metrics["observed"], metrics["rest"]
    coherence = observed["coherence"]["generated"]
    assert value(observed, "methods/generated/mse_mean_ratio") <= 0.85
    assert value(observed, "methods/generated/crps_ratio") <= 0.74
    assert value(observed, "methods/generated/noise_ratio") == pytest.approx(1, abs=0.1)
    assert value(rest, "methods/generated/crps_ratio") <= 0.65
    assert value(rest, "methods/generated/energy_100_ratio") <= 0.5
    assert value(metrics, "redshift/methods/generated/scatter") <= 0.019
    assert value(rest, "quantities/Dn4000/generated/scatter") <= 0.10
    assert value(rest, "quantities/Halpha_ew/generated/correlation") >= 0.65
    assert coherence["coherent"]["value"] >= 0.95
    assert coherence["coherent"]["count"] > 1000  # of the candidates have lines to tell it by
    assert value(observed, "coherence/true spectra/coherent") >= 0.98
    for ratio in ("balmer_decrement", "OIII_ratio", "NII_ratio"):  # as dust and atoms have them
        assert coherence["ratios"][ratio]["value"] >= 0.95, ratio
        # [N II] 6548 is strong enough in one of a hundred true spectra: 17 candidates of 4096
        assert coherence["ratios"][ratio]["count"] >= 10, ratio
    assert metrics["retrieval"]["recall_10_swapped"] >= 0.25  # of noisier spectra than before
    assert metrics["retrieval"]["pool"] == 500
    with h5py.File(folder / "galaxies.h5") as file, h5py.File(folder / "candidates.h5") as sampled:
        truth, measured = file["truth"], file["measured/observed/generated"]
        fitted = measured["z"][:]
        wanted = np.take_along_axis(sampled["redshift"][:], file["order"][:], axis=1)
        assert 1.4826 * np.median(np.abs(fitted - wanted)) <= 1e-3
        for name in ("z", "Halpha_ew"):
            assert 0.58 <= share_inside(measured[name][:], truth[name][:]) <= 0.72, name
        flux, rows = sampled["flux"][:, :, ::10], sampled["rows"][:]
        survey = Survey(metrics["sources"]["survey"])
        pixels = np.moveaxis(flux, 2, 1).reshape(-1, flux.shape[1])
        true = survey.read("spectra", rows)[:, ::10].ravel()
        assert 0.58 <= share_inside(pixels, true) <= 0.72


FOLDERS = {"demo": "DEMO", "demo-train": "DEMO_TRAIN"}  # variable with the folder of a target


def command(target, folder, *variables):
    return ["make", target, f"{FOLDERS[target]}={folder}", f"PYTHON={sys.executable}", *variables]


def make(target, folder, *variables):
    subprocess.run(command(target, folder, *variables), cwd=ROOT, check=True)


def interrupt(target, folder, sign):
    """Start a demo, and stop it as Ctrl-C does when the file `sign` appears."""
    started = command(target, folder)
    with subprocess.Popen(started, cwd=ROOT, start_new_session=True) as process:
        while not sign.exists():
            assert process.poll() is None
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)
    assert process.returncode != 0


def check_products(folder):
    assert len(list((folder / "spectra" / "spectra").glob("*.fits"))) == 16
    picture = plt.imread(folder / "generated.png")[..., :3]
    assert picture.std() > 0.05  # not a blank page


@pytest.mark.slow
def test_demo_needs_no_training(tmp_path):
    folder = tmp_path / "demo"
    interrupt("demo", folder, folder / "cutouts.done")
    make("demo", folder)
    check_products(folder)
    metrics = json.loads((folder / "evaluation" / "evaluation.json").read_text())
    assert value(metrics["observed"], "methods/generated/crps_ratio") <= 0.74
    assert value(metrics, "redshift/methods/generated/scatter") <= 0.019


@pytest.mark.slow
def test_demo_with_training_passes_its_gates(tmp_path):
    folder = tmp_path / "demo"
    interrupt("demo-train", folder, folder / "contrastive" / "metrics.csv")  # in the first epoch
    make("demo-train", folder)
    check_gates(folder / "evaluation")
    check_products(folder)


@pytest.mark.slow
def test_the_same_with_20000_training_galaxies_and_as_many_steps(tmp_path):
    folder = tmp_path / "demo"
    make(
        "demo-train",
        folder,
        "COUNT=23600",
        "TOWERS=--optimiser.epochs 4",
        "GENERATOR=--optimiser.epochs 1.25 --parameters.optimiser.epochs 77"
        " --parameters.sampling_steps 20",
    )
    check_gates(folder / "evaluation")


SCRIPTS = {
    "demo": ["generate.py"],
    "demo-train": ["train_contrastive.py", "train_generative.py", "generate.py"],
}


@pytest.mark.parametrize("target", FOLDERS)
def test_every_step_of_the_demos_is_a_command_that_exists(target):
    listed = subprocess.run(
        ["make", "--dry-run", "--always-make", target],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.replace("\\\n", " ")
    commands = [line.split() for line in listed.splitlines() if "/bin/python " in line]
    scripts = [words for words in commands if words[1].endswith(".py")]
    assert [words[1] for words in scripts] == SCRIPTS[target]
    assert all("--resume" in words for words in scripts)
    modules = [words[2] for words in commands if words[1] == "-m" and words[2] != "pip"]
    assert {"datasets.mock", "utils.export_cutouts", "utils.evaluate"} <= set(modules)
    for module in modules:
        if module != "venv":
            path = ROOT / module.replace(".", "/")
            assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module
