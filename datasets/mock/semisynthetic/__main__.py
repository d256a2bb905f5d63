"""Command line of the semi-synthetic survey."""

from __future__ import annotations

import argparse
import sys

from datasets.command_parser import CommandParser
from datasets.errors import run_command


def main(argv: list[str] | None = None) -> int:
    """Parse the arguments and write the survey; returns the exit status."""
    parser = CommandParser(
        "Write a survey of real SDSS spectra with rendered ugriz images.",
        "python -m datasets.mock.semisynthetic",
    )
    parser.add_argument("path", metavar="OUT.h5", help="survey file to write")
    parser.add_argument("--spectra", required=True, help="HDF5 collection of SDSS spectra")
    parser.add_argument("--seed", type=int, default=1, help="of shapes and noise (%(default)s)")
    parser.add_argument(
        "--moved",
        metavar="K",
        type=int,
        default=0,
        help="also K copies of each galaxy at larger redshifts, in the split of the original",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing file")
    return run_command(_make, parser.parse_args(argv))


def _make(options: argparse.Namespace) -> int:
    # after the arguments are parsed: these take seconds to import
    from datasets.mock.semisynthetic.build import make_semisynthetic

    skipped = make_semisynthetic(
        options.path, options.spectra, options.seed, options.overwrite, options.moved
    )
    listed = f"{options.path}.skipped.csv"
    print(f"{options.path}: {len(skipped)} spectra or copies skipped, see {listed}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
