r"""Metrics of candidate spectra against the true one.

Notation: galaxy g has P candidates :math:`x_p` and the truth :math:`y`, both linear flux divided by
the normalisation, on the same n pixels. Everything here is a mean over pixels, per galaxy.

* MSE of a point estimate made of the candidates: their mean, their median per pixel, the best by
  the ranking, the mean of the best five, the medoid (the candidate with the least summed squared
  distance to the others), and the oracle, the candidate nearest to the truth (a bound: to choose it
  takes the truth).
* CRPS of the candidates as an empirical distribution (Gneiting & Raftery 2007, eq. 21, in the fair
  form of Ferro 2014): :math:`\frac1P\sum|x_p-y| - \frac1{2P(P-1)}\sum_{p,q}|x_p-x_q|`.
* Energy score (ibid., eq. 22, fair): the same with the Euclidean distance of whole spectra, which
  also sees whether pixels vary together,
  :math:`\frac1P\sum\|x_p-y\| - \frac1{2P(P-1)}\sum_{p,q}\|x_p-x_q\|`. The distance is the root mean
  square over pixels, or over bins of 100 Å, in which noise averages out; so the unit is the flux's.
* Noise of a spectrum: 1.4826 times the median of |x_i - (x_{i-l} + x_{i+l})/2|, over
  :math:`\sqrt{3/2}` (after DER_SNR, Stoehr et al. 2008), with a lag l beyond which the noise of
  neighbouring pixels is independent.
"""

from __future__ import annotations

import numpy as np

BEST_FEW = 5  # "mean of the best five" (Doorenbos et al. 2022)
COARSE_ANGSTROM = 100.0  # bins in which the noise of pixels averages out


def mean_squared_error(estimate: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Mean over pixels of the squared error, per galaxy.

    Args:
        estimate, truth: (N, n) flux.

    Returns:
        (N,) float64.
    """
    return np.mean((estimate - truth).astype(np.float64) ** 2, axis=-1)


def crps(candidates: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Fair continuous ranked probability score, mean over pixels, per galaxy.

    Args:
        candidates: (N, P, n) flux, P >= 2.
        truth: (N, n) flux.

    Returns:
        (N,) float64, in the units of the flux.
    """
    return _crps_of_sorted(np.sort(candidates, axis=1), truth)


def _crps_of_sorted(ordered: np.ndarray, truth: np.ndarray) -> np.ndarray:
    skill = np.mean(np.abs(ordered - truth[:, None]), axis=1)
    return np.mean((skill - _spread_of_sorted(ordered)).astype(np.float64), axis=-1)


def _spread_of_sorted(ordered: np.ndarray) -> np.ndarray:
    # sum over pairs |x_p - x_q| = 2 sum_p (2p - P - 1) x_(p), p = 1 … P
    count = ordered.shape[1]
    weights = (2 * np.arange(1, count + 1) - count - 1) / (count * max(count - 1, 1))
    return np.einsum("p,gpn->gn", weights.astype(ordered.dtype), ordered)


def pairwise_difference(candidates: np.ndarray) -> np.ndarray:
    """Half the mean absolute difference of two candidates, per pixel: (N, n) for (N, P, n)."""
    return _spread_of_sorted(np.sort(candidates, axis=1))


def pairwise_distance(candidates: np.ndarray) -> np.ndarray:
    """Half the mean distance of two candidates: (N,) float64 for (N, P, n)."""
    count, pixels = candidates.shape[1:]
    centred = (candidates - candidates.mean(axis=1, keepdims=True)).astype(np.float64)
    product = np.einsum("gpn,gqn->gpq", centred, centred, optimize=True)
    norm = np.diagonal(product, axis1=1, axis2=2)
    squared = norm[:, :, None] + norm[:, None] - 2 * product
    total = np.sqrt(np.maximum(squared, 0) / pixels).sum(axis=(1, 2))
    return total / (2 * count * max(count - 1, 1))


def energy_score(candidates: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Fair energy score per galaxy, in the unit of the flux.

    Args:
        candidates: (N, P, n) flux, P >= 2.
        truth: (N, n) flux.

    Returns:
        (N,) float64.
    """
    squared = np.mean((candidates - truth[:, None]).astype(np.float64) ** 2, axis=-1)
    return np.sqrt(squared).mean(axis=1) - pairwise_distance(candidates)


def coarse(wavelength_angstrom: np.ndarray, flux: np.ndarray) -> np.ndarray:
    """Means of flux (..., n) over bins of `COARSE_ANGSTROM`: (..., bins) float64."""
    place = ((wavelength_angstrom - wavelength_angstrom[0]) // COARSE_ANGSTROM).astype(int)
    starts = np.flatnonzero(np.diff(place, prepend=-1))
    return np.add.reduceat(flux, starts, axis=-1, dtype=np.float64) / np.bincount(place)


def pixel_noise(flux: np.ndarray, lag: int) -> np.ndarray:
    """Noise per pixel (...) of spectra (..., n), in their unit.

    Args:
        flux: (..., n).
        lag: pixels, >= 1, at which the noise is independent.
    """
    difference = flux[..., lag:-lag] - 0.5 * (flux[..., : -2 * lag] + flux[..., 2 * lag :])
    # the deviation from zero, not from the median as in a MAD: the noise has mean zero
    return 1.4826 * np.median(np.abs(difference), axis=-1) / np.sqrt(1.5)


def medoid(candidates: np.ndarray) -> np.ndarray:
    """Number (N,) of the candidate with the least summed squared distance to the others.

    Args:
        candidates: (N, P, n) flux.
    """
    # sum_q |x_p - x_q|^2 = P |x_p - mean|^2 + a term that is the same for all p
    offset = candidates - candidates.mean(axis=1, keepdims=True)
    return np.einsum("gpn,gpn->gp", offset, offset).argmin(axis=1)


def score(
    wavelength_angstrom: np.ndarray, candidates: np.ndarray, truth: np.ndarray, ranked: bool = True
) -> dict[str, np.ndarray]:
    """All errors of candidates, per galaxy.

    Args:
        wavelength_angstrom: (n,).
        candidates: (N, P, n) flux, best first where they are ranked.
        truth: (N, n) flux.
        ranked: whether the candidates have an order; without one there is no best candidate.

    Returns:
        (N,) float64 each: `mse_mean`, `mse_median`, `mse_medoid`, `mse_oracle`, `crps`, `energy`,
        `energy_100` (bins of 100 Å) and, where ranked, `mse_best` and `mse_best_five` (of all, if
        there are fewer).
    """
    each = np.stack([mean_squared_error(x, truth) for x in candidates.swapaxes(0, 1)], axis=1)
    ordered = np.sort(candidates, axis=1)
    count, rows = candidates.shape[1], np.arange(len(truth))
    median = ordered[:, [(count - 1) // 2, count // 2]].mean(axis=1)
    result = {
        "mse_mean": mean_squared_error(candidates.mean(axis=1), truth),
        "mse_median": mean_squared_error(median, truth),
        "mse_medoid": each[rows, medoid(candidates)],
        "mse_oracle": each.min(axis=1),
        "crps": _crps_of_sorted(ordered, truth),
        "energy": energy_score(candidates, truth),
        "energy_100": energy_score(*(coarse(wavelength_angstrom, x) for x in (candidates, truth))),
    }
    if ranked:
        few = candidates[:, :BEST_FEW].mean(axis=1)
        result |= {"mse_best": each[:, 0], "mse_best_five": mean_squared_error(few, truth)}
    return result
