"""Pixel by pixel scores of candidates, in blocks of galaxies so that memory does not grow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from utils.evaluation.calibration import (
    LEVELS,
    SpreadSkill,
    coverage,
    expected_coverage,
    rank_shares,
    tarp_distance,
    tarp_intervals,
)
from utils.evaluation.method import Method, Spectra
from utils.evaluation.metrics import pixel_noise, score

BLOCK = 32  # galaxies
COARSE_ANGSTROM = 100.0  # TARP's bins: in 4500 dimensions noise would dominate all distances
REFERENCES = 8  # TARP's reference points per galaxy
NOISE_LAG_ANGSTROM = 4.0  # beyond which the noise of two pixels is independent
WINDOWS_ANGSTROM = {
    "4000–5000 Å": (4000.0, 5000.0),
    "5000–6000 Å": (5000.0, 6000.0),
    "6000–7000 Å": (6000.0, 7000.0),
    "7000–8500 Å": (7000.0, 8500.0),
}


@dataclass(frozen=True)
class PixelScores:
    """Scores of the spectra of one method.

    Args:
        errors: (N,) each, as `metrics.score` names them; where candidates differ also
            `coverage_50`, … of the pixels, and `noise_ratio`, the noise of the candidates over that
            of the truth.
        ranks: (N, windows, P + 1) PIT histograms of each galaxy's pixels.
        tarp: (N, R, 2) PIT intervals.
        spread: spread–error relation.
    """

    errors: dict[str, np.ndarray]
    ranks: np.ndarray
    tarp: np.ndarray
    spread: SpreadSkill

    def calibration(self) -> dict:
        """Histograms and curves over all galaxies, for JSON."""
        curve = expected_coverage(self.tarp, self.ranks.shape[-1])
        return {
            "pit": dict(zip(WINDOWS_ANGSTROM, self.ranks.mean(axis=0).tolist(), strict=True)),
            "tarp": curve.tolist(),
            "tarp_distance": tarp_distance(curve),
            "spread_error": self.spread.curve() | {"ratio": self.spread.ratio()},
        }


def score_method(
    method: Method,
    rows: np.ndarray,
    spectra: Spectra,
    wavelength_angstrom: np.ndarray,
    training_rows: np.ndarray,
    seed: int,
) -> PixelScores:
    """Score the candidates of one method.

    Args:
        method: the candidates of N galaxies.
        rows: (N,) of the survey.
        spectra: reads the spectra (b, n) of some rows.
        wavelength_angstrom: (n,).
        training_rows: (M,), from which TARP's reference points are sampled.
        seed: of the reference points.
    """
    windows = [
        (wavelength_angstrom >= low) & (wavelength_angstrom < high)
        for low, high in WINDOWS_ANGSTROM.values()
    ]
    step = float(np.median(np.diff(wavelength_angstrom)))
    lag = max(1, round(NOISE_LAG_ANGSTROM / step))
    generator = np.random.default_rng(seed)
    spread, blocks = SpreadSkill(), []
    starts = range(0, len(rows), BLOCK)
    for start in tqdm(starts, desc=f"scoring {method.name}", disable=None, leave=False):
        part = slice(start, start + BLOCK)
        candidates, truth = method.candidates(part), spectra(rows[part])
        spread.add(candidates, truth)
        ranks = [rank_shares(candidates[..., used], truth[:, used]) for used in windows]
        references = generator.choice(training_rows, (len(truth), REFERENCES))
        points = spectra(references.ravel()).reshape(*references.shape, -1)
        tarp = tarp_intervals(
            *(coarse(wavelength_angstrom, x) for x in (candidates, truth, points))
        )
        errors = score(candidates, truth, method.ranked)
        if method.spread:
            noise = np.median(pixel_noise(candidates, lag), axis=1)
            true_noise = pixel_noise(truth, lag)
            infinite = np.full_like(noise, np.inf)  # where the truth is noiseless
            errors["noise_ratio"] = np.divide(noise, true_noise, out=infinite, where=true_noise > 0)
        blocks.append((errors, np.stack(ranks, axis=1), tarp))
    errors = {name: np.concatenate([block[0][name] for block in blocks]) for name in blocks[0][0]}
    ranks, tarp = (np.concatenate([block[k] for block in blocks]) for k in (1, 2))
    size = np.array([used.sum() for used in windows])
    shares = np.einsum("gwr,w->gr", ranks, size / size.sum())
    if method.spread:
        errors |= {f"coverage_{100 * level:.0f}": coverage(shares, level) for level in LEVELS}
    return PixelScores(errors, ranks, tarp, spread)


def coarse(wavelength_angstrom: np.ndarray, flux: np.ndarray) -> np.ndarray:
    """Means of flux (..., n) over bins of `COARSE_ANGSTROM`: (..., bins) float64."""
    place = ((wavelength_angstrom - wavelength_angstrom[0]) // COARSE_ANGSTROM).astype(int)
    starts = np.flatnonzero(np.diff(place, prepend=-1))
    return np.add.reduceat(flux, starts, axis=-1, dtype=np.float64) / np.bincount(place)
