"""Files that appear whole or not at all."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

# Names of files may hold bytes that are not UTF-8, which Python keeps as lone surrogates.
UTF8 = {"encoding": "utf-8", "errors": "backslashreplace"}


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary path to write, which takes the place of `path` when the block ends well.

    The temporary file lies in the same folder, is hidden, keeps the suffix (libraries choose
    formats by it) and names the process, so that two writers never share it. It is removed if the
    block raises; `path` is then as it was.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, **UTF8)


def write_csv(path: str | Path, header: Iterable, rows: Iterable[Iterable]) -> None:
    """Write a CSV table atomically."""
    with atomic_path(path) as temporary, open(temporary, "w", newline="", **UTF8) as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(header)
        table.writerows(rows)
