"""Numbers and tables as Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterable

NONE = "–"


def number(value: float | None, digits: int = 3) -> str:
    """A number with `digits` decimals, or a dash where there is none."""
    return NONE if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def with_error(entry: dict | None, digits: int = 3) -> str:
    """A value ± its error, or a dash where there is none."""
    if not entry or not math.isfinite(entry["value"]):
        return NONE
    return f"{number(entry['value'], digits)} ± {number(entry['error'], digits)}"


def rows_of(header: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """The lines of a Markdown table."""
    header = list(header)
    lines = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines] + [""]
