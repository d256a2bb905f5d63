"""Evaluations side by side as a Markdown table: see `utils.compare_evaluations`."""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from datasets.errors import UserError
from utils.evaluation.markdown import NONE, rows_of
from utils.evaluation.method import GENERATED, PHOTOMETRY, TRUE_SPECTRA

# column → path in `evaluation.json` ({} is the method), decimals
COLUMNS = {
    "MSE / constant": ("methods/{}/mse_mean_ratio", 3),
    "CRPS / climatology": ("methods/{}/crps_ratio", 3),
    "σ(z)": ("quantities/z/{}/scatter/value", 4),
    "r(EW Hα)": ("quantities/Halpha_ew/{}/correlation/value", 2),
    "r(Mg b)": ("quantities/Mgb/{}/correlation/value", 2),
    "σ(Dn4000)": ("quantities/Dn4000/{}/scatter/value", 3),
    "coverage: pixels": ("methods/{}/coverage_68", 2),
    "z": ("quantities/z/{}/coverage_68", 2),
    "EW Hα": ("quantities/Halpha_ew/{}/coverage_68", 2),
    "noise / true": ("methods/{}/noise_ratio", 2),
    "coherent": ("coherence/{}/coherent/value", 3),
    "groups": ("coherence/{}/usable_groups", 2),
}


def compare(folders: Iterable[Path]) -> str:
    """The Markdown table of evaluations: runs that differ in the seed alone share a row.

    Raises:
        UserError: a folder holds no readable `evaluation.json`.
    """
    groups: dict[str, list[dict]] = defaultdict(list)
    for folder in folders:
        groups[run_name(folder)].append(read(folder))
    rows = [(name, *cells(group, GENERATED)) for name, group in groups.items()]
    baselines = {}  # equal cells belong to the same galaxies
    for metrics in (metrics for group in groups.values() for metrics in group):
        baselines[cells([metrics], PHOTOMETRY)] = cells([metrics], TRUE_SPECTRA)
    for baseline, truth in baselines.items():
        rows += [(PHOTOMETRY, *baseline), (TRUE_SPECTRA, *truth)]
    return "\n".join(rows_of(["", *COLUMNS], dict.fromkeys(rows))) + "\n"


def read(folder: Path) -> dict:
    """The metrics of one evaluation, from its folder or its `evaluation.json`."""
    path = folder / "evaluation.json" if folder.is_dir() else folder
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path}: not found; make it with python -m utils.evaluate") from error
    except ValueError as error:
        raise UserError(f"{path}: not a JSON file ({error}); run utils.evaluate again") from error


def run_name(folder: Path) -> str:
    """The name of a run without the suffix of its seed: `sampled` for `sampled-seed1/evaluation`.

    Only an explicit suffix `seed1`, `-seed1`, `_seed1` or ` seed1` counts: `demo` and `demo2` are
    two runs.
    """
    folder = folder.parent if folder.name == "evaluation.json" else folder
    run = folder.parent if folder.name == "evaluation" else folder
    name = run.resolve().name
    return re.sub(r"[-_ ]?seed[-_]?\d+$", "", name) or name


def cells(group: list[dict], method: str) -> tuple[str, ...]:
    """The cells of a method's row: means and standard deviations over the evaluations `group`."""
    return tuple(
        _cell([_find(metrics, path.format(method)) for metrics in group], digits)
        for path, digits in COLUMNS.values()
    )


def _find(metrics: dict, path: str) -> float:
    value = metrics
    for key in path.split("/"):
        value = (value or {}).get(key)
    return math.nan if value is None else value


def _cell(values: list[float], digits: int) -> str:
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return NONE
    text = f"{np.mean(finite):.{digits}f}"
    return text if len(finite) < 2 else f"{text} ± {np.std(finite, ddof=1):.{digits}f}"
