"""Identifiers as exact 64-bit integers, and joining on them.

SDSS identifiers need more than the 53 bits of a float64, so they never pass through one.
"""

from __future__ import annotations

import numpy as np

IDENTIFIERS = ("identifier", "objid", "specobjid", "bestobjid")  # first: preferred


def exact_identifiers(values: np.ndarray) -> np.ndarray:
    """Identifiers as uint64, from integers or text of digits.

    A float64 is accepted only where every value is a multiple of 1024: specObjID always is, and
    such integers below 2⁶³ are exact in a float64.

    Raises:
        ValueError: the values are not exact, or not 64-bit integers ≥ 0.
    """
    values = np.asarray(values)
    try:
        if values.dtype.kind in "US":
            return np.array([int(value) for value in values], dtype=np.uint64)
        whole = values.dtype == np.float64 and not np.any(values % 1024)
        exact = values.dtype.kind in "iu" or (whole and np.all(values < 2.0**63))
        if exact and not np.any(values < 0):
            return values.astype(np.uint64)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"not 64-bit integers ({error})") from None
    raise ValueError(f"values of type {values.dtype} that are not exact 64-bit integers")


def match_identifiers(identifier: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """(N,) int64: for every identifier its first row in `reference`, −1 where there is none."""
    identifier, reference = exact_identifiers(identifier), exact_identifiers(reference)
    unique, first = np.unique(reference, return_index=True)
    if len(unique) == 0:
        return np.full(len(identifier), -1)
    position = np.minimum(np.searchsorted(unique, identifier), len(unique) - 1)
    return np.where(unique[position] == identifier, first[position], -1)
