"""Downloading spec files from the Science Archive Server of SDSS, or from a mirror of it."""

from __future__ import annotations

import csv
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

from datasets.atomic_files import atomic_path, write_csv
from datasets.sdss.spec_files import (
    LEGACY_RUN2D,
    SpectrumFileError,
    read_spec_file,
    spec_object_parts,
)

ARCHIVE = "https://data.sdss.org/sas"  # its folders are the data releases
ATTEMPTS = 4
FIRST_WAIT_S = 1.0  # doubled after every failed attempt
TIMEOUT_S = 60.0
HOPELESS_FAILURES = 20  # in a row: the server or the network is down
SKIP_LIST = "skipped.csv"
NOT_FOUND = "HTTP 404"


class Skipped(NamedTuple):
    """A spectrum that was not downloaded, and why."""

    specobjid: int
    url: str
    reason: str


def relative_path(identifier: int) -> str:
    """Where the archive keeps the lite spec file of a specObjID, below its release."""
    plate, mjd, fiber, run2d = spec_object_parts(identifier)
    tree = "sdss" if run2d in map(str, LEGACY_RUN2D) else "eboss"
    name = f"spec-{plate:04d}-{mjd}-{fiber:04d}.fits"
    return f"{tree}/spectro/redux/{run2d}/spectra/lite/{plate:04d}/{name}"


def download(identifiers: Iterable[int], base_url: str, folder: Path, parallel: int) -> bool:
    """Fetch the missing files to FOLDER/PLATE/; list the others in FOLDER/skipped.csv.

    Args:
        identifiers: specObjID of the spectra, in any order, with repeats.
        base_url: The part of the addresses before /sdss/ and /eboss/.
        folder: Made if needed. Files in it, and those listed as not in the archive (HTTP 404),
            are not asked for again.
        parallel: Downloads at a time.

    Returns:
        Whether all files are there at the end.
    """
    identifiers = sorted({int(identifier) for identifier in identifiers} - {0})
    folder.mkdir(parents=True, exist_ok=True)
    skipped = {one.specobjid: one for one in _read_skipped(folder / SKIP_LIST)}
    absent = {i for i, one in skipped.items() if one.reason.startswith(NOT_FOUND)}
    wanted = [i for i in identifiers if i not in absent and not _target(i, folder).exists()]
    failures_in_a_row = 0
    with ThreadPoolExecutor(parallel) as pool:
        results = pool.map(lambda i: _fetch(i, base_url, folder), wanted)
        progress = tqdm(results, total=len(wanted), unit="file", disable=None)
        for identifier, failure in zip(wanted, progress, strict=False):
            skipped.pop(identifier, None)
            failures_in_a_row = failures_in_a_row + 1 if failure else 0
            if failure:
                skipped[identifier] = failure
            if failures_in_a_row >= HOPELESS_FAILURES and not failure.reason.startswith(NOT_FOUND):
                pool.shutdown(wait=False, cancel_futures=True)
                print(f"{failure.url}: {failure.reason}; try again later", file=sys.stderr)
                break
    write_csv(folder / SKIP_LIST, Skipped._fields, sorted(skipped.values()))
    present = sum(_target(i, folder).exists() for i in identifiers)
    missing = sum(i in skipped for i in identifiers)
    print(f"{present} of {len(identifiers)} spectra in {folder}, {missing} skipped")
    return present == len(identifiers)


def _target(identifier: int, folder: Path) -> Path:
    plate_folder, name = relative_path(identifier).split("/")[-2:]
    return folder / plate_folder / name


def _fetch(identifier: int, base_url: str, folder: Path) -> Skipped | None:
    """Download one file, with retries; the reason if that fails."""
    url = f"{base_url}/{relative_path(identifier)}"
    target = _target(identifier, folder)
    target.parent.mkdir(exist_ok=True)
    reason = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(FIRST_WAIT_S * 2 ** (attempt - 1))
        try:
            with atomic_path(target) as temporary:
                with urllib.request.urlopen(url, timeout=TIMEOUT_S) as response:
                    temporary.write_bytes(response.read())
                found = read_spec_file(temporary).specobjid  # refuses web pages and half files
                if found != identifier:
                    raise SpectrumFileError(f"the archive has specObjID {found} there")
            return None
        except urllib.error.HTTPError as error:
            reason = f"HTTP {error.code} {error.reason}"
            if error.code == 404:
                break
        except (OSError, HTTPException, SpectrumFileError) as error:
            reason = " ".join(str(error).split())
    return Skipped(identifier, url, reason)


def _read_skipped(path: Path) -> list[Skipped]:
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return [Skipped(int(row[0]), *row[1:]) for row in list(csv.reader(file))[1:]]
