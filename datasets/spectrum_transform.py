"""From prepared spectra to the inputs of networks, and back.

A network's input is x = (T(f) − μ)/σ, with f the prepared linear flux (P = 4500 px), T a flux
transform, and μ, σ of the training spectra, in one of these representations:

    low        every eighth pixel          (1, 563)   pixel k is pixel 8k of the grid
    super      all pixels                  (1, 4500)  guided by a *low* spectrum
    polyphase  all, as interleaved phases  (8, 563)   phase k holds the pixels k, k + 8, k + 16, …
    native     all pixels                  (1, P)     as *super*, but without a guide

Shapes: ... any leading dimensions, P pixels of the grid, C channels, L their length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor

from datasets.spectra import METHOD_GRID, WavelengthGrid

PHASES = 8  # pixels of the grid per pixel of the low representation
REPRESENTATIONS = ("low", "super", "polyphase", "native")

LOG_FLOOR = 0.02  # flux, 2 % of the continuum, to which noisier pixels are raised before the log

# name → (forward, inverse); "log_positive" is the published one, for spectra positive everywhere.
FLUX_TRANSFORMS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "log": (lambda flux: flux.clamp(min=LOG_FLOOR).log(), torch.exp),
    "log_positive": (torch.log, torch.exp),
    "none": (lambda flux: flux, lambda value: value),
}


def to_phases(x: Tensor, phases: int = PHASES) -> Tensor:
    """(..., P) → (..., phases, ceil(P / phases)); the last pixel is repeated to fill up."""
    missing = -x.shape[-1] % phases
    x = torch.cat([x, x[..., -1:].expand(*x.shape[:-1], missing)], dim=-1)
    return x.unflatten(-1, (-1, phases)).transpose(-1, -2)


def from_phases(x: Tensor, count: int) -> Tensor:
    """(..., phases, L) → (..., count): the exact inverse of `to_phases` of `count` pixels."""
    return x.transpose(-1, -2).flatten(-2)[..., :count]


class SpectrumTransform:
    """T, μ, σ and the arrangement of pixels as one invertible function.

    Args:
        representation: One of `REPRESENTATIONS`, see the top of this module.
        flux: Name in `FLUX_TRANSFORMS`.
        mean, sigma: Of T(f); scalars, or per pixel of the output grid; σ > 0.
        grid: Of the prepared spectra that `encode` takes.

    Raises:
        ValueError: for another representation or transform, or σ that is not positive.
    """

    def __init__(
        self,
        representation: str,
        flux: str = "log",
        mean: Tensor | float = 0.0,
        sigma: Tensor | float = 1.0,
        grid: WavelengthGrid = METHOD_GRID,
    ) -> None:
        if representation not in REPRESENTATIONS:
            raise ValueError(f"representation is one of {REPRESENTATIONS}, not {representation!r}")
        if flux not in FLUX_TRANSFORMS:
            raise ValueError(f"flux transform is one of {tuple(FLUX_TRANSFORMS)}, not {flux!r}")
        self.representation = representation
        self.flux = flux
        self.grid = grid
        self.mean = torch.as_tensor(mean, dtype=torch.float32)
        self.sigma = torch.as_tensor(sigma, dtype=torch.float32)
        if not bool((self.sigma > 0).all()):
            raise ValueError("sigma must be positive: a pixel that never varies cannot be scaled")

    @classmethod
    def fit(
        cls,
        spectra: Iterable[np.ndarray],
        representation: str,
        flux: str = "log",
        standardise: str = "global",
        grid: WavelengthGrid = METHOD_GRID,
    ) -> SpectrumTransform:
        """The transform with μ and σ of training spectra, accumulated in float64.

        Args:
            spectra: Linear prepared flux in chunks (n, P).
            representation, flux, grid: As of the class.
            standardise: "global" (one μ and σ), "pixel" or "none".

        Raises:
            ValueError: T(f) is not finite, or a σ is zero.
        """
        if standardise not in ("global", "pixel", "none"):
            raise ValueError(f"standardise: global, pixel or none, not {standardise!r}")
        plain = cls(representation, flux, grid=grid)
        if standardise == "none":
            return plain
        selected = (plain._select(torch.as_tensor(s)) for s in spectra)
        mean, variance = _moments(selected)
        if not np.isfinite(mean.sum().item()):
            raise ValueError(f"the transform {flux!r} of these spectra is not finite; use 'log'")
        if standardise == "global":
            grand = mean.mean()
            variance = (variance + (mean - grand) ** 2).mean()
            mean = grand
        return cls(representation, flux, mean.float(), variance.sqrt().float(), grid)

    @property
    def output_grid(self) -> WavelengthGrid:
        """The grid of decoded spectra."""
        return self.grid.every(PHASES) if self.representation == "low" else self.grid

    @property
    def channels(self) -> int:
        return PHASES if self.representation == "polyphase" else 1

    @property
    def length(self) -> int:
        every_pixel = self.representation in ("super", "native")
        return self.grid.count if every_pixel else self.grid.every(PHASES).count

    def encode(self, flux: Tensor) -> Tensor:
        """Linear flux (..., P) → standardised (..., C, L), float32.

        The low representation also accepts spectra on its output grid (..., 563).
        """
        if self.representation == "low":
            return self.encode_low(flux)
        return self.arrange(self.standardised(flux))

    def standardised(self, flux: Tensor) -> Tensor:
        """(T(f) − μ)/σ of linear flux (..., P), in order of wavelength, float32."""
        return (self._select(flux) - self.mean) / self.sigma

    def encode_low(self, flux: Tensor) -> Tensor:
        """Every eighth pixel, standardised: (..., P) or (..., 563) → (..., 1, 563), float32.

        The guide of a network of the super representation.
        """
        if flux.shape[-1] == self.grid.count:
            flux = flux[..., ::PHASES]
        low = self.grid.every(PHASES).count
        mean, sigma = (
            value if value.ndim == 0 or len(value) == low else value[::PHASES]
            for value in (self.mean, self.sigma)
        )
        return ((self._transform(flux, low) - mean) / sigma).unsqueeze(-2)

    def decode(self, x: Tensor) -> Tensor:
        """Standardised (..., C, L) → linear flux (..., output_grid.count)."""
        return FLUX_TRANSFORMS[self.flux][1](self.in_order(x) * self.sigma + self.mean)

    def arrange(self, values: Tensor) -> Tensor:
        """Values per pixel of the output grid (..., output_grid.count) → (..., C, L)."""
        return to_phases(values) if self.representation == "polyphase" else values.unsqueeze(-2)

    def in_order(self, x: Tensor) -> Tensor:
        """(..., C, L) → (..., output_grid.count) by wavelength: the inverse of `arrange`."""
        polyphase = self.representation == "polyphase"
        return from_phases(x, self.grid.count) if polyphase else x.squeeze(-2)

    def _select(self, flux: Tensor) -> Tensor:
        """T(f) of the pixels of the output grid, (..., output_grid.count)."""
        return self.subsample(self._transform(flux))

    def subsample(self, spectra: Tensor | np.ndarray) -> Tensor | np.ndarray:
        """The pixels of spectra (..., P) that lie on `output_grid`: (..., n)."""
        return spectra[..., ::PHASES] if self.representation == "low" else spectra

    def _transform(self, flux: Tensor, count: int | None = None) -> Tensor:
        count = self.grid.count if count is None else count
        if flux.shape[-1] != count:
            raise ValueError(f"spectra have {flux.shape[-1]} pixels, the grid {count}")
        return FLUX_TRANSFORMS[self.flux][0](flux.float())

    def to(self, device: torch.device | str) -> SpectrumTransform:
        """The same transform with μ and σ on `device`."""
        mean, sigma = self.mean.to(device), self.sigma.to(device)
        return SpectrumTransform(self.representation, self.flux, mean, sigma, self.grid)

    def to_dict(self) -> dict:
        """Primitives and tensors: safe for `torch.load(weights_only=True)`."""
        return {
            "representation": self.representation,
            "flux": self.flux,
            "mean": self.mean.cpu(),
            "sigma": self.sigma.cpu(),
            "grid": self.grid.to_dict(),
        }

    @classmethod
    def from_dict(cls, state: dict) -> SpectrumTransform:
        return cls(**{**state, "grid": WavelengthGrid.from_dict(state["grid"])})


def _moments(chunks: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Per-pixel mean and variance in float64, of chunks (n, P) merged pairwise.

    Chan, Golub & LeVeque 1983: with δ = μ_b − μ_a, M = M_a + M_b + δ² n_a n_b / n.
    """
    count, mean, squares = 0, torch.zeros(1).double(), torch.zeros(1).double()
    for chunk in chunks:
        chunk = chunk.double()
        rows, total = len(chunk), count + len(chunk)
        delta = chunk.mean(0) - mean
        squares = squares + chunk.var(0, unbiased=False) * rows + delta**2 * count * rows / total
        mean = mean + delta * rows / total
        count = total
    if count == 0:
        raise ValueError("no spectra to fit")
    return mean, squares / count
