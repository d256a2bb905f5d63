"""Hashes of integers against published values."""

import numpy as np

from datasets.hashing import hashed, splitmix64


def test_splitmix64_is_the_published_generator():
    """First outputs for the seed 1234567 (Vigna's reference implementation)."""
    golden = np.uint64(0x9E3779B97F4A7C15)
    states = np.uint64(1234567) + golden * np.arange(3, dtype=np.uint64)
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert splitmix64(states).tolist() == expected


def test_hashes_take_identifiers_of_every_kind_exactly():
    large = np.array([2**63, 2**63 + 1], np.uint64)
    assert len(set(hashed(large, 1).tolist())) == 2
    assert hashed(np.array([5, -1]), 1).tolist() != hashed(np.array([5, -1]), 2).tolist()
