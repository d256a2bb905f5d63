"""The code and the files that a result comes from."""

from __future__ import annotations

import hashlib
import platform
from importlib.metadata import version
from pathlib import Path

from datasets.version import code_version

DEPENDENCIES = {"torch": "torch", "ignite": "pytorch-ignite", "numpy": "numpy"}  # distributions


def versions() -> dict[str, str]:
    """Versions of this code and of the packages that its results depend on."""
    packages = {name: version(distribution) for name, distribution in DEPENDENCIES.items()}
    return {"code": code_version(), "python": platform.python_version(), **packages}


def file_digest(path: str | Path) -> str:
    """First 16 hexadecimal digits of a file's SHA-256, to name a checkpoint in its products."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
