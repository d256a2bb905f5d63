"""Evaluations side by side, one table per question; runs that differ in the seed share a row.

    python -m utils.compare_evaluations runs/*/evaluation
    python -m utils.compare_evaluations runs/sampled-seed*/evaluation runs/given/evaluation
    python -m utils.compare_evaluations runs/*/evaluation --baseline neighbours
    python -m utils.compare_evaluations runs/*/evaluation --output table.md

The folders are those of `python -m utils.evaluate`. Runs whose names differ only in the suffix
`seed1`, `seed2`, … ("sampled-seed1", "sampled-seed2") share a row: the mean over seeds ± its
standard error, of galaxies and seeds together. `--baseline METHOD` adds differences to a method on
the same galaxies, with 95 % intervals; `neighbours` stands for those in photometry, or in
photometry and redshift.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from datasets.command_parser import CommandParser
from datasets.errors import run_command


def main(argv: list[str] | None = None) -> int:
    """Read, compare, print; returns the exit status."""
    parser = CommandParser(__doc__, "python -m utils.compare_evaluations")
    parser.add_argument("folders", nargs="+", type=Path, help="folders with an evaluation.json")
    parser.add_argument("--baseline", help="method that every row is compared with")
    parser.add_argument("--output", type=Path, help="Markdown file to write the table to as well")
    return run_command(_compare, parser.parse_args(argv))


def _compare(options: argparse.Namespace) -> int:
    from datasets.atomic_files import write_text
    from utils.evaluation.comparison import compare

    table = compare(options.folders, options.baseline)
    if options.output:
        write_text(options.output, table)
    print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
