"""What the training scripts import, and when: seconds before the first line of output."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.support import ROOT, tiny

TRAINING = ["train_contrastive", "train_generative", "utils.train_regression"]
PROGRAM = """
import importlib, json, sys
try:
    importlib.import_module(sys.argv[1]).main(sys.argv[2:])
except SystemExit:
    pass
print(json.dumps(sorted(sys.modules)))
"""


def modules_of(command: str, *arguments: str) -> set[str]:
    """Names of all modules that are imported when `command` has run with `arguments`."""
    program = [sys.executable, "-c", PROGRAM, command, *arguments]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("command", TRAINING)
def test_help_needs_nothing_heavy(command):
    heavy = {"torch", "ignite", "scipy", "astropy", "h5py", "matplotlib", "numpy"}
    assert not heavy & modules_of(command, "--help")


def test_the_contrastive_stage_needs_neither_line_fitting_nor_generation(tiny_survey):
    arguments = [tiny("contrastive"), f"--data.survey={tiny_survey}", "--dry-run"]
    loaded = modules_of("train_contrastive", *arguments)
    assert "utils.training.trainer" in loaded
    foreign = ("utils.spectroscopy", "utils.generation", "utils.evaluation")
    assert not {name for name in loaded if name.startswith(foreign)}
