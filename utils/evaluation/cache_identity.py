"""What a cache was made from, so that one made from something else is never used.

A cache, an HDF5 file or a group in one, carries its identity as JSON in an attribute: checkpoint,
survey, options, and a digest of the code that filled it.
"""

from __future__ import annotations

import ast
import hashlib
import json
from functools import cache
from pathlib import Path

import h5py
import numpy as np

ATTRIBUTE = "identity"
ROOT = Path(__file__).parents[2]  # of the project
NETWORK_CODE = (
    "models",
    "datasets/image_transform.py",
    "datasets/spectrum_transform.py",
    "datasets/photometry.py",
    "datasets/constants.py",
)  # that decides what a trained network gives for an image or a spectrum


@cache
def code_digest(*paths: str) -> str:
    """First 16 hexadecimal digits of a SHA-256 of source code, without comments and docstrings.

    Args:
        paths: of modules, or of packages with all their modules, from the project's root.
    """
    digest = hashlib.sha256()
    for path in paths:
        files = sorted((ROOT / path).rglob("*.py")) if (ROOT / path).is_dir() else [ROOT / path]
        for file in files:
            digest.update(f"{file.relative_to(ROOT)}\n{_statements(file.read_text())}".encode())
    return digest.hexdigest()[:16]


def _statements(source: str) -> str:
    """The syntax tree of `source` as text; a string that stands alone does nothing."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(body := getattr(node, "body", None), list):
            node.body = [line for line in body if not _is_text(line)]
    return ast.dump(tree)


def _is_text(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def array_digest(*arrays: np.ndarray) -> str:
    """First 16 hexadecimal digits of a SHA-256 of arrays: types, shapes and values."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def differences(cached: h5py.File | h5py.Group, identity: dict) -> list[str]:
    """Names of the entries in which the identity of a cache differs from `identity`; none if they
    are the same. A cache without an identity differs in all."""
    found = json.loads(cached.attrs.get(ATTRIBUTE, "{}"))
    wanted = json.loads(json.dumps(identity))  # tuples become lists, as in the file
    return [name for name in {**wanted, **found} if found.get(name, ...) != wanted.get(name, ...)]


def label(cached: h5py.File | h5py.Group, identity: dict) -> None:
    """Give a new cache its identity."""
    cached.attrs[ATTRIBUTE] = json.dumps(identity)
