"""The direction of dependencies: scripts -> utils -> models, datasets."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = {"models", "datasets", "utils"}
ALLOWED = {
    "models": {"models"},
    "datasets": {"datasets"},
    "utils": {"models", "datasets", "utils"},
}
MODEL_PACKAGES = {"torch"}  # functions of tensors: nothing that reads files, logs or plots


def imported(source: str) -> set[str]:
    """The first part of the name of all a module imports; relative imports stay in their room."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module.partition(".")[0])
    return names


@pytest.mark.parametrize("room", sorted(ALLOWED))
def test_rooms_import_only_downwards(room):
    files = sorted((ROOT / room).rglob("*.py"))
    assert files
    for path in files:
        wrong = (imported(path.read_text()) & ROOMS) - ALLOWED[room]
        assert not wrong, f"{path.relative_to(ROOT)} imports {sorted(wrong)}"


def test_nothing_imports_a_script():
    scripts = {path.stem for path in ROOT.glob("*.py")}
    for room in ROOMS:
        for path in (ROOT / room).rglob("*.py"):
            assert not imported(path.read_text()) & scripts, path.relative_to(ROOT)


def test_models_are_functions_of_tensors():
    harmless = {"abc", "collections", "dataclasses", "functools", "hashlib", "itertools", "math"}
    for path in (ROOT / "models").glob("*.py"):
        other = imported(path.read_text()) - MODEL_PACKAGES - harmless - {"models", "typing"}
        assert not other, f"{path.relative_to(ROOT)} imports {sorted(other)}"


def test_the_reader_of_imports_sees_an_offence():
    offence = "def f():\n    from utils.runs import x\nimport models.unet, os"
    assert imported(offence) == {"utils", "models", "os"}
