"""Evaluations side by side as Markdown tables: see `utils.compare_evaluations`.

Runs that differ in the seed alone share a row. Its value is the mean over the seeds; its error
combines that of the galaxies, of scores averaged over the seeds first, with the scatter s of S
seeds, √(e² + s²/S). A difference to a baseline is taken galaxy by galaxy, in the same units.
"""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from collections.abc import Collection, Iterable
from pathlib import Path

import h5py
import numpy as np

from datasets.errors import UserError
from utils.evaluation.bootstrap import mean_with_error, ratio_with_error
from utils.evaluation.columns import COLUMNS, HEADINGS, Column, find
from utils.evaluation.markdown import interval, plus_minus, rows_of
from utils.evaluation.method import GENERATED, PHOTOMETRY, SHIFTED
from utils.evaluation.question import QUESTIONS, REST

NEIGHBOURS = "neighbours"  # the strongest baseline of each question
COMPARED = 3  # scores, the first of each table, whose differences to the baseline are shown


class Run:
    """One evaluation: its metrics, and the scores of its galaxies.

    Args:
        folder: of the evaluation, or its `evaluation.json`.

    Raises:
        UserError: there is none, or it cannot be read.
    """

    def __init__(self, folder: Path):
        self.folder = _folder_of(folder)
        path = self.folder / "evaluation.json"
        try:
            self.metrics = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise UserError(f"{path}: not found; make it with python -m utils.evaluate") from error
        except ValueError as error:
            raise UserError(
                f"{path}: not a JSON file ({error}); run utils.evaluate again"
            ) from error

    def score(self, question: str, method: str, name: str) -> np.ndarray | None:
        """The score `name` (N,) of each galaxy, or None."""
        path = self.folder / "galaxies.h5"
        if not path.exists():
            return None
        with h5py.File(path) as file:
            columns = file.get(f"errors/{question}/{method}", {})
            return columns[name][:] if name in columns else None

    @property
    def galaxies(self) -> tuple[str, int]:
        """What identifies the galaxies: runs of the same ones are paired."""
        identity = self.metrics["identity"]
        return json.dumps(identity["survey"]) + identity["split"], identity["galaxies"]


def compare(folders: Iterable[Path], baseline: str | None = None) -> str:
    """The Markdown tables of evaluations, one per question.

    Args:
        folders: of the evaluations.
        baseline: method that every row is compared with; `NEIGHBOURS` takes those in photometry,
            and in photometry and redshift where the redshift is given; None makes no differences.

    Raises:
        UserError: a folder holds no readable evaluation; the galaxies of a row differ; none of the
            evaluations has the baseline.
    """
    groups = {name: [Run(f) for f in own] for name, own in group_seeds(folders).items()}
    for name, runs in groups.items():
        if len({run.galaxies for run in runs}) > 1:
            raise UserError(f"{name}: the seeds were evaluated on different galaxies")
    _check_baseline(baseline, [run for runs in groups.values() for run in runs])
    lines = [f"{name}: {len(runs)} seeds" for name, runs in groups.items() if len(runs) > 1]
    lines += [""] if lines else []
    for question in QUESTIONS:
        table = _table(groups, question, baseline)
        if table:
            lines += [f"## {HEADINGS[question]}", "", *table]
    return "\n".join(lines)


def group_seeds(folders: Iterable[Path]) -> dict[str, list[Path]]:
    """Folders of evaluations by the name of their row; a folder that is given twice counts once.

    Only runs with the suffix `seed1`, `-seed1`, `_seed1` or ` seed1`, in the same folder, share a
    row, named without it: `demo` and `demo2` are two runs. A run `seed1` has the name of the folder
    that it is in. Equal names are preceded by as many parents as it takes to tell them apart.
    """
    groups: dict[Path, list[Path]] = defaultdict(list)  # by folder, a star for the seed
    named: dict[Path, Path] = {}  # whose last parts are the name
    for folder in dict.fromkeys(_folder_of(folder).resolve() for folder in folders):
        run = folder.parent if folder.name == "evaluation" else folder
        stem = re.sub(r"[-_ ]?seed[-_]?\d+$", "", run.name)
        row = folder
        if stem != run.name:
            row = run.with_name(f"{stem}-seed*") / folder.relative_to(run)
        groups[row].append(folder)
        named[row] = run.parent / stem
    return {_distinct(named[row], named.values()) or str(row): own for row, own in groups.items()}


def _folder_of(path: Path) -> Path:
    return path.parent if path.name == "evaluation.json" else path


def _distinct(path: Path, others: Collection[Path]) -> str | None:
    """The last parts of `path`, as many as only one of `others`, itself, ends with, if any."""
    for count in range(1, len(path.parts)):
        if sum(other.parts[-count:] == path.parts[-count:] for other in others) == 1:
            return "/".join(path.parts[-count:])
    return None


def _check_baseline(baseline: str | None, runs: list[Run]) -> None:
    parts = [run.metrics.get(question) or {} for run in runs for question in QUESTIONS]
    methods = dict.fromkeys(name for part in parts for name in part.get("methods", {}))
    if baseline not in (None, NEIGHBOURS, *methods):
        raise UserError(
            f"--baseline {baseline}: not among the methods {', '.join(methods)}; name one of them, "
            f"or {NEIGHBOURS}"
        )


def _table(groups: dict[str, list[Run]], question: str, baseline: str | None) -> list[str]:
    """The table of a question, a row for each method of every group; differences that no row has
    are left out."""
    columns = COLUMNS[question]
    if baseline == NEIGHBOURS:
        baseline = SHIFTED if question == REST else PHOTOMETRY
    rows = [
        (name, runs, method)
        for name, runs in groups.items()
        for method in (runs[0].metrics.get(question) or {}).get("methods", {})
    ]
    cells = {
        c.label: [plus_minus(pooled(runs, question, m, c), c.scale) for _, runs, m in rows]
        for c in columns
    }
    for c in [column for column in columns if column.score and baseline][:COMPARED]:
        differences = [pooled_difference(runs, question, m, baseline, c) for _, runs, m in rows]
        if any(differences):
            cells[f"{c.label} minus {baseline}"] = [interval(d, c.scale) for d in differences]
    labels = [
        name if m == GENERATED else f"{name}: {m}" if len(groups) > 1 else m for name, _, m in rows
    ]
    lines = zip(labels, *cells.values(), strict=True)
    return rows_of(["", *cells], lines) if rows else []


def pooled(runs: list[Run], question: str, method: str, column: Column) -> dict | None:
    """A metric of a method over the seeds, with `value` and `error`; None where there is none."""
    entries = [find(run.metrics.get(question) or {}, column.path, method) for run in runs]
    values = [e["value"] for e in entries if e and e["value"] is not None]
    if not values:
        return None
    errors = [e.get("error") or math.nan for e in entries if e]
    own = _of_galaxies(runs, question, method, column)
    error = own["error"] if own else float(np.mean(errors))
    return {"value": float(np.mean(values)), "error": _with_scatter(error, values)}


def pooled_difference(
    runs: list[Run], question: str, method: str, baseline: str, column: Column
) -> dict | None:
    """A method minus the baseline on the same galaxies, with its 95 % interval."""
    if method == baseline:
        return None
    differences = []
    for run in runs:
        own, other = (_in_units(run, question, m, column) for m in (method, baseline))
        if own is None or other is None:
            return None
        differences.append(own - other)
    mean = mean_with_error(np.mean(differences, axis=0))
    half = 1.96 * _with_scatter(mean["error"], [d.mean() for d in differences])
    return {"value": mean["value"], "low": mean["value"] - half, "high": mean["value"] + half}


def _with_scatter(error: float, values: list[float]) -> float:
    scatter = np.var(values, ddof=1) / len(values) if len(values) > 1 else 0.0
    return float(np.sqrt(error**2 + scatter))


def _of_galaxies(runs: list[Run], question: str, method: str, column: Column) -> dict | None:
    """The metric of scores that are averaged over the seeds first; None if it is not a mean."""
    if column.score is None:
        return None
    name, unit = column.score
    own = [run.score(question, method, name) for run in runs]
    if any(score is None for score in own):
        return None
    if unit is None:
        return mean_with_error(np.mean(own, axis=0))
    units = [run.score(question, unit, _unit_score(name)) for run in runs]
    return ratio_with_error(np.mean(own, axis=0), np.mean(units, axis=0))


def _in_units(run: Run, question: str, method: str, column: Column) -> np.ndarray | None:
    name, unit = column.score
    own = run.score(question, method, name)
    if own is None or unit is None:
        return own
    return own / run.score(question, unit, _unit_score(name)).mean()


def _unit_score(name: str) -> str:
    return "mse_mean" if name.startswith("mse") else name
