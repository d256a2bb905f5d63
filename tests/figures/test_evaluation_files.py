"""Parts that several figures share."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from figures.evaluation_files import METHOD_STYLE, Results, density, running, style_of


def test_running_percentiles_follow_the_relation():
    generator = np.random.default_rng(0)
    x = generator.uniform(0, 10, 8000)
    middle, (low, median, high) = running(x, 2 * x + generator.normal(0, 1, 8000), bins=20)
    np.testing.assert_allclose(middle, np.arange(20) / 2 + 0.25, atol=0.1)
    np.testing.assert_allclose(median, 2 * middle, atol=0.4)
    assert np.all(low < median) and np.all(median < high)


def test_running_takes_fewer_points_than_bins():
    middle, bands = running(np.array([3.0, 1.0]), np.array([30.0, 10.0]), bins=8)
    np.testing.assert_array_equal(middle, [1, 3])
    np.testing.assert_array_equal(bands, [[10, 30]] * 3)


def test_density_counts_finite_points_inside_the_limits():
    axes = Figure().subplots()
    x = np.array([0.5, 0.5, np.nan, 7.0])
    density(axes, x, np.full(4, 0.5), (0, 1, 0, 1))
    counts = axes.collections[0].get_array()
    assert counts.sum() == 2
    assert axes.get_xlim() == (0, 1)


@pytest.mark.parametrize(
    ("dn4000", "shown"),
    [([1.9, np.nan, 1.2, 1.5], [2, 3, 0]), ([np.nan] * 3, [0, 1, 2]), (None, [0, 1, 2])],
)
def test_examples_spread_from_young_to_old_or_over_all(dn4000, shown):
    results = object.__new__(Results)
    results.truth = {} if dn4000 is None else {"Dn4000": np.array(dn4000)}
    results.rows = np.arange(len(dn4000 or shown))
    np.testing.assert_array_equal(results.spread(3), shown)


def test_methods_have_different_styles():
    looks = [(style_of(m)["color"], style_of(m)["ls"]) for m in METHOD_STYLE]
    assert len(set(looks)) == len(METHOD_STYLE)
