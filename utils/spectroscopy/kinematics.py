"""The stars' velocity dispersion and velocity.

For every trial σ★ a non-negative mixture of the broadened populations A(σ★) plus polynomials is
fitted to the spectrum; the polynomials are projected out, so that dust and flux calibration do
not matter and only features count (Cappellari & Emsellem 2004, PASP 116, 138). σ★ is at the minimum
of χ²(σ★), its error from Δχ² = 1. The scan keeps the populations that are chosen at the start. The
velocity follows from the derivative of the best model M: d − M ≈ −(v/c) dM/d ln λ.
"""

from __future__ import annotations

import numpy as np
from numpy.polynomial import legendre
from scipy.linalg import solve_triangular
from scipy.optimize import nnls

from datasets.constants import SPEED_OF_LIGHT_KM_S
from utils.spectroscopy.broadening import BroadenedLibrary, Galaxy
from utils.spectroscopy.wavelength import REST_GRID

POLYNOMIAL_DEGREE = 8  # of the additive polynomials
SIGMA_STAR_KM_S = np.arange(15.0, 451.0, 15.0)  # trial dispersions; the ends limit the result


class NonNegativeFit:
    """min |data − design w|² for w ≥ 0, from normal equations that are factorised once.

    Args:
        design: (m, K).
    """

    def __init__(self, design: np.ndarray) -> None:
        self.design = design
        gram = design.T @ design
        ridge = 1e-10 * np.trace(gram) / len(gram)
        self.factor = np.linalg.cholesky(gram + ridge * np.eye(len(gram)))

    def weights(self, data: np.ndarray) -> np.ndarray:
        """w (K,) for data (m,)."""
        right = solve_triangular(self.factor, data @ self.design, lower=True, check_finite=False)
        return nnls(self.factor.T, right)[0]

    def minimum(self, data: np.ndarray) -> float:
        """The minimum for data (m,)."""
        return float(np.sum((data - self.design @ self.weights(data)) ** 2))


def noise_scale(chi2: float, galaxy: Galaxy, has_sigma: bool) -> float:
    """Factor on the variance of the noise that explains χ²; at least 1 if σ was given."""
    reduced = chi2 / max(galaxy.independent, 1.0)
    return max(reduced, 1.0) if has_sigma else reduced


class _Projection:
    """Projects weighted arrays (m, …) onto the complement of additive polynomials."""

    def __init__(self, galaxy: Galaxy) -> None:
        x = np.linspace(-1.0, 1.0, galaxy.flux.size)
        self.root_weight = galaxy.root_weight[:, None]
        self.basis, _ = np.linalg.qr(legendre.legvander(x, POLYNOMIAL_DEGREE) * self.root_weight)

    def __call__(self, columns: np.ndarray) -> np.ndarray:
        weighted = columns * self.root_weight
        return weighted - self.basis @ (self.basis.T @ weighted)


def fit_kinematics(
    galaxy: Galaxy, bank: BroadenedLibrary, start_km_s: float, has_sigma: bool
) -> tuple[float, float, float]:
    """Dispersion, its error and the velocity relative to the galaxy's frame, km/s.

    Args:
        galaxy: on the pixels of the library.
        bank: the library.
        start_km_s: dispersion at which the populations are chosen.
        has_sigma: whether the galaxy's weights come from measured errors.

    Returns:
        NaN, NaN and 0 where no population improves on the polynomials, as in pure noise.
    """
    project = _Projection(galaxy)
    data = project(galaxy.flux[:, None])[:, 0]
    start = NonNegativeFit(project(bank.at(galaxy.kernel(start_km_s))))
    populations = np.flatnonzero(start.weights(data) > 0)
    if not populations.size:
        return np.nan, np.nan, 0.0
    chosen = bank.part(populations)
    chi2 = np.array(
        [
            NonNegativeFit(project(chosen.at(galaxy.kernel(trial)))).minimum(data)
            for trial in SIGMA_STAR_KM_S
        ]
    )
    sigma_star, error = _minimum(chi2, noise_scale(chi2.min(), galaxy, has_sigma))
    populations = chosen.at(galaxy.kernel(sigma_star))
    model = populations @ NonNegativeFit(project(populations)).weights(data)
    residual = data - project(model[:, None])[:, 0]
    slope = project(np.gradient(model, REST_GRID.step * np.log(10.0))[:, None])[:, 0]
    velocity = -SPEED_OF_LIGHT_KM_S * (slope @ residual) / (slope @ slope)
    return sigma_star, error, float(np.clip(velocity, -500.0, 500.0))


def _minimum(chi2: np.ndarray, scale: float) -> tuple[float, float]:
    """Minimum and Δχ² = scale half width of χ² on the trial dispersions, by a local parabola.

    At the limits of the trials the error is NaN: the dispersion is only bounded.
    """
    best = int(np.clip(chi2.argmin(), 2, chi2.size - 3))
    near = slice(best - 2, best + 3)
    centre = SIGMA_STAR_KM_S[best]
    quadratic, linear, _ = np.polyfit(SIGMA_STAR_KM_S[near] - centre, chi2[near], 2)
    if quadratic <= 0 or chi2.argmin() in (0, chi2.size - 1):
        return float(SIGMA_STAR_KM_S[chi2.argmin()]), np.nan
    sigma_star = np.clip(centre - 0.5 * linear / quadratic, *SIGMA_STAR_KM_S[[0, -1]])
    return float(sigma_star), float(np.sqrt(scale / quadratic))
