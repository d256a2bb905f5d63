"""What a generator has to beat.

Each gives P candidates per galaxy, so that every figure exists for it too.

* constant: the training mean, P times;
* climatology: P random training spectra;
* neighbours in photometry: the spectra of the P training galaxies whose magnitude, colours and
  concentration, measured on the images, are nearest;
* neighbours in embedding: the same with the unit vectors of the image tower;
* cross-modal retrieval: the P training spectra whose unit vectors are most similar to the image's;
* regression: what a plain network predicts from the image (`utils.train_regression`), with the
residuals
  of P other galaxies added to it.

This module holds the arithmetic; `utils.evaluation.candidate_sources` applies it to a survey.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

SIMILARITY_VALUES = 20_000_000  # of the similarity matrix held at a time


def climatology(training_count: int, count: int, candidates: int, seed: int) -> np.ndarray:
    """Rows of random training spectra, without repetition within a galaxy: (count, candidates)."""
    generator = np.random.default_rng(seed)
    return np.stack(
        [generator.choice(training_count, candidates, replace=False) for _ in range(count)]
    )


def nearest(training: np.ndarray, test: np.ndarray, candidates: int) -> np.ndarray:
    """Rows of the nearest training galaxies, nearest first.

    Args:
        training: (M, d) features; each dimension is standardised on these.
        test: (N, d) features.

    Returns:
        (N, candidates) int64.
    """
    mean, sigma = training.mean(axis=0), training.std(axis=0) + 1e-12
    tree = cKDTree((training - mean) / sigma)
    return tree.query((test - mean) / sigma, k=candidates, workers=-1)[1].reshape(len(test), -1)


def most_similar(training: np.ndarray, test: np.ndarray, candidates: int) -> np.ndarray:
    """Rows of the training vectors with the largest scalar product, largest first.

    Args:
        training: (M, D) unit vectors.
        test: (N, D) unit vectors.

    Returns:
        (N, candidates) int64.
    """
    block = max(1, SIMILARITY_VALUES // len(training))
    found = []
    for start in range(0, len(test), block):
        similarity = test[start : start + block] @ training.T
        some = np.argpartition(-similarity, candidates - 1, axis=1)[:, :candidates]
        order = np.argsort(-np.take_along_axis(similarity, some, 1), axis=1, kind="stable")
        found.append(np.take_along_axis(some, order, 1))
    return np.concatenate(found)


def with_residuals(
    prediction: np.ndarray,
    residuals: np.ndarray,
    own: np.ndarray,
    candidates: int,
    seeds: np.ndarray,
) -> np.ndarray:
    """Candidates of a regression: its prediction plus residuals of other galaxies.

    The residuals of a galaxy are shifted to a mean of zero, so that the mean of its candidates is
    the prediction, and stretched by √(P / (P − 1)) to keep their variance.

    Args:
        prediction: (N, n).
        residuals: (M, n) truth − prediction of galaxies the network was not trained on.
        own: (N,) the galaxy's own row of `residuals`, which is not used; −1 if it has none.
        candidates: P >= 2.
        seeds: (N, …) integers >= 0: those of the choice for each galaxy.

    Returns:
        (N, P, n) in the prediction's type.
    """
    stretch = np.sqrt(candidates / (candidates - 1))
    result = np.empty((len(prediction), candidates, prediction.shape[1]), prediction.dtype)
    for row, (predicted, itself) in enumerate(zip(prediction, own, strict=True)):
        generator = np.random.default_rng(seeds[row])
        others = np.delete(np.arange(len(residuals)), itself if itself >= 0 else [])
        drawn = residuals[generator.choice(others, candidates, replace=len(others) < candidates)]
        result[row] = predicted + stretch * (drawn - drawn.mean(axis=0))
    return result
