"""The log of a run, its table of metrics, and errors that are logged and passed over."""

from __future__ import annotations

import csv
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from datasets.atomic_files import atomic_path

LOGGER = logging.getLogger("spectra")


class MetricsTable:
    """A CSV table with a row per epoch, written whole each time: a killed run leaves no half row.

    Args:
        path: The CSV file; the rows that it has already are read.
    """

    def __init__(self, path: Path):
        self.path = path
        self.rows: list[dict[str, float]] = []
        if path.exists():
            with open(path, newline="") as file:
                for row in csv.DictReader(file):
                    self.rows.append({k: float(v) for k, v in row.items() if v})

    def append(self, row: dict[str, float]) -> None:
        """Add a row, which may have new columns, and write the file."""
        self.rows.append(row)
        self._write()

    def keep(self, wanted: Callable[[dict[str, float]], bool]) -> None:
        """Drop the rows that are not `wanted`, and write the file."""
        self.rows = [row for row in self.rows if wanted(row)]
        self._write()

    def last(self, column: str, default: float) -> float:
        """The last value of a column, or `default`."""
        return next((row[column] for row in reversed(self.rows) if column in row), default)

    def _write(self) -> None:
        columns = list(dict.fromkeys(name for row in self.rows for name in row))
        with atomic_path(self.path) as part, open(part, "w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(self.rows)


def log_to(folder: Path | None, level: int = logging.INFO) -> None:
    """Send the project's log to the console and, where there is one, to `folder/log.txt`."""
    LOGGER.setLevel(level)
    LOGGER.propagate = False
    for handler in list(LOGGER.handlers):
        handler.close()
        LOGGER.removeHandler(handler)
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stdout)]
    if folder is not None:
        handlers.append(logging.FileHandler(folder / "log.txt"))
    for handler in handlers:
        handler.setFormatter(logging.Formatter("%(asctime)s  %(message)s", "%H:%M:%S"))
        LOGGER.addHandler(handler)


@contextmanager
def shielded(what: str) -> Iterator[None]:
    """Log an error in something that a run can do without, and go on."""
    try:
        yield
    except OSError as error:  # a full disk, for example
        LOGGER.warning("%s failed (%s); the run goes on without", what, error)
    except Exception:
        LOGGER.warning("%s failed; the run goes on without:", what, exc_info=True)
