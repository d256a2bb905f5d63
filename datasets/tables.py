"""Reading tables of all formats with exact identifiers."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from astropy.table import Column, Table

from datasets.errors import UserError
from datasets.identifiers import IDENTIFIERS, exact_identifiers

FORMATS = {
    ".csv": "ascii.basic", ".ecsv": "ascii.ecsv", ".fits": "fits", ".fit": "fits",
    ".fits.gz": "fits", ".vot": "votable", ".votable": "votable", ".xml": "votable",
}  # fmt: skip
NAMES = ("name", "file", "image", "spectrum")  # columns of text, also where it is all digits


def read_table(path: str | Path) -> dict[str, np.ndarray]:
    """Read a table with the columns' names in its header: CSV, ECSV, FITS or VOTable.

    In CSV, lines that start with # are skipped, and identifiers are left as text.

    Returns:
        Columns (N,) by lower-case name; those of several values per row are left out. Missing
        values are NaN, 0 in identifiers, and empty in text.

    Raises:
        UserError: the file is missing or damaged, or rows or names do not fit.
    """
    path = Path(path)
    suffixes = [suffix for suffix in FORMATS if path.name.lower().endswith(suffix)]
    if not suffixes:
        raise UserError(f"{path}: a table of unknown format; known are {', '.join(FORMATS)}")
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about units and the like, of columns not used
            warnings.filterwarnings("error", message=".*truncated")
            if suffixes[0] == ".csv":
                table = _read_csv(path)
            else:
                table = Table.read(path, format=FORMATS[suffixes[0]])
                table.convert_bytestring_to_unicode()
    except UserError:
        raise
    except Exception as error:  # libraries raise anything on damage
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path} is not a readable table ({reason}): export it again") from error
    used = [name for name in table.colnames if isinstance(table[name], Column)]
    if len({name.lower() for name in used}) < len(used):
        raise UserError(f"{path}: columns whose names differ only in case: rename them")
    columns = {name.lower(): _plain(name.lower(), table[name]) for name in used}
    return {name: values for name, values in columns.items() if values.ndim == 1}


def _read_csv(path: Path) -> Table:
    text = path.read_text(encoding="utf-8-sig")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if not lines:
        raise UserError(f"{path} is empty")
    names = [name.strip().strip('"') for name in lines[0].split(",")]
    kept_as_text = [name for name in names if name.lower() in IDENTIFIERS + NAMES]
    try:
        return Table.read(
            lines,
            format=FORMATS[".csv"],
            delimiter=",",
            guess=False,
            names=names,
            converters=dict.fromkeys(kept_as_text, str),
        )
    except ValueError as error:
        raise UserError(
            f"{path}: every row needs the {len(names)} columns of the header, once ({error})"
        ) from error


def _plain(name: str, column: Column) -> np.ndarray:
    """The values of a column without a mask."""
    kind = column.dtype.kind
    if not hasattr(column, "mask"):
        values = np.asarray(column)
    elif kind in "iu" and name not in IDENTIFIERS and np.any(column.mask):
        values = column.astype(np.float64).filled(np.nan)
    else:
        values = np.asarray(column.filled({"f": np.nan, "i": 0, "u": 0, "b": False}.get(kind, "")))
    return values.astype(str) if kind == "O" else values


def read_catalogue(
    path: str | Path, required: Sequence[str] = ("specobjid",)
) -> dict[str, np.ndarray]:
    """The columns of a table as `read_table` returns them, with identifiers as uint64.

    Raises:
        UserError: as `read_table`; a required column is missing, or identifiers are not exact.
    """
    columns = read_table(path)
    missing = sorted(set(required) - columns.keys())
    if missing:
        raise UserError(f"{path} lacks the columns {', '.join(missing)}: add them")
    for name in columns.keys() & set(IDENTIFIERS):
        try:
            columns[name] = exact_identifiers(columns[name])
        except ValueError as error:
            raise UserError(
                f"{path}: {name}: {error}; export the table again with identifiers as integers"
            ) from None
    return columns
