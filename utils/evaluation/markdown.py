"""Numbers and tables as Markdown."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

NONE = "–"
LARGE = 1e6  # from which numbers are written as powers of ten
NO_ERROR = 1e-9  # relative: an error below it is that of rounding


def number(value: float | None, digits: int = 3) -> str:
    """A number with `digits` decimals, or a dash where there is none."""
    return NONE if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def plus_minus(entry: dict | None, scale: float = 1.0) -> str:
    """A value ± its error, to the digits that the error carries: one, or two after a leading 1.

    Args:
        entry: with `value` and `error`; None, or a value that is not finite, gives a dash.
        scale: factor of both.
    """
    if not entry or entry.get("value") is None or not math.isfinite(entry["value"]):
        return NONE
    value, error = entry["value"] * scale, (entry.get("error") or 0.0) * scale
    if not math.isfinite(error) or error <= NO_ERROR * abs(value):
        return f"{value:.3g}"
    form = _form(decimals(error), value, error)
    return f"{value:{form}} ± {error:{form}}"


def interval(entry: dict | None, scale: float = 1.0) -> str:
    """A value with its 95 % interval, to the digits that the interval carries."""
    if not entry or entry.get("value") is None or not math.isfinite(entry["value"]):
        return NONE
    low, value, high = (entry[name] * scale for name in ("low", "value", "high"))
    if not high - low > NO_ERROR * abs(value):
        return f"{value:.3g}"
    form = "+" + _form(decimals((high - low) / 4), low, high)
    return f"{value:{form}} ({low:{form}} to {high:{form}})"


def _form(digits: int, *values: float) -> str:
    """How numbers are written: those of a network that diverged as powers of ten."""
    return ".0e" if max(map(abs, values)) >= LARGE else f".{digits}f"


def decimals(error: float) -> int:
    """Decimals that a value of this standard error deserves."""
    if error <= 0:
        return 3
    exponent = math.floor(math.log10(error))
    leading = error / 10**exponent
    return max(0, -exponent + (1 if leading < 1.95 else 0))


def rows_of(header: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """The lines of a Markdown table."""
    header = list(header)
    lines = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines] + [""]


def method_table(
    title: str, found: Mapping[str, dict], columns: Mapping[str, str | Callable[[dict], str]]
) -> list[str]:
    """The lines of a table with a row for each method.

    Args:
        title: of the column of the methods' names.
        found: metrics by method.
        columns: by heading, the key of a value with its error, or what makes a cell of the metrics.
    """
    rows = (
        [name, *(plus_minus(v.get(c)) if isinstance(c, str) else c(v) for c in columns.values())]
        for name, v in found.items()
    )
    return rows_of([title, *columns], rows)
