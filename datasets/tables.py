"""Reading tables of all formats, with one set of rules for all commands.

Identifiers stay exact (`datasets.identifiers`), missing values are missing however they are
written, and column names are compared in lower case.
"""

from __future__ import annotations

import csv
import re
import sys
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from astropy.table import Column, Table

from datasets.column_names import DEC, IDENTIFIERS, NAMES, RA, REDSHIFTS, is_magnitude
from datasets.errors import UserError
from datasets.fits_input import open_fits
from datasets.identifiers import MISSING, exact_identifiers
from datasets.text_files import read_text

FORMATS = {
    ".csv": "ascii.basic", ".tsv": "ascii.basic", ".txt": "ascii.basic", ".dat": "ascii.basic",
    ".ecsv": "ascii.ecsv", ".fits": "fits", ".fit": "fits", ".fits.gz": "fits", ".vot": "votable",
    ".votable": "votable", ".xml": "votable",
}  # fmt: skip
DELIMITERS = ",;\t"


def read_table(path: str | Path) -> dict[str, np.ndarray]:
    """Read a table with the columns' names in its header: text, ECSV, FITS or VOTable.

    Text is separated by commas, semicolons, tabs or blanks. Lines that start with # are skipped;
    the last of them has the names where no other line does. Identifiers and names are left as text.

    Returns:
        Columns (N,) by lower-case name; those of several values per row are left out. Missing
        values (empty, "null", "NA", "--" …) are NaN, 0 in identifiers, and empty in text.

    Raises:
        UserError: the file is missing or damaged, or rows or names do not fit.
    """
    path = Path(path)
    suffixes = [suffix for suffix in FORMATS if path.name.lower().endswith(suffix)]
    if not suffixes:
        raise UserError(f"{path}: a table of unknown format; known are {', '.join(FORMATS)}")
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    kind = FORMATS[suffixes[0]]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about units and the like, of columns not used
            warnings.filterwarnings("error", message=".*truncated")
            if kind == "fits":
                with open_fits(path):
                    pass
            table = _read_text(path) if kind == "ascii.basic" else Table.read(path, format=kind)
            table.convert_bytestring_to_unicode()
    except UserError:
        raise
    except Exception as error:  # libraries raise anything on damage
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path} is not a readable table ({reason}): export it again") from error
    used = [name for name in table.colnames if isinstance(table[name], Column)]
    times = Counter(name.lower() for name in used)
    doubtful = {name for name in times if times[name] > 1}
    if doubtful & {*RA, *DEC, *REDSHIFTS, *IDENTIFIERS, *NAMES}:
        raise UserError(f"{path}: columns whose names differ only in case: rename them")
    used = [name for name in used if name.lower() not in doubtful]
    columns = {name.lower(): _plain(name.lower(), table[name]) for name in used}
    return {name: values for name, values in columns.items() if values.ndim == 1}


def _read_text(path: Path) -> Table:
    lines = [line for line in read_text(path).splitlines() if line.strip()]
    comments = [line.lstrip("# ") for line in lines if line.startswith("#")]
    lines = [line for line in lines if not line.startswith("#")]
    if not lines:
        raise UserError(f"{path} is empty")
    delimiter = max(DELIMITERS, key=lines[0].count)
    if delimiter not in lines[0]:
        delimiter = " "
    names = _fields(lines[0], delimiter)
    headed = comments and len(_fields(comments[-1], delimiter)) == len(names)
    if headed and all(_is_number(name) for name in names):
        names = _fields(comments[-1], delimiter)
        lines = [comments[-1], *lines]
    names = [name or f"column_{number}" for number, name in enumerate(names, start=1)]
    if delimiter == ";":  # where the comma is the decimal point
        lines[1:] = [re.sub(r"(?<=\d),(?=\d)", ".", line) for line in lines[1:]]
    kept_as_text = [name for name in names if name.lower() in IDENTIFIERS + NAMES]
    missing = {form for word in MISSING for form in (word, word.upper(), word.title(), "NaN")}
    try:
        return Table.read(
            lines,
            format=FORMATS[".csv"],
            delimiter=delimiter,
            guess=False,
            names=names,
            converters=dict.fromkeys(kept_as_text, str),
            fill_values=[(word, "0") for word in sorted(missing)],
        )
    except ValueError as error:
        raise UserError(
            f"{path}: every row needs the {len(names)} columns of the header, once ({error})"
        ) from error


def _fields(line: str, delimiter: str) -> list[str]:
    parts = line.split() if delimiter == " " else next(csv.reader([line], delimiter=delimiter))
    return [part.strip().strip('"') for part in parts]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text.lower() in MISSING
    return True


def _plain(name: str, column: Column) -> np.ndarray:
    """The values of a column without a mask."""
    kind = column.dtype.kind
    if not hasattr(column, "mask"):
        values = np.asarray(column)
    elif kind in "iu" and name not in IDENTIFIERS and np.any(column.mask):
        values = column.astype(np.float64).filled(np.nan)
    else:
        values = np.asarray(column.filled({"f": np.nan, "i": 0, "u": 0, "b": False}.get(kind, "")))
    # of FITS in another byte order, which torch does not take
    return values.astype(str if kind == "O" else values.dtype.newbyteorder("="), copy=False)


def numbers(path: str | Path, name: str, values: np.ndarray) -> np.ndarray:
    """A column (N,) as float64, NaN where a value is missing.

    Raises:
        UserError: a value is something else; with its row.
    """
    if values.dtype.kind in "fiu":
        return values.astype(np.float64)
    if values.dtype.kind != "U":
        raise UserError(f"{path}: column {name} holds no numbers ({values.dtype}): name another")
    wrong = [row for row, value in enumerate(values) if not _is_number(value.strip())]
    if wrong:
        raise UserError(
            f"{path}: column {name} holds no number in row {wrong[0] + 1} "
            f"({str(values[wrong[0]])!r}): leave it empty, or name another column"
        )
    words = (value.strip() for value in values)
    return np.array([np.nan if word.lower() in MISSING else float(word) for word in words])


def redshifts(path: str | Path, name: str, columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """The redshifts (N,) of a column, NaN where unknown; -1 and less, such as -9999, are unknown.

    Raises:
        UserError: as `numbers`; or it is a magnitude, z beside u, g, r and i.
    """
    if is_magnitude(name, columns):
        raise UserError(
            f"{path}: z beside u, g, r and i is a magnitude: name the column of redshifts"
        )
    values = numbers(path, name, columns[name])
    return np.where(values > -1, values, np.nan)


def read_catalogue(
    path: str | Path, required: Sequence[str] = ("specobjid",)
) -> dict[str, np.ndarray]:
    """The columns of a table as `read_table` returns them, with identifiers as uint64.

    Identifiers that are not exact and not required are left out, with a remark.

    Raises:
        UserError: as `read_table`; a required column is missing, or its identifiers not exact.
    """
    columns = read_table(path)
    missing = sorted(set(required) - columns.keys())
    if missing:
        raise UserError(f"{path} lacks the columns {', '.join(missing)}: add them")
    for name in columns.keys() & set(IDENTIFIERS):
        try:
            columns[name] = exact_identifiers(columns[name], name)
        except ValueError as error:
            if name not in required:
                print(f"{path}: {name}: {error}: the column is left out", file=sys.stderr)
                del columns[name]
                continue
            raise UserError(
                f"{path}: {name}: {error}; export the table again with identifiers as integers"
            ) from None
    return columns
