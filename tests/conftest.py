"""Fixtures shared by the tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import make_tiny_survey


@pytest.fixture(scope="session")
def tiny_survey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The path of a tiny survey file."""
    return make_tiny_survey(tmp_path_factory.mktemp("survey") / "tiny.h5")
