"""Redshifts of galaxies from a user's table: CSV, ECSV, FITS or VOTable.

Rows are matched with cutouts by name or path (columns `name`, `file`), as far as a row gives its
folders, or by an exact 64-bit identifier.
Text of digits and integers stay integers: the 53 bits of a float64 are too few.
"""

from __future__ import annotations

import math
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import numpy as np

from datasets.cutouts.formats import FIELDS
from datasets.cutouts.reader import Cutout, CutoutSource
from datasets.errors import UserError
from datasets.identifiers import exact_identifiers
from datasets.tables import read_table, redshifts

NAMES = ("name", "file")

_real_folder = cache(os.path.realpath)  # without links


class RedshiftTable:
    """The redshifts of a table by cutout.

    Args:
        path: The file, with one of these columns (in any case): `name` or `file`, a cutout's name
            or its file's, with or without suffix, alone or behind all or the last of its folders;
            `identifier`, `objid`, `specobjid` or `bestobjid`, integers or text of digits.
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
            paths = ", or give paths, in a column file alone" if name in NAMES else ""
            raise UserError(
                f"{self.path}: {name} {key} has the redshifts {self._redshifts[key]:g} and "
                f"{redshift:g}; leave one row of it{paths}"
            )

    def check(self, sources: Iterable[CutoutSource]) -> None:
        """Refuse rows that name cutouts of several folders, and cutouts whose rows disagree.

        Raises:
            UserError: there are some, or no row names a cutout.
        """
        known = {re.sub(r"#\d+$", "", key) for key in self._redshifts if isinstance(key, str)}
        known |= self._redshifts.keys()
        fitting: dict[str, list[Path]] = defaultdict(list)
        path = None
        for source in sources:
            path = source.paths[0]
            keys = [key for key in _forms(source.name, path) if key in known]
            if source.name in known and source.name not in keys:  # as `name~2`
                keys = [source.name, *(key for key in keys if "/" in key)]
            for key in keys:
                fitting[key].append(path)
            values = {self._redshifts[key]: key for key in keys if key in self._redshifts}
            if len(values) > 1:
                raise UserError(
                    f"{self.path}: the rows of {' and '.join(values.values())} have different "
                    f"redshifts, and all of them name {path}; leave one of them"
                )
        if path and known and not fitting and all(isinstance(key, str) for key in known):
            raise UserError(
                f"{self.path}: no row names one of the cutouts, as {path}; the first names "
                f"{next(iter(self._redshifts))}: correct its folder, or leave folders out"
            )
        for key, (first, *paths) in fitting.items():
            others = [path for path in paths if path.parent != first.parent]
            if others:
                raise UserError(
                    f"{self.path}: {key} names cutouts of several folders, {first} and "
                    f"{others[0]}; give their paths in a column file"
                )

    def redshift(self, cutout: Cutout) -> float:
        """The redshift of a cutout, by its name, its path, or its identifier; NaN without any."""
        forms = _forms(cutout.name, cutout.path)
        with_folders = (form for form in forms if "/" in form)
        keys = (*with_folders, cutout.name, *forms, cutout.identifier)
        return next((self._redshifts[key] for key in keys if key in self._redshifts), math.nan)


def _forms(name: str, path: Path) -> list[str]:
    """How a row may name a cutout: with all folders, with the last ones, or without any."""
    file = path.name
    if not file.startswith(name.partition("#")[0]):
        name = re.sub(r"~\d+(?=#|$)", "", name)  # as files of one name in several folders have it
    names = [name, file] if file.startswith(f"{name}.") else [name]  # not of a file of many
    folder = os.path.abspath(path.parent)
    forms = []
    for parts in dict.fromkeys((Path(folder).parts, Path(_real_folder(folder)).parts)):
        folders = ["/".join(parts[first:]) for first in range(1, len(parts))]
        folders.insert(0, Path(*parts).as_posix())
        forms += [f"{folder}/{name}" for folder in folders for name in names]
    return [*dict.fromkeys(forms), *names]


def _keys(path: Path, name: str, values: np.ndarray) -> Iterator[tuple[int, str | int]]:
    """Rows and what their galaxies are called; rows without are left out."""
    if name in NAMES:
        for row, value in enumerate(values):
            folder, _, file = str(value).strip().rpartition("/")
            if os.path.isabs(folder):
                folder = Path(_real_folder(folder)).as_posix()
            elif folder:
                folder = re.sub(r"^(\.\.?(/|$))+", "", os.path.normpath(folder))
            if file:
                yield row, f"{folder}/{file}" if folder else file
        return
    try:
        identifiers = exact_identifiers(values, name)
    except ValueError as error:
        raise UserError(
            f"{path}: {name}: {error}; export the table again with identifiers as 64-bit integers "
            "or text, or without this column"
        ) from error
    yield from ((row, int(number)) for row, number in enumerate(identifiers) if number)
