"""Cut galaxies out of SDSS frames, with all bands on one pixel grid.

    python -m utils.cut_frames frame-*.fits.bz2 --positions galaxies.csv --output cutouts

The table, CSV or FITS such as the catalogue that `generate.py` writes, has the columns `ra` and
`dec` (degrees) and may have `name`, `objid` or `identifier`, and `z` or `redshift`. Every position
that lies far enough inside a field becomes a FITS cube that `generate.py` reads.

The bands of a field are shifted by some pixels against each other. The grid of a cutout is the one
of the r frame, centred on the position; its pixels x_r are carried to the other bands through the
sky, x_b = W_b⁻¹(W_r(x_r)) with W the world coordinates of a frame, and the frames are interpolated
there by cubic splines. The pixels of all bands have the same size, so that flux per pixel is kept.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from datasets.sdss.frames import Frame, FrameError, cut_field, group_fields, read_positions


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m utils.cut_frames", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("frames", nargs="+", type=Path, help="SDSS frames, all bands of a field")
    parser.add_argument("--positions", required=True, type=Path, help="table: ra, dec (deg)")
    parser.add_argument("--output", required=True, type=Path, help="folder for the cutouts")
    parser.add_argument("--size", type=int, default=64, help="side in px (%(default)s)")
    options = parser.parse_args(argv)
    try:
        positions = read_positions(options.positions)
        fields = group_fields(options.frames)
        options.output.mkdir(parents=True, exist_ok=True)
        missing = list(positions)
        for field in fields:
            frames = {band: Frame.read(path) for band, path in field.items()}
            missing = cut_field(frames, missing, options.output, options.size)
    except (FrameError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{len(positions) - len(missing)} cutouts in {options.output}")
    for position in missing:
        print(f"{position.name}: not inside any field", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
