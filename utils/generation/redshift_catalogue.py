"""Redshifts of galaxies from a user's table: CSV, ECSV, FITS or VOTable.

Rows are matched with cutouts by name (columns `name`, `file`) or by an exact 64-bit identifier.
Text of digits and integers stay integers: the 53 bits of a float64 are too few.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from datasets.cutouts.formats import FIELDS
from datasets.cutouts.reader import Cutout
from datasets.errors import UserError
from datasets.identifiers import exact_identifiers
from datasets.tables import read_table, redshifts

NAMES = ("name", "file")


class RedshiftTable:
    """The redshifts of a table by cutout.

    Args:
        path: The file, with one of these columns (in any case): `name` or `file`, a cutout's name
            or its file's, with or without suffix and folder; `identifier`, `objid`, `specobjid` or
            `bestobjid`, integers or text of digits.
        column: The column of redshifts; those that are empty or not finite are unknown.

    Raises:
        UserError: the file is not such a table, or has two redshifts for one galaxy.
    """

    def __init__(self, path: str | Path, column: str):
        self.path = Path(path)
        columns = read_table(self.path)
        keys = [name for name in (*NAMES, *FIELDS["identifier"]) if name in columns]
        if column.lower() not in columns:
            raise UserError(
                f"{path} has no column {column} of one value per row; it has {', '.join(columns)}"
            )
        if not keys:
            raise UserError(
                f"{path}: nothing tells which row belongs to which cutout; add a column name "
                f"(of the cutout), file, or {', '.join(FIELDS['identifier'])}"
            )
        values = redshifts(self.path, column.lower(), columns)
        self._redshifts: dict[str | int, float] = {}
        for name in keys:
            for row, key in _keys(self.path, name, columns[name]):
                self._add(name, key, float(values[row]))

    def _add(self, name: str, key: str | int, redshift: float) -> None:
        if math.isfinite(redshift) and self._redshifts.setdefault(key, redshift) != redshift:
            raise UserError(
                f"{self.path}: {name} {key} has the redshifts {self._redshifts[key]:g} and "
                f"{redshift:g}; leave one row of it"
            )

    def redshift(self, cutout: Cutout) -> float:
        """The redshift of a cutout, by its name, else by its identifier; NaN without either."""
        keys: list[str | int] = [cutout.name]
        if cutout.path.name.startswith(f"{cutout.name}."):  # not of a file of many
            keys.append(cutout.path.name)
        keys.append(cutout.identifier)
        return next((self._redshifts[key] for key in keys if key in self._redshifts), math.nan)


def _keys(path: Path, name: str, values: np.ndarray) -> Iterator[tuple[int, str | int]]:
    """Rows and what their galaxies are called; rows without are left out."""
    if name in NAMES:
        texts = (str(value).strip().rsplit("/", 1)[-1] for value in values)
        yield from ((row, text) for row, text in enumerate(texts) if text)
        return
    try:
        identifiers = exact_identifiers(values, name)
    except ValueError as error:
        raise UserError(
            f"{path}: {name}: {error}; export the table again with identifiers as 64-bit integers "
            "or text, or without this column"
        ) from error
    yield from ((row, int(number)) for row, number in enumerate(identifiers) if number)
