"""Command line of the mock survey: `python -m datasets.mock OUT.h5 --count 5000 --seed 1`."""

from __future__ import annotations

import argparse
import sys

from datasets.errors import UserError
from datasets.mock.build import make_mock


def main(argv: list[str] | None = None) -> int:
    """Parse the arguments and write the survey; 0 on success, 2 for an argument that cannot be."""
    parser = argparse.ArgumentParser(
        prog="python -m datasets.mock",
        description="Write a mock survey: u g r i z cutouts, fibre spectra and their truth.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("path", metavar="OUT.h5", help="survey file to write")
    parser.add_argument("--count", type=int, default=5000, help="number of galaxies")
    parser.add_argument("--seed", type=int, default=1, help="same seed, same galaxies")
    parser.add_argument(
        "--pictures", action="store_true", help="colour pictures (R, G, B) instead of ugriz images"
    )
    parser.add_argument("--workers", type=int, help="processes; one per core if not given")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing file")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    given = parser.parse_args(argv)
    try:
        make_mock(
            given.path,
            given.count,
            given.seed,
            workers=given.workers,
            progress=not given.quiet,
            overwrite=given.overwrite,
            colour=given.pictures,
        )
    except (UserError, FileExistsError, ValueError) as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
