"""Write galaxies of a survey as a folder of FITS cutouts, as a user would bring them.

python -m utils.export_cutouts data/survey.h5 cutouts --split test --count 24
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from datasets.command_parser import CommandParser
from datasets.constants import SPLITS
from datasets.errors import run_command


def main(argv: list[str] | None = None) -> int:
    """Parse and write; returns the exit status."""
    parser = CommandParser(__doc__, "python -m utils.export_cutouts")
    parser.add_argument("survey", help="survey file")
    parser.add_argument("output", type=Path, help="folder for the cutouts, made if needed")
    parser.add_argument("--split", default="test", choices=SPLITS, help="%(default)s")
    parser.add_argument("--count", type=int, default=24, help="first galaxies (%(default)s)")
    return run_command(_export, parser.parse_args(argv))


def _export(options: argparse.Namespace) -> int:
    # after the arguments are parsed: these take seconds to import
    from datasets.cutouts.export import export
    from datasets.survey import Survey

    export(Survey(options.survey), options.output, options.split, options.count)
    return 0


if __name__ == "__main__":
    sys.exit(main())
