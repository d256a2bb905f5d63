"""Ensembles that are calibrated by construction, and others that are not."""

import numpy as np
import pytest

from utils.evaluation.calibration import (
    LEVELS,
    SpreadSkill,
    coverage,
    expected_coverage,
    pit_histogram,
    pit_intervals,
    rank_shares,
    tarp_distance,
    tarp_intervals,
)

P = 16
GENERATOR = np.random.default_rng(1)


def ensemble(galaxies, width=1.0, shift=0.0, pixels=()):
    """Truth and candidates from one normal distribution per galaxy, candidates wider or shifted."""
    centre = GENERATOR.normal(size=(galaxies, *pixels))
    truth = centre + GENERATOR.normal(size=(galaxies, *pixels))
    noise = GENERATOR.normal(size=(galaxies, P, *pixels))
    return centre[:, None] + shift + width * noise, truth


def histogram(candidates, truth):
    return pit_histogram(pit_intervals(candidates, truth), P + 1)


@pytest.mark.parametrize("level", LEVELS)
def test_a_calibrated_ensemble_covers_what_it_claims(level):
    assert coverage(histogram(*ensemble(40_000)), level) == pytest.approx(level, abs=0.01)


def test_pit_of_a_calibrated_ensemble_is_flat():
    shares = histogram(*ensemble(40_000))
    assert shares.sum() == pytest.approx(1)
    np.testing.assert_allclose(shares, 1 / (P + 1), atol=5 * np.sqrt(1 / (P + 1) / 40_000))


def test_narrow_wide_and_shifted_ensembles_are_distinguished():
    narrow, wide, shifted = (
        histogram(*ensemble(5000, *kind)) for kind in ((0.5, 0.0), (2.0, 0.0), (1.0, 1.0))
    )
    assert coverage(narrow, 0.68) < 0.5 < 0.85 < coverage(wide, 0.68)
    assert narrow[[0, -1]].min() > 2 / (P + 1) > narrow[P // 2]  # U
    assert wide[[0, -1]].max() < 0.5 / (P + 1) < wide[P // 2]  # hill
    assert shifted[0] > 3 * shifted[-1]  # slope: the truth is below


def test_coverage_of_a_flat_histogram_is_exact_at_any_number_of_bins():
    for bins in (4, 17, 100):
        assert coverage(np.full(bins, 1 / bins), 0.68) == pytest.approx(0.68)


def test_ties_and_missing_values_spread_their_mass():
    candidates = np.array([[1.0, 1.0, 2.0, np.nan], [np.nan] * 4, [3.0, 3.0, 3.0, 3.0]])
    intervals = pit_intervals(candidates, np.array([1.0, 1.0, np.nan]))
    np.testing.assert_allclose(intervals[0], [0, 3 / 4])  # three finite, two equal
    assert np.isnan(intervals[1:]).all()
    np.testing.assert_allclose(pit_histogram(intervals, 4), [1 / 3, 1 / 3, 1 / 3, 0])


def test_rank_shares_of_pixels_are_their_pit_histogram():
    candidates, truth = ensemble(3, pixels=(500,))
    shares = rank_shares(candidates, truth)
    for galaxy in range(3):
        np.testing.assert_allclose(shares[galaxy], histogram(candidates[galaxy].T, truth[galaxy]))
    # a truth that equals a candidate lies half on either side of it
    tied = rank_shares(np.arange(4.0).reshape(1, 4, 1), np.array([[2.0]]))
    np.testing.assert_allclose(tied, [[0, 0, 0.5, 0.5, 0]])


def test_tarp_is_diagonal_for_a_calibrated_ensemble_only():
    galaxies, dimensions = 3000, 5
    references = GENERATOR.normal(scale=2, size=(galaxies, 1, dimensions))

    def curve(**kind):
        candidates, truth = ensemble(galaxies, pixels=(dimensions,), **kind)
        return expected_coverage(tarp_intervals(candidates, truth, references), P + 1)

    calibrated = curve()
    assert calibrated[0] == 0 and calibrated[-1] == pytest.approx(1)
    assert tarp_distance(calibrated) < 1.95 / np.sqrt(galaxies)  # Kolmogorov, 1e-3
    assert tarp_distance(curve(width=0.6)) > 0.1
    assert tarp_distance(curve(shift=1.2)) > 0.1


def test_spread_predicts_the_error_of_a_calibrated_ensemble():
    spread, narrow = SpreadSkill(), SpreadSkill()
    for scale in (0.01, 0.1, 1.0):
        candidates, truth = ensemble(40, pixels=(500,))
        spread.add(scale * candidates, scale * truth)
        candidates, truth = ensemble(40, 0.5, pixels=(500,))
        narrow.add(scale * candidates, scale * truth)
    assert spread.ratio() == pytest.approx(1, abs=0.03)
    expected = np.sqrt(1 + 1 / P) * 0.5 / np.sqrt(1 + 0.25 / P)
    assert narrow.ratio() == pytest.approx(expected, abs=0.03)
    curve = spread.curve()
    assert min(curve["predicted"]) < 0.02 and max(curve["predicted"]) > 1
    assert sum(curve["share"]) == pytest.approx(1, abs=1e-2)
