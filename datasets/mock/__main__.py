"""Command line of the mock survey: `python -m datasets.mock OUT.h5 --count 5000 --seed 1`."""

from __future__ import annotations

import argparse
import sys

from datasets.command_parser import CommandParser
from datasets.errors import run_command
from datasets.processors import usable_cores


def main(argv: list[str] | None = None) -> int:
    """Parse the arguments and write the survey; returns the exit status."""
    parser = CommandParser(
        "Write a mock survey: u g r i z cutouts, fibre spectra and their truth.",
        "python -m datasets.mock",
    )
    add = parser.add_argument
    add("path", metavar="OUT.h5", help="survey file to write")
    add("--count", type=int, default=5000, help="number of galaxies (%(default)s)")
    add("--seed", type=int, default=1, help="same seed, same galaxies (%(default)s)")
    add("--pictures", action="store_true", help="colour pictures (R, G, B), not ugriz images")
    add("--workers", type=int, default=usable_cores(), help="processes (%(default)s)")
    shift = parser.add_argument_group("domain shift, to test a generator on another survey")
    shift.add_argument(
        "--seeing", type=float, default=1.0, help="factor of the images' seeing (%(default)s)"
    )
    shift.add_argument(
        "--depth", type=float, default=1.0, help="factor of the images' exposure (%(default)s)"
    )
    shift.add_argument(
        "--pixel-scale-error",
        type=float,
        default=1.0,
        help="factor by which the pixels are larger than the file says (%(default)s)",
    )
    shift.add_argument(
        "--redshifts", type=float, nargs=2, default=(0.05, 0.15), metavar=("LOW", "HIGH"),
        help="range, within 0.01 and 0.2 (%(default)s)",
    )  # fmt: skip
    add("--overwrite", action="store_true", help="replace an existing file")
    return run_command(_make, parser.parse_args(argv))


def _make(options: argparse.Namespace) -> int:
    # after the arguments are parsed: these take seconds to import
    from datasets.mock.build import make_mock
    from datasets.mock.conditions import Shift

    shift = Shift(
        options.seeing, options.depth, options.pixel_scale_error, tuple(options.redshifts)
    )
    make_mock(
        options.path,
        options.count,
        options.seed,
        workers=options.workers,
        progress=sys.stderr.isatty(),
        overwrite=options.overwrite,
        colour=options.pictures,
        shift=shift,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
