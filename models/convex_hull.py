r"""The mixture of galaxies that is nearest to sampled coefficients.

Adding a residual to a prediction can leave the manifold of real galaxies, for instance with a line
in absorption that only emits. A mixture of galaxies lies on it, since light adds. With sampled
coefficients a and those b_j of the J nearest galaxies,

.. math:: \min_w \Bigl\| a - \sum_j w_j b_j \Bigr\|^2, \qquad w_j \geq 0, \quad \sum_j w_j = 1,

is solved by accelerated projected gradients (FISTA: Beck & Teboulle 2009, SIAM J. Imaging Sci. 2,
183), the projection on the simplex by sorting (Held, Wolfe & Crowder 1974, Math. Program. 6, 62).

Shapes: ... any leading dimensions, E coefficients, M galaxies, J of them in a mixture.
"""

import torch
from torch import Tensor

ITERATIONS = 100


def nearest_mixture(sampled: Tensor, galaxies: Tensor, count: int) -> Tensor:
    """Mixtures (..., E) nearest to `sampled` (..., E) of the `count` nearest `galaxies` (M, E)."""
    weights, corners = mixture_weights(sampled, galaxies, count)
    return (weights[..., None, :] @ corners)[..., 0, :]


def mixture_weights(sampled: Tensor, galaxies: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The weights (..., J) of that mixture, and the galaxies (..., J, E) that it is made of."""
    nearest = torch.cdist(sampled, galaxies).topk(min(count, len(galaxies)), largest=False).indices
    corners = galaxies[nearest]  # (..., J, E)
    offsets = corners - corners.mean(dim=-2, keepdim=True)  # the same problem, better conditioned
    products = offsets @ offsets.transpose(-1, -2)
    towards = (offsets @ (sampled - corners.mean(dim=-2))[..., None])[..., 0]
    step = 1.0 / products.flatten(-2).norm(dim=-1).clamp(min=1e-12)[..., None]
    weights = ahead = torch.full(nearest.shape, 1.0 / nearest.shape[-1]).to(sampled)
    momentum = 1.0
    for _ in range(ITERATIONS):
        gradient = (products @ ahead[..., None])[..., 0] - towards
        before, weights = weights, onto_simplex(ahead - step * gradient)
        faster = (1.0 + (1.0 + 4.0 * momentum**2) ** 0.5) / 2.0
        ahead = weights + (momentum - 1.0) / faster * (weights - before)
        momentum = faster
    return weights, corners


def onto_simplex(values: Tensor) -> Tensor:
    """The nearest weights (..., J) that are not negative and add up to one."""
    descending = values.sort(dim=-1, descending=True).values
    excess = descending.cumsum(dim=-1) - 1.0
    count = torch.arange(1, values.shape[-1] + 1, device=values.device)
    last = (descending * count > excess).sum(dim=-1, keepdim=True)  # weights above zero
    return (values - excess.gather(-1, last - 1) / last).clamp(min=0.0)
