"""Download the SDSS spectra of a catalogue.

    python -m utils.download_sdss data/catalogue.csv data/spectra

The table needs one column, specObjID (integers), which contains plate, MJD, fiber and pipeline
version; the small ("lite") spec file of each goes to FOLDER/PLATE/spec-PLATE-MJD-FIBER.fits. Run
the same command again to continue: files in the folder are not asked for again, and neither are
those that the archive does not have (HTTP 404 in FOLDER/skipped.csv; delete that file to retry).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from datasets.command_parser import CommandParser
from datasets.errors import UserError, run_command

SCHEMES = ("https://", "http://", "ftp://", "file://")


def main(argv: list[str] | None = None) -> int:
    """Parse and download; 1 if files are missing at the end."""
    return run_command(_download, _parser().parse_args(argv))


def _download(options: argparse.Namespace) -> int:
    # after the arguments are parsed: these take seconds to import
    from datasets.sdss.archive import ARCHIVE, download
    from datasets.tables import read_catalogue

    base_url = (options.base_url or f"{ARCHIVE}/{options.release}").rstrip("/")
    if not base_url.startswith(SCHEMES):
        raise UserError(f"--base-url {base_url}: begin with {', '.join(SCHEMES)}")
    identifiers = read_catalogue(options.catalogue)["specobjid"]
    return int(not download(identifiers, base_url, options.folder, options.parallel))


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(__doc__, "python -m utils.download_sdss")
    add = parser.add_argument
    add("catalogue", help="table with the column specObjID: CSV, ECSV, FITS or VOTable")
    add("folder", type=Path, help="folder for the spectra, made if needed")
    add("--release", choices=("dr16", "dr17"), default="dr16", help="data release (%(default)s)")
    add("--base-url", help="of a mirror: the part of its addresses before /sdss/ and /eboss/")
    add("--parallel", type=int, choices=range(1, 9), default=4, help="downloads (%(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
