"""The version of this code."""

from __future__ import annotations

import subprocess
from pathlib import Path

VERSION = "0.1.0"


def code_version() -> str:
    """The version of this code, with the commit if it is a git checkout."""
    try:
        commit = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=10,
        ).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        commit = ""
    return f"{VERSION}+{commit}" if commit else VERSION
