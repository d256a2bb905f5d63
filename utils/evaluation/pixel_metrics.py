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
from utils.evaluation.method import CLIMATOLOGY, Method
from utils.evaluation.metrics import coarse, pixel_noise, score
from utils.evaluation.question import Question

BLOCK = 32  # galaxies
REFERENCES = 8  # TARP's reference points per galaxy
NOISE_LAG_ANGSTROM = 4.0  # beyond which the noise of two pixels is independent


@dataclass(frozen=True)
class PixelScores:
    """Scores of the spectra of one method.

    Args:
        errors: (N,) each, as `metrics.score` names them; where candidates differ also
            `coverage_50`, … of the pixels, and `noise_ratio`, the noise of the candidates over that
            of the truth.
        ranks: by window, (N, P + 1) PIT histograms of each galaxy's pixels.
        tarp: (N, R, 2) PIT intervals.
        spread: spread–error relation.
    """

    errors: dict[str, np.ndarray]
    ranks: dict[str, np.ndarray]
    tarp: np.ndarray
    spread: SpreadSkill

    def calibration(self) -> dict:
        """Histograms and curves over all galaxies, for JSON."""
        pit = {window: ranks.mean(axis=0).tolist() for window, ranks in self.ranks.items()}
        curve = expected_coverage(self.tarp, len(next(iter(pit.values()))))
        return {
            "pit": pit,
            "tarp": curve.tolist(),
            "tarp_distance": tarp_distance(curve),
            "spread_error": self.spread.curve() | {"ratio": self.spread.ratio()},
        }


def score_method(method: Method, question: Question, seed: int) -> PixelScores:
    """Score the candidates of one method.

    Args:
        method: the candidates of N galaxies.
        question: the truth, and how candidates compare with it. CRPS and energy scores of the
            climatology are those of the question's reference spectra.
        seed: of TARP's reference points, which are sampled from the climatology.
    """
    wavelength, windows = question.wavelength_angstrom, question.windows()
    lag = max(1, round(NOISE_LAG_ANGSTROM / float(np.median(np.diff(wavelength)))))
    generator = np.random.default_rng(seed)
    spread, blocks = SpreadSkill(), []
    starts = range(0, question.count, BLOCK)
    for start in tqdm(starts, desc=f"scoring {method.name}", disable=None, leave=False):
        part = slice(start, min(start + BLOCK, question.count))
        candidates, truth = question.candidates(method, part), question.truth(part)
        spread.add(candidates, truth)
        ranks = {
            name: rank_shares(candidates[..., used], truth[:, used])
            for name, used in windows.items()
        }
        pool = question.climatology.coarse
        points = pool[generator.integers(len(pool), size=(len(truth), REFERENCES))]
        tarp = tarp_intervals(*(coarse(wavelength, x) for x in (candidates, truth)), points)
        errors = score(wavelength, candidates, truth, method.ranked)
        if method.name == CLIMATOLOGY:
            errors |= question.climatology.scores(truth)
        if method.spread:
            errors["noise_ratio"] = _noise_ratio(candidates, truth, lag)
        blocks.append((errors, ranks, tarp))
    errors, ranks = (_joined([block[k] for block in blocks]) for k in (0, 1))
    if method.spread:
        widths = [mask.sum() for mask in windows.values()]
        shares = np.average(list(ranks.values()), axis=0, weights=widths)
        errors |= {f"coverage_{100 * level:.0f}": coverage(shares, level) for level in LEVELS}
    return PixelScores(errors, ranks, np.concatenate([block[2] for block in blocks]), spread)


def _noise_ratio(candidates: np.ndarray, truth: np.ndarray, lag: int) -> np.ndarray:
    """Median noise of the candidates over that of the truth (b,), infinite for a clean truth."""
    noise, true_noise = np.median(pixel_noise(candidates, lag), axis=1), pixel_noise(truth, lag)
    infinite = np.full_like(noise, np.inf)
    return np.divide(noise, true_noise, out=infinite, where=true_noise > 0)


def _joined(blocks: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
