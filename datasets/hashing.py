"""Hashes of integers: random decisions that depend on seeds and identifiers alone."""

from __future__ import annotations

import numpy as np

GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 divided by the golden ratio
MULTIPLIERS = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
MASK = 2**64 - 1


def splitmix64(state: np.ndarray) -> np.ndarray:
    """SplitMix64's output (Steele et al. 2014) for each state, uint64 of any shape."""
    value = state + GOLDEN  # arithmetic modulo 2^64
    value = (value ^ (value >> np.uint64(30))) * MULTIPLIERS[0]
    value = (value ^ (value >> np.uint64(27))) * MULTIPLIERS[1]
    return value ^ (value >> np.uint64(31))


def hashed(identifier: np.ndarray, seed: int) -> np.ndarray:
    """A random number (N,) uint64 for each identifier (N,), integers, and a seed."""
    of_seed = splitmix64(np.array([seed], dtype=np.int64).astype(np.uint64))
    return splitmix64(np.asarray(identifier).astype(np.uint64) ^ of_seed)


def mix(*numbers: int) -> int:
    """One 63-bit seed from several integers of up to 64 bits."""
    state = np.zeros(1, np.uint64)
    for number in numbers:
        state = splitmix64(state ^ np.array([number & MASK], np.uint64))
    return int(state[0]) >> 1
