"""Identifiers as exact 64-bit integers, and joining on them.

SDSS identifiers need more than the 53 bits of a float64, so they never pass through one.
"""

from __future__ import annotations

import numpy as np

MISSING = ("", "null", "na", "n/a", "nan", "none", "--", "-", "masked")  # words, in lower case
EXACT_FLOATS = {8: 2.0**53, 4: 2.0**24}  # below, a float of so many bytes holds every integer
LEAST_SENTINEL = -(2**53)  # negative integers above it mean "none"; others are 64 bits with sign


def identifiers_of(values: np.ndarray, name: str = "specobjid") -> tuple[np.ndarray, np.ndarray]:
    """Identifiers as uint64, 0 where there is none.

    None are negative numbers such as -9999, NaN, and text such as "" or "null". A negative integer
    of 64 bits is the same number without sign: specObjID of eBOSS plates above 8191. Floats are
    exact below 2⁵³; beyond, only those of a specObjID, whose last ten bits are 0.

    Args:
        values: (N,) integers, floats or text.
        name: of the column, in lower case.

    Returns:
        (N,) uint64, and (N,) bool: values that were an identifier once, and lost digits; 0.
    """
    values = np.asarray(values)
    if values.dtype.kind not in "biuf":
        parts = [_of_text(value) for value in values]
        return np.array([p[0] for p in parts], np.uint64), np.array([p[1] for p in parts], bool)
    inexact = np.zeros(values.shape, bool)
    if values.dtype.kind == "f":
        with np.errstate(invalid="ignore"):
            known = values > 0
            exact = (values % 1 == 0) & (values < EXACT_FLOATS.get(values.dtype.itemsize, 0.0))
            if name == "specobjid" and values.dtype.itemsize == 8:
                exact |= (values % 1024 == 0) & (values < 2.0**63)
        inexact = known & ~exact
        values = np.where(known & exact, values, 0)
    elif values.dtype.kind == "i":
        values = np.where((values < 0) & (values > LEAST_SENTINEL), 0, values)
    return values.astype(np.uint64), inexact


def _of_text(value: object) -> tuple[int, bool]:
    """An identifier as text, or any object, and whether its digits are lost."""
    text = (value.decode(errors="replace") if isinstance(value, bytes) else str(value)).strip()
    if text.lower() in MISSING:
        return 0, False
    if text.lstrip("+-").isdecimal():
        number = int(text)
        if number < 0:
            return (number % 2**64 if -(2**63) <= number <= LEAST_SENTINEL else 0), False
        return (number, False) if number < 2**64 else (0, True)
    return 0, True


def exact_identifiers(values: np.ndarray, name: str = "specobjid") -> np.ndarray:
    """The identifiers of `identifiers_of`.

    Raises:
        ValueError: values are not exact, or not 64-bit integers; with the first of them.
    """
    identifiers, inexact = identifiers_of(values, name)
    if inexact.any():
        row = int(np.argmax(inexact))
        raise ValueError(f"row {row + 1}: {np.asarray(values)[row]} is not an exact 64-bit integer")
    return identifiers


def match_identifiers(identifier: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """(N,) int64: for every identifier its first row in `reference`, −1 where there is none, or
    the identifier is 0, unknown."""
    identifier, reference = exact_identifiers(identifier), exact_identifiers(reference)
    unique, first = np.unique(reference, return_index=True)
    if len(unique) == 0:
        return np.full(len(identifier), -1)
    position = np.minimum(np.searchsorted(unique, identifier), len(unique) - 1)
    return np.where((unique[position] == identifier) & (identifier > 0), first[position], -1)
