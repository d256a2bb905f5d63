"""Check which objects in a folder of survey data can be used.

    python -m utils.check_files FOLDER

Every file in the folder and in the folders inside it is read by the reader of its kind, and every
spectrum is prepared as for a survey. Prints, by folder and kind, how many objects are usable, and
how many are not and why; exit status 1 if a file could not be read at all.
"""

from __future__ import annotations

import sys
from pathlib import Path

from datasets.command_parser import CommandParser
from datasets.errors import UserError, run_command


def main(argv: list[str] | None = None) -> int:
    """Parse, read, print; returns the exit status."""
    parser = CommandParser(__doc__, "python -m utils.check_files")
    parser.add_argument("folder", type=Path, help="folder with spectra, images, frames, …")
    return run_command(_check, parser.parse_args(argv).folder)


def _check(folder: Path) -> int:
    # after the arguments are parsed: these take seconds to import
    from datasets.file_check import as_text, check_folder
    from utils.spectroscopy.ssp_library import LAYOUTS

    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder")
    tallies, damaged = check_folder(folder, LAYOUTS)
    print(as_text(tallies))
    for message in damaged:
        print(f"unreadable: {message}", file=sys.stderr)
    return int(bool(damaged))


if __name__ == "__main__":
    sys.exit(main())
