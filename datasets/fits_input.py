"""Opening FITS files of others: what would make astropy go on for ever is refused first."""

from __future__ import annotations

import bz2
import gzip
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from astropy.io import fits

from datasets.errors import UserError

MAX_EXTENSIONS = 1000
TOO_MANY_AXES = re.compile(rb"NAXIS   = *\d{4,}")  # FITS allows 999 (standard 4.0, sec. 4.4.1)
COMPRESSED = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open}  # by the first bytes, as astropy does
CHUNK_BYTES = 1 << 22
CARD_BYTES = 80


@contextmanager
def open_fits(path: str | Path) -> Iterator[fits.HDUList]:
    """The extensions of a FITS file, all of whose headers were read.

    Raises:
        UserError: a header declares more axes than FITS has, extensions have a size below zero,
            which leads back into the file, or there are more than `MAX_EXTENSIONS`.
    """
    _check_axes(Path(path))
    with fits.open(path, memmap=False) as hdus:
        for number, hdu in enumerate(hdus):
            if number >= MAX_EXTENSIONS or hdu.fileinfo()["datSpan"] < 0:
                raise UserError(
                    f"extension {number} of more than {MAX_EXTENSIONS}, or of a size below zero: "
                    "the file is damaged"
                )
        yield hdus


def _check_axes(path: Path) -> None:
    """Refuse `NAXIS` of more than three digits: astropy looks for every axis it declares."""
    with open(path, "rb") as file:
        start = file.read(3)
    opener = next((COMPRESSED[first] for first in COMPRESSED if start.startswith(first)), open)
    with opener(path, "rb") as file:
        end = b""
        while chunk := file.read(CHUNK_BYTES):
            if TOO_MANY_AXES.search(end + chunk):
                raise UserError("a header declares thousands of axes: the file is damaged")
            end = chunk[-CARD_BYTES:]
            if opener is not open:
                return  # of compressed files the beginning: reading them twice would take long
