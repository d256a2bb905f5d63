"""Catalogues with exact identifiers: reading CSV tables and joining on 64-bit integers.

SDSS identifiers need more than the 53 bits of a float64, so they never pass through one.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from datasets.errors import UserError

IDENTIFIERS = ("specobjid", "objid", "bestobjid")


class CatalogueError(UserError):
    """A catalogue that cannot be used; the message names the file and the remedy."""


def read_catalogue(path: str | Path) -> dict[str, np.ndarray]:
    """Read a CSV table with a header line; lines that start with # are skipped.

    Returns lower-case name → (N,): uint64 for ``IDENTIFIERS``, int64 where all values are
    integers, float64 where all are numbers or empty (NaN), text otherwise.
    Raises CatalogueError for missing files, uneven rows and identifiers that are not integers.
    """
    columns = read_text_columns(path)
    return {name: _parse(path, name, values) for name, values in columns.items()}


def read_text_columns(path: str | Path) -> dict[str, tuple[str, ...]]:
    """The columns of a CSV table as they are written, by lower-case name: see `read_catalogue`."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if row and not row[0].startswith("#")]
    except (OSError, UnicodeDecodeError) as error:
        raise CatalogueError(f"{path} is not a readable CSV file: {error}") from error
    if not rows:
        raise CatalogueError(f"{path} is empty")
    names = [name.strip().lower() for name in rows[0]]
    width = len(set(names))
    if width < len(names) or any(len(row) != width for row in rows):
        raise CatalogueError(f"{path}: every row needs the {width} columns of the header, once")
    columns = zip(*rows[1:], strict=True) if len(rows) > 1 else [()] * len(names)
    return dict(zip(names, columns, strict=True))


def _parse(path: str | Path, name: str, values: tuple[str, ...]) -> np.ndarray:
    if name in IDENTIFIERS:
        try:
            return np.array([int(value) for value in values], dtype=np.uint64)
        except (ValueError, OverflowError):
            raise CatalogueError(
                f"{path}: {name} holds values that are no 64-bit integers: "
                "export the table again with identifiers as integers or text"
            ) from None
    for kind, parse in ((np.int64, int), (np.float64, lambda value: float(value or "nan"))):
        try:
            return np.array([parse(value) for value in values], dtype=kind)
        except (ValueError, OverflowError):
            continue
    return np.array(values, dtype=str)


def exact_identifiers(values: np.ndarray) -> np.ndarray:
    """Identifiers as uint64, from integers or text of digits.

    float64 is taken only when every value is a multiple of 1024: specObjID always is, and such
    integers below 2^63 are exact in a float64. Raises ValueError otherwise.
    """
    values = np.asarray(values)
    if values.dtype.kind in "iu":
        return values.astype(np.uint64)
    if values.dtype.kind in "US":
        return np.array([int(value) for value in values], dtype=np.uint64)
    if values.dtype == np.float64 and not np.any(values % 1024) and np.all(values < 2.0**63):
        return values.astype(np.uint64)
    raise ValueError(f"identifiers of type {values.dtype} are not exact: integers are needed")


def match_identifiers(identifier: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """(N,) int64: for every identifier its (first) row in ``reference``, −1 where there is none."""
    identifier, reference = exact_identifiers(identifier), exact_identifiers(reference)
    known, first = np.unique(reference, return_index=True)
    if len(known) == 0:
        return np.full(len(identifier), -1)
    position = np.minimum(np.searchsorted(known, identifier), len(known) - 1)
    return np.where(known[position] == identifier, first[position], -1)
