"""Evaluations side by side: one row for each, or for each group that differs in the seed.

    python -m utils.compare_evaluations runs/*/evaluation
    python -m utils.compare_evaluations runs/drawn-seed*/evaluation runs/free-seed*/evaluation
    --output table.md

The folders are those of `python -m utils.evaluate`. Folders of one name but for a last number
("drawn-seed1", "drawn-seed2") share a row: mean ± standard deviation. The neighbours in photometry,
the strongest baseline, stand below, once for each set of galaxies.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from datasets.atomic_files import write_text
from utils.evaluation.candidate_sources import GENERATED, TRUE_SPECTRA
from utils.evaluation.markdown import NONE, rows_of

BASELINE = "neighbours in photometry"

#: column → path in `evaluation.json` ({} is the method), decimals
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


def main(argv: list[str] | None = None) -> int:
    """Read, compare, print; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m utils.compare_evaluations",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folders", nargs="+", type=Path, help="folders with an evaluation.json")
    parser.add_argument("--output", type=Path, help="write the table here too (Markdown)")
    options = parser.parse_args(argv)
    try:
        table = compare(options.folders)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if options.output:
        write_text(options.output, table)
    print(table)
    return 0


def compare(folders: Iterable[Path]) -> str:
    """The Markdown table of evaluations.

    Raises:
        OSError, ValueError: a folder holds no readable `evaluation.json`.
    """
    groups: dict[str, list[dict]] = defaultdict(list)
    for folder in folders:
        groups[label_of(folder)].append(read(folder))
    rows = [[name, *cells(group, GENERATED)] for name, group in groups.items()]
    judged = {}  # the same galaxies have the same baselines
    for figures in (figures for group in groups.values() for figures in group):
        judged[cells([figures], BASELINE)] = figures
    for figures in judged.values():
        rows.append([BASELINE, *cells([figures], BASELINE)])
        rows.append([TRUE_SPECTRA, *cells([figures], TRUE_SPECTRA)])
    unique = list(dict.fromkeys(tuple(row) for row in rows))
    return "\n".join(rows_of(["", *COLUMNS], unique)) + "\n"


def read(folder: Path) -> dict:
    """The figures of one evaluation."""
    path = folder / "evaluation.json" if folder.is_dir() else folder
    try:
        return json.loads(path.read_text())
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: no evaluation; make it with utils.evaluate") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: no JSON ({error})") from error


def label_of(folder: Path) -> str:
    """The name of a run without the number it ends in: `drawn` of `runs/drawn-seed1/evaluation`."""
    folder = folder.parent if folder.name == "evaluation.json" else folder
    run = folder.parent if folder.name == "evaluation" else folder
    return re.sub(r"[-_ ]?(seed|s)?\d+$", "", run.resolve().name) or run.name


def cells(group: list[dict], method: str) -> tuple[str, ...]:
    """What stands in the columns for a method, over the evaluations of a group."""
    return tuple(
        _cell([_find(figures, path.format(method)) for figures in group], digits)
        for path, digits in COLUMNS.values()
    )


def _find(figures: dict, path: str) -> float:
    value = figures
    for key in path.split("/"):
        value = (value or {}).get(key)
    return math.nan if value is None else value


def _cell(values: list[float], digits: int) -> str:
    known = [value for value in values if math.isfinite(value)]
    if not known:
        return NONE
    text = f"{np.mean(known):.{digits}f}"
    return text if len(known) < 2 else f"{text} ± {np.std(known, ddof=1):.{digits}f}"


if __name__ == "__main__":
    sys.exit(main())
