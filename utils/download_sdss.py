"""Download the SDSS spectra of a catalogue.

    python -m utils.download_sdss data/catalogue.csv data/spectra

The CSV needs one column, specObjID (integers), which tells plate, MJD, fiber and pipeline version;
the small ("lite") spec file of each goes to FOLDER/PLATE/spec-PLATE-MJD-FIBER.fits. Run the same
command again to continue: files that are there are not asked for again, and neither are those the
archive does not have (HTTP 404 in FOLDER/skipped.csv; delete that file to ask again).
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from datasets.sdss.spec_files import (
    LEGACY_RUN2D,
    SpectrumFileError,
    read_spec_file,
    spec_object_parts,
)
from datasets.tables import CatalogueError, read_catalogue

ATTEMPTS = 4
FIRST_WAIT_S = 1.0  # doubled after every failed attempt
TIMEOUT_S = 60.0
HOPELESS_FAILURES = 20  # in a row: the server or the network is down
SKIP_LIST = "skipped.csv"
NOT_FOUND = "HTTP 404"


class Skipped(NamedTuple):
    specobjid: int
    url: str
    reason: str


def main(argv: list[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    base_url = arguments.base_url or f"https://data.sdss.org/sas/{arguments.release}"
    try:
        catalogue = read_catalogue(arguments.catalogue)
        if "specobjid" not in catalogue:
            raise CatalogueError(f"{arguments.catalogue} has no column specObjID")
        identifiers = sorted({int(identifier) for identifier in catalogue["specobjid"]})
        return download(identifiers, base_url.rstrip("/"), arguments.folder, arguments.parallel)
    except (CatalogueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m utils.download_sdss",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("catalogue", help="CSV with the column specObjID")
    add("folder", type=Path, help="where the files go")
    add("--release", choices=("dr16", "dr17"), default="dr16", help="default: %(default)s")
    add("--base-url", help="of a mirror: what comes before /sdss/ and /eboss/ in its addresses")
    add("--parallel", type=int, choices=range(1, 9), default=4, help="default: %(default)s")
    return parser


def relative_path(identifier: int) -> str:
    """Where the archive keeps the lite spec file, below its release."""
    plate, mjd, fiber, run2d = spec_object_parts(identifier)
    tree = "sdss" if run2d in map(str, LEGACY_RUN2D) else "eboss"
    name = f"spec-{plate:04d}-{mjd}-{fiber:04d}.fits"
    return f"{tree}/spectro/redux/{run2d}/spectra/lite/{plate:04d}/{name}"


def download(identifiers: list[int], base_url: str, folder: Path, parallel: int) -> int:
    """Fetch what is missing; 0 if everything is there at the end, else 1."""
    folder.mkdir(parents=True, exist_ok=True)
    skipped = {one.specobjid: one for one in _read_skipped(folder / SKIP_LIST)}
    absent = {i for i, one in skipped.items() if one.reason.startswith(NOT_FOUND)}
    wanted = [i for i in identifiers if i not in absent and not _target(i, folder).exists()]
    failures_in_a_row = 0
    with ThreadPoolExecutor(parallel) as pool:
        results = pool.map(lambda i: _fetch(i, base_url, folder), wanted)
        for identifier, failure in zip(
            wanted, tqdm(results, total=len(wanted), unit="file", disable=None), strict=False
        ):
            skipped.pop(identifier, None)
            failures_in_a_row = failures_in_a_row + 1 if failure else 0
            if failure:
                skipped[identifier] = failure
            if failures_in_a_row >= HOPELESS_FAILURES and not failure.reason.startswith(NOT_FOUND):
                pool.shutdown(wait=False, cancel_futures=True)
                print(f"{failure.url}: {failure.reason}; try again later", file=sys.stderr)
                break
    missing = [skipped[i] for i in identifiers if i in skipped]
    _write_skipped(folder / SKIP_LIST, skipped.values())
    present = sum(_target(i, folder).exists() for i in identifiers)
    print(f"{present} of {len(identifiers)} spectra in {folder}, {len(missing)} skipped")
    return int(present < len(identifiers))


def _target(identifier: int, folder: Path) -> Path:
    plate_folder, name = relative_path(identifier).split("/")[-2:]
    return folder / plate_folder / name


def _fetch(identifier: int, base_url: str, folder: Path) -> Skipped | None:
    """Download one file, with retries; the reason if that fails."""
    url = f"{base_url}/{relative_path(identifier)}"
    target = _target(identifier, folder)
    target.parent.mkdir(exist_ok=True)
    partial = target.with_name(f"{target.name}.part")
    reason = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(FIRST_WAIT_S * 2 ** (attempt - 1))
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT_S) as response:
                partial.write_bytes(response.read())
            if read_spec_file(partial).specobjid != identifier:  # nor does a page, or half a file
                raise SpectrumFileError(f"the archive has another spectrum than {identifier} there")
            os.replace(partial, target)
            return None
        except urllib.error.HTTPError as error:
            reason = f"HTTP {error.code} {error.reason}"
            if error.code == 404:
                break
        except (OSError, HTTPException, SpectrumFileError) as error:
            reason = " ".join(str(error).split())
    partial.unlink(missing_ok=True)
    return Skipped(identifier, url, reason)


def _read_skipped(path: Path) -> list[Skipped]:
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return [Skipped(int(row[0]), *row[1:]) for row in list(csv.reader(file))[1:]]


def _write_skipped(path: Path, skipped: Iterable[Skipped]) -> None:
    temporary = path.with_name(f"{path.name}.part")
    with open(temporary, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(Skipped._fields)
        table.writerows(sorted(skipped))
    os.replace(temporary, path)


if __name__ == "__main__":
    sys.exit(main())
