"""Cut galaxies out of SDSS frames, with all bands on one pixel grid.

    python -m utils.cut_frames frame-*.fits.bz2 --positions galaxies.csv --output cutouts

The table, CSV or FITS such as the catalogue that `generate.py` writes, has the columns `ra` and
`dec` (degrees) and may have `name`, `objid` or `identifier`, and `z` or `redshift`. Every position
that lies far enough inside a field becomes a FITS cube that `generate.py` reads.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from datasets.command_parser import CommandParser
from datasets.errors import run_command


def main(argv: Sequence[str] | None = None) -> int:
    """Parse and cut; 1 if positions lie outside all fields."""
    parser = CommandParser(__doc__, "python -m utils.cut_frames")
    parser.add_argument("frames", nargs="+", type=Path, help="SDSS frames, all bands of a field")
    parser.add_argument("--positions", required=True, type=Path, help="table: ra, dec (deg)")
    parser.add_argument("--output", required=True, type=Path, help="folder for the cutouts")
    parser.add_argument("--size", type=int, default=64, help="side in px (%(default)s)")
    return run_command(_cut, parser.parse_args(argv))


def _cut(options: argparse.Namespace) -> int:
    # after the arguments are parsed: these take seconds to import
    from datasets.sdss.frames import cut_fields, read_positions

    positions, refused = read_positions(options.positions)
    missing = cut_fields(options.frames, positions, options.output, options.size)
    print(f"{len(positions) - len(missing)} cutouts in {options.output}")
    refused += [(position.name, "not inside any field") for position in missing]
    for name, reason in refused:
        print(f"{name}: {reason}", file=sys.stderr)
    return int(bool(refused))


if __name__ == "__main__":
    sys.exit(main())
