"""The nearest mixture of galaxies: projections onto a convex hull whose answers are known."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from models.convex_hull import nearest_mixture, onto_simplex

TRIANGLE = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])


@pytest.mark.parametrize(
    ("drawn", "nearest"),
    [
        ((0.2, 0.3), (0.2, 0.3)),  # inside: stays
        ((0.4, -1.0), (0.4, 0.0)),  # beyond an edge
        ((1.0, 1.0), (0.5, 0.5)),
        ((3.0, -0.5), (1.0, 0.0)),  # beyond a corner
        ((0.0, 1.0), (0.0, 1.0)),
    ],
)
def test_the_nearest_point_of_a_triangle(drawn, nearest):
    found = nearest_mixture(torch.tensor([[drawn]]), TRIANGLE, 50)
    torch.testing.assert_close(found, torch.tensor([[nearest]]), atol=1e-4, rtol=0)


def test_only_the_nearest_galaxies_are_mixed():
    known = torch.tensor([[0.0], [1.0], [10.0]])
    drawn = torch.tensor([[4.0]])
    torch.testing.assert_close(nearest_mixture(drawn, known, 3), drawn)
    torch.testing.assert_close(nearest_mixture(drawn, known, 2), torch.ones(1, 1))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31), size=st.integers(1, 24))
def test_no_corner_is_nearer_and_nothing_becomes_negative(seed, size):
    generator = torch.Generator().manual_seed(seed)
    known = torch.rand(200, size, generator=generator)
    drawn = torch.randn(5, 7, size, generator=generator)
    found = nearest_mixture(drawn, known, 50)
    assert found.shape == drawn.shape
    assert (found > -1e-6).all() and (drawn < 0).any()
    distance = (found - drawn).norm(dim=-1)
    assert (distance <= torch.cdist(drawn, known).amin(dim=-1) + 0.01).all()
    # optimality: no corner lies ahead of the found point, in the direction of the drawn one
    nearest = known[torch.cdist(drawn, known).topk(50, largest=False).indices]
    ahead = ((nearest - found[..., None, :]) * (drawn - found)[..., None, :]).sum(dim=-1)
    assert (ahead.amax(dim=-1) <= 0.02 * distance.clamp(min=0.1)).all()


def test_weights_are_the_nearest_of_the_simplex():
    weights = onto_simplex(torch.tensor([[0.2, 0.3, 0.5], [2.0, 0.0, 0.0], [0.6, 0.6, -1.0]]))
    expected = torch.tensor([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0], [0.5, 0.5, 0.0]])
    torch.testing.assert_close(weights, expected)
