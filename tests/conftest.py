"""Fixtures shared by the tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

import train_contrastive
import train_generative
from tests.support import make_tiny_survey, tiny

if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)  # one process per core: threads of several would wait for each other


@pytest.fixture(scope="session")
def tiny_survey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The path of a tiny survey file."""
    return make_tiny_survey(tmp_path_factory.mktemp("survey") / "tiny.h5")


@pytest.fixture(scope="session")
def tiny_towers(tiny_survey: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of stage 1, trained on the tiny survey for three epochs."""
    folder = tmp_path_factory.mktemp("runs") / "contrastive"
    arguments = [tiny("contrastive"), f"--data.survey={tiny_survey}", f"--run.output={folder}"]
    assert train_contrastive.main([*arguments, "--optimiser.epochs=3"]) == 0
    return folder / "best.pt"


@pytest.fixture(scope="session")
def tiny_generator(tiny_survey: Path, tiny_towers: Path) -> Path:
    """A checkpoint of stage 2, trained on the tiny survey for two epochs."""
    folder = tiny_towers.parents[1] / "generative"
    arguments = [tiny("generative"), f"--data.survey={tiny_survey}", f"--run.output={folder}"]
    towers = f"--diffusion.contrastive={tiny_towers}"
    assert train_generative.main([*arguments, towers, "--optimiser.epochs=2"]) == 0
    return folder / "best.pt"
