"""Build a survey file from SDSS spectra and the images of the same galaxies.

    python -m utils.build_survey data/survey.h5 --spectra data/spectra --images data/sdss.npz \\
        --catalogue data/catalogue.csv --z-range 0.05 0.15

Spectra: a folder of spec files (see `utils.download_sdss`), a glob, or an HDF5 collection.
Images: the DeepDIP cube; a folder of cutouts named by specObjID (FITS, also of one band per file,
.npy, JPEG, ...); or one .npz or HDF5 file of many, with their specObjID. Units and pixel scales
that no header states have to be given.
Galaxies are joined by their 64-bit specObjID, never by position or by similar numbers. Galaxies
without a partner, and refused ones, are listed with the reason in OUT.refused.csv.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from datasets.command_parser import CommandParser
from datasets.constants import SDSS_BANDS, SDSS_PIXEL_ARCSEC
from datasets.errors import run_command
from datasets.processors import usable_cores
from datasets.spectra import PREPARATIONS


def main(argv: list[str] | None = None) -> int:
    """Parse, build, describe; returns the exit status."""
    return run_command(_build, vars(_parser().parse_args(argv)))


def _build(options: dict) -> int:
    # after the arguments are parsed: these take seconds to import
    from datasets.cutouts.conversion import stated_units
    from datasets.sdss.survey_builder import build_survey

    options["bands"] = tuple(map(str.strip, options["bands"].split(",")))
    options["input_unit"] = stated_units(options.pop("unit"), options.pop("zero_point"))
    print(build_survey(**options).describe())
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(__doc__, "python -m utils.build_survey")
    add = parser.add_argument
    add("output", type=Path, metavar="OUT.h5", help="survey file to write; never overwritten")
    add("--spectra", required=True, help="folder or glob of spec files, or .h5 collection")
    add("--images", required=True, help="DeepDIP sdss.npz, folder of cutouts, or file of many")
    add("--catalogue", help="table with specObjID; its columns are kept, other galaxies refused")
    add("--bands", default=",".join(SDSS_BANDS), help="bands of the images (%(default)s)")
    add(
        "--survey-pixel-scale", dest="pixel_scale_arcsec", type=float, default=SDSS_PIXEL_ARCSEC,
        metavar="ARCSEC", help="of the survey's 64 x 64 px images, arcsec per px (%(default)s)",
    )  # fmt: skip
    add(
        "--pixel-scale", dest="input_pixel_scale_arcsec", type=float, metavar="ARCSEC",
        help="of the images in their files, where the headers lack it, arcsec per px",
    )  # fmt: skip
    add("--unit", help="flux unit of the images, where the headers lack it: nanomaggy, nJy, ...")
    add("--zero-point", help="AB magnitude of one count, instead; or one for each of --bands")
    add(
        "--z-range", type=float, nargs=2, metavar=("MIN", "MAX"),
        help="keep MIN < z < MAX; the papers use 0.05 0.15 (no cut)",
    )  # fmt: skip
    add("--allow-warnings", action="store_true", help="keep spectra whose zwarning is set")
    add(
        "--preparation", choices=PREPARATIONS, default="median",
        help="median: 4500 px, divided by the median of 5500-7000 Å (default); original: as the "
        "2024 paper's code, mean of 6900-6950 Å; native: 3598 native px, scaled to 0 ... 1 (2022)",
    )  # fmt: skip
    add(
        "--fractions", type=float, nargs=2, default=(0.05, 0.10), metavar=("VALIDATION", "TEST"),
        help="shares of the galaxies (0.05 0.10)",
    )  # fmt: skip
    add("--seed", type=int, default=1, help="of the splits (%(default)s)")
    add(
        "--workers", type=int, default=usable_cores(),
        help="processes that read and prepare spectra (%(default)s)",
    )  # fmt: skip
    return parser


if __name__ == "__main__":
    sys.exit(main())
