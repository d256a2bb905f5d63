"""Splits: independent of order and company, blind to repeats, of the right size."""

import numpy as np
import pytest
import torch
from torch.utils.data import random_split

from datasets.constants import SPLITS
from datasets.sdss.spec_files import read_spectra_collection
from datasets.splits import EXCLUDED, assign_splits, original_split
from tests.support import REAL_DATA

COLLECTION = REAL_DATA / "sdss_spectra.h5"
ARCSEC = 1 / 3600


def sky(count, seed=0):
    rng = np.random.default_rng(seed)
    identifier = rng.choice(2**62, count, replace=False).astype(np.uint64)
    return identifier, rng.uniform(0, 360, count), np.degrees(np.arcsin(rng.uniform(-1, 1, count)))


def test_order_and_company_do_not_matter():
    identifier, ra, dec = sky(5000)
    split = assign_splits(identifier, ra, dec)
    shuffled = np.random.default_rng(1).permutation(5000)
    again = assign_splits(identifier[shuffled], ra[shuffled], dec[shuffled])
    np.testing.assert_array_equal(again, split[shuffled])
    some = slice(0, 100)
    np.testing.assert_array_equal(assign_splits(identifier[some], ra[some], dec[some]), split[some])


def test_signed_and_unsigned_identifiers_agree():
    identifier, ra, dec = sky(500)
    np.testing.assert_array_equal(
        assign_splits(identifier, ra, dec), assign_splits(identifier.astype(np.int64), ra, dec)
    )


def test_fractions_are_met():
    split = assign_splits(*sky(40_000), seed=3, fractions=(0.05, 0.10))
    shares = np.bincount(split, minlength=3) / 40_000
    sigma = np.sqrt(0.1 * 0.9 / 40_000)
    np.testing.assert_allclose(shares, [0.85, 0.05, 0.10], atol=5 * sigma)


def test_seeds_are_independent():
    """Two seeds agree as often as two draws do: 0.85² + 0.05² + 0.10² = 0.735."""
    one, other = (assign_splits(*sky(20_000), seed=seed) for seed in (1, 2))
    assert np.mean(one == other) == pytest.approx(0.735, abs=0.02)


@pytest.mark.parametrize("dec", [0.0, 89.9, -60.0])
def test_repeats_within_two_arcsec_stay_together(dec):
    """Chains, also across ra = 0; at 3″ galaxies are on their own."""
    count = 300
    ra = np.linspace(0, 350, count)
    identifier = np.arange(count, dtype=np.int64) * 1024
    step = 1.9 * ARCSEC / np.cos(np.radians(dec))
    chain = [(ra + k * step) % 360 for k in (-2, -1, 0, 1)]
    split = assign_splits(
        np.concatenate([identifier + k for k in range(4)]),
        np.concatenate(chain),
        np.full(4 * count, dec),
        fractions=(0.3, 0.3),
    ).reshape(4, count)
    assert (split == split[0]).all()
    apart = assign_splits(
        np.concatenate([identifier, identifier + 1]),
        np.concatenate([ra, ra + 3 * ARCSEC / np.cos(np.radians(dec))]),
        np.full(2 * count, dec),
        fractions=(0.3, 0.3),
    ).reshape(2, count)
    assert (apart[0] != apart[1]).sum() > 100


def test_the_smallest_identifier_decides_for_its_group():
    identifier, ra, dec = sky(400)
    repeat = identifier + np.uint64(1)
    both = assign_splits(
        np.concatenate([repeat, identifier]),
        np.concatenate([ra, ra]),
        np.concatenate([dec + ARCSEC, dec]),
        fractions=(0.3, 0.3),
    )
    alone = assign_splits(identifier, ra, dec, fractions=(0.3, 0.3))
    np.testing.assert_array_equal(both, np.concatenate([alone, alone]))


@pytest.mark.skipif(not COLLECTION.exists(), reason="real survey data are not at hand")
def test_real_repeats_never_straddle():
    catalogue = read_spectra_collection(COLLECTION).catalogue
    ra, dec = np.radians(catalogue["ra"]), np.radians(catalogue["dec"])
    split = assign_splits(
        catalogue["specobjid"], catalogue["ra"], catalogue["dec"], fractions=(0.3, 0.3)
    )
    separation = np.hypot((ra[:, None] - ra) * np.cos(dec), dec[:, None] - dec)
    i, j = np.nonzero(np.triu(np.degrees(separation) < 2 * ARCSEC, k=1))
    assert len(i) >= 10
    np.testing.assert_array_equal(split[i], split[j])
    assert set(split) == set(SPLITS.values())


def test_what_cannot_work_is_refused():
    identifier, ra, dec = sky(3)
    with pytest.raises(ValueError, match="nothing to train"):
        assign_splits(identifier, ra, dec, fractions=(0.5, 0.5))
    with pytest.raises(ValueError, match="finite"):
        assign_splits(identifier, ra * np.nan, dec)


@pytest.mark.parametrize("count", [569, 1000, 4321])
def test_the_published_split_is_torchs(count):
    """The two nested calls of the published code, on the positive ones in their order."""
    positive = np.random.default_rng(count).permutation(count + 50) < count
    rows = np.flatnonzero(positive).tolist()
    held_out = int(0.1 * len(rows) + 512)
    generators = [torch.Generator().manual_seed(1) for _ in range(2)]
    train, rest = random_split(rows, [len(rows) - held_out, held_out], generator=generators[0])
    validation, test = random_split(rest, [512, len(rest) - 512], generator=generators[1])
    split = original_split(positive)
    for name, expected in {"train": train, "validation": validation, "test": test}.items():
        assert np.flatnonzero(split == SPLITS[name]).tolist() == sorted(expected)
    np.testing.assert_array_equal(split == EXCLUDED, ~positive)


def test_the_published_split_needs_galaxies_to_train_on():
    assert (original_split(np.ones(569, dtype=bool)) == SPLITS["train"]).sum() == 1
    with pytest.raises(ValueError, match="568 galaxies with positive spectra are too few"):
        original_split(np.ones(568, dtype=bool))
