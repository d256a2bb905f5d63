"""Which galaxies train, validate and test.

Repeat observations are one galaxy: everything linked by separations of at most 2″ is a group, and
its smallest identifier decides for all of it. With h the SplitMix64 hash (Steele, Lea & Flood
2014), u = h(identifier ⊕ h(seed)) / 2⁶⁴ is uniform in [0, 1):

    u < v: validation;   v ≤ u < v + t: test;   otherwise: training

So the split of a group depends on its smallest identifier and the seed only: adding, removing or
reordering galaxies elsewhere on the sky never moves one. A new observation of the same galaxy moves
its group if its identifier is smaller than all others of the group, or if it links two groups; in
SDSS the identifiers of later plates are usually larger.

The published split depends on the order of the galaxies instead: see `original_split`.
"""

from __future__ import annotations

import numpy as np
import torch

from datasets.constants import SPLITS
from datasets.hashing import hashed

EXCLUDED = -1  # from every split
REPEAT_RADIUS_ARCSEC = 2.0
ORIGINAL_SEED = 1
ORIGINAL_VALIDATION = 512  # galaxies


def check_fractions(fractions: tuple[float, float]) -> None:
    """Raise ValueError for fractions of validation and test that leave nothing to train on."""
    if min(fractions) < 0 or sum(fractions) >= 1:
        raise ValueError(f"fractions {fractions} leave nothing to train on")


def assign_splits(
    identifier: np.ndarray,
    ra: np.ndarray,
    dec: np.ndarray,
    seed: int = 1,
    fractions: tuple[float, float] = (0.05, 0.10),
) -> np.ndarray:
    """The split of every galaxy.

    Args:
        identifier: (N,) 64-bit integers, compared as unsigned.
        ra, dec: (N,) float64 degrees.
        seed: Of the hash.
        fractions: Of validation and test, ≥ 0 with a sum below 1; the hash meets them on average.

    Returns:
        (N,) int8 values of `SPLITS`.

    Raises:
        ValueError: the fractions leave nothing to train on, or a coordinate is not finite.
    """
    check_fractions(fractions)
    validation, test = fractions
    identifier = np.asarray(identifier).astype(np.uint64)
    group = _sky_groups(ra, dec)
    order = np.lexsort((identifier, group))
    smallest_first = order[np.unique(group[order], return_index=True)[1]]
    smallest = identifier[smallest_first][group]

    uniform = (hashed(smallest, seed) >> np.uint64(11)) * 2.0**-53
    split = np.full(len(identifier), SPLITS["train"], dtype=np.int8)
    split[uniform < validation + test] = SPLITS["test"]
    split[uniform < validation] = SPLITS["validation"]
    return split


def original_split(positive: np.ndarray) -> np.ndarray:
    """The split of the published code.

    Of the n galaxies with positive spectra, two permutations by `torch.randperm` with seed 1 take
    m = int(0.1 n + 512) from the end of the first, and of these 512 for validation.

    Args:
        positive: (N,) bool, the spectrum is positive everywhere; in the published order of
            galaxies.

    Returns:
        (N,) int8 values of `SPLITS`, or `EXCLUDED`.

    Raises:
        ValueError: fewer than 569 are positive; then n ≤ m, and nothing is left to train on.
    """
    rows = np.flatnonzero(positive)
    held_out = int(0.1 * len(rows) + ORIGINAL_VALIDATION)
    if len(rows) <= held_out:
        raise ValueError(
            f"{len(rows)} galaxies with positive spectra are too few for the original's split, "
            f"which holds out {held_out}: use the default split"
        )
    order = rows[_permutation(len(rows))]
    rest = order[-held_out:][_permutation(held_out)]
    split = np.full(len(positive), EXCLUDED, dtype=np.int8)
    split[order[:-held_out]] = SPLITS["train"]
    split[rest[:ORIGINAL_VALIDATION]] = SPLITS["validation"]
    split[rest[ORIGINAL_VALIDATION:]] = SPLITS["test"]
    return split


def _permutation(count: int) -> np.ndarray:
    return torch.randperm(count, generator=torch.Generator().manual_seed(ORIGINAL_SEED)).numpy()


def _sky_groups(ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    """(N,) group numbers of friends of friends within `REPEAT_RADIUS_ARCSEC`."""
    # readers of a survey take the names of the splits alone: scipy is slow to import
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    ra, dec = np.radians(np.asarray(ra, np.float64)), np.radians(np.asarray(dec, np.float64))
    if not (np.isfinite(ra).all() and np.isfinite(dec).all()):
        raise ValueError("every galaxy needs finite ra and dec to find repeat observations")
    unit = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=1)
    chord = 2 * np.sin(np.radians(REPEAT_RADIUS_ARCSEC / 3600) / 2)
    i, j = cKDTree(unit).query_pairs(chord, output_type="ndarray").T
    links = coo_array((np.ones(len(i), dtype=bool), (i, j)), shape=(len(ra), len(ra)))
    return connected_components(links, directed=False)[1]
