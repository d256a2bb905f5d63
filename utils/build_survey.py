"""Build a survey file from SDSS spectra and the images of the same galaxies.

    python -m utils.build_survey data/survey.h5 --spectra data/spectra --images data/sdss.npz \\
        --catalogue data/catalogue.csv --z-range 0.05 0.15

Spectra: a folder of spec files (see `utils.download_sdss`), a glob, or an HDF5 collection.
Images: the DeepDIP cube, or a folder of cutouts named by specObjID (.npy, FITS, JPEG, ...).
Galaxies are joined by their 64-bit specObjID, never by position or by numbers near to each other.
What has no partner, or is refused, is listed with its reason in OUT.refused.csv.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from datasets.cutouts.formats import CutoutError
from datasets.sdss.deepdip import BANDS, PIXEL_SCALE_ARCSEC, CubeError
from datasets.sdss.sources import (
    SourceError,
)
from datasets.sdss.spec_files import SpectrumFileError
from datasets.sdss.survey_builder import PREPARATIONS, build_survey
from datasets.survey import SurveyError
from datasets.tables import CatalogueError

INPUT_ERRORS = (
    SourceError, CatalogueError, CubeError, CutoutError, SpectrumFileError, SurveyError, OSError,
)  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    try:
        return build_survey(arguments)
    except INPUT_ERRORS as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m utils.build_survey",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("output", type=Path, metavar="OUT.h5", help="survey file to write; never overwritten")
    add("--spectra", required=True, help="folder or glob of spec files, or .h5 collection")
    add("--images", required=True, help="DeepDIP sdss.npz, or folder of files named by specObjID")
    add("--catalogue", help="CSV with specObjID; its columns are kept, others are refused")
    add("--bands", default=",".join(BANDS), help="bands of the images (default: %(default)s)")
    add(
        "--pixel-scale",
        type=float,
        default=PIXEL_SCALE_ARCSEC,
        metavar="ARCSEC",
        help="of the survey's 64 x 64 px images, arcsec per px (default: %(default)s)",
    )
    add(
        "--input-pixel-scale",
        type=float,
        metavar="ARCSEC",
        help="of the files in the folder, where their headers do not tell it, arcsec per px",
    )
    add(
        "--z-range",
        type=float,
        nargs=2,
        metavar=("MIN", "MAX"),
        help="keep MIN < z < MAX; the papers use 0.05 0.15 (default: no cut)",
    )
    add("--allow-warnings", action="store_true", help="keep spectra whose zwarning is set")
    add(
        "--preparation",
        choices=PREPARATIONS,
        default="median",
        help="median: 4500 px, divided by the median of 5500-7000 Å (default); original: as the "
        "2024 paper's code, mean of 6900-6950 Å; native: 3598 native px, scaled to 0 ... 1 (2022)",
    )
    add(
        "--fractions",
        type=float,
        nargs=2,
        default=(0.05, 0.10),
        metavar=("VALIDATION", "TEST"),
        help="shares of the galaxies (default: 0.05 0.10)",
    )
    add("--seed", type=int, default=1, help="of the splits (default: %(default)s)")
    add(
        "--workers",
        type=int,
        default=os.cpu_count() or 1,
        help="processes that read and prepare spectra (default: %(default)s)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
