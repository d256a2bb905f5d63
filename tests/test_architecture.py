"""The house rules that a program can check: which package imports which, and no import cycles."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import ROOT

PACKAGES = ("datasets", "models", "utils", "figures")
# Packages from the bottom up; a module imports its own package and lower levels. Those of one
# level do not import each other.
LEVELS = (
    ("datasets", "models"),
    ("utils.core",),
    ("utils.spectroscopy", "utils.plotting"),
    ("utils.generation",),
    ("utils.training", "utils.original"),
    ("utils.evaluation",),
    ("utils", "figures"),  # commands
    ("",),  # the three scripts
)
# numpy: its Philox generator has a 128-bit key, torch's seeds have 32 bits on a CPU
MODEL_IMPORTS = {"torch", "numpy", "abc", "collections", "dataclasses", "functools", "hashlib",
                 "itertools", "math", "typing"}  # fmt: skip


def source_files() -> dict[str, Path]:
    """Every module of the project outside the tests, by its dotted name."""
    paths = [*ROOT.glob("*.py"), *(p for name in PACKAGES for p in (ROOT / name).rglob("*.py"))]
    return {module_name(path.relative_to(ROOT)): path for path in paths}


def module_name(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def imported(source: str, package: str = "") -> Iterator[str]:
    """Dotted names that a module imports anywhere: in functions, relative, or for type checkers."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1]
            module = ".".join([*(base if node.level else []), *filter(None, [node.module])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def import_graph() -> dict[str, set[str]]:
    files = source_files()
    graph = {}
    for name, path in files.items():
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        graph[name] = (set(imported(path.read_text(), package)) & files.keys()) - {name}
    return graph


def package_of(module: str) -> str:
    """The entry of `LEVELS` that a module belongs to: the longest that it begins with."""
    entries = [entry for level in LEVELS for entry in level]
    fitting = [entry for entry in entries if module == entry or module.startswith(entry + ".")]
    return max(fitting, key=len, default="")


def level_of(package: str) -> int:
    return next(number for number, level in enumerate(LEVELS) if package in level)


def goes_up(importer: str, other: str) -> bool:
    """Whether an import goes against the direction of the house."""
    if other in PACKAGES:  # an empty package file
        return False
    mine, theirs = package_of(importer), package_of(other)
    return mine != theirs and level_of(mine) <= level_of(theirs)


def cycles(graph: dict[str, set[str]]) -> list[set[str]]:
    """Strongly connected components of more than one module, by mutual reachability."""

    def reachable(start: str) -> set[str]:
        found, waiting = set(), [start]
        while waiting:
            for other in graph[waiting.pop()] - found:
                found.add(other)
                waiting.append(other)
        return found

    reach = {name: reachable(name) for name in graph}
    loops = {frozenset(o for o in reach[n] if n in reach[o]) for n in graph if n in reach[n]}
    return [set(loop) for loop in loops]


def test_imports_go_one_way():
    wrong = [(a, b) for a, others in import_graph().items() for b in others if goes_up(a, b)]
    assert not wrong


def test_there_is_no_import_cycle():
    assert not cycles(import_graph())


def test_commands_import_no_other_command():
    graph = import_graph()
    commands = {name for name in graph if package_of(name) == "utils" and name != "utils"}
    assert len(commands) > 5
    assert not {(a, b) for a in commands for b in graph[a] & commands}


def test_each_file_of_utils_is_a_command():
    for path in (ROOT / "utils").glob("*.py"):
        if path.name != "__init__.py":
            tree = ast.parse(path.read_text())
            functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
            assert "main" in functions, path


def test_models_are_functions_of_tensors():
    for name, path in source_files().items():
        if package_of(name) == "models":
            first = {other.partition(".")[0] for other in imported(path.read_text())}
            assert first <= MODEL_IMPORTS | {"models"}, path


@pytest.mark.parametrize(
    ("source", "package", "found"),
    [
        ("def f():\n    from utils.core import x", "", "utils.core.x"),
        ("if TYPE_CHECKING:\n    from datasets.survey import Survey", "", "datasets.survey"),
        ("from .survey import Survey", "datasets", "datasets.survey"),
        ("from ..core import config", "utils.training", "utils.core.config"),
        ("import models.unet, os", "", "models.unet"),
    ],
)
def test_the_reader_of_imports_sees_every_kind(source, package, found):
    assert found in set(imported(source, package))


def test_the_direction_is_refused_upwards_and_sideways():
    assert goes_up("datasets.survey", "utils.core.config")
    assert goes_up("datasets.survey", "models.unet")
    assert goes_up("utils.core.config", "utils.training.trainer")
    assert goes_up("figures.pairs", "utils.measure")
    assert not goes_up("train_contrastive", "utils.core.config")
    assert not goes_up("utils.evaluate", "utils.evaluation.report")


def test_cycles_are_found():
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}
    assert cycles(graph) == [{"a", "b", "c"}]
