"""What a linear map reads off the embeddings: the usual test of a representation.

Ridge regression from the vectors of the training split to a column of the catalogue; the penalty is
chosen on the validation split, the scores are of the test split.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from astropy.stats import mad_std
from astropy.table import vstack

from datasets.errors import UserError
from datasets.survey import SPLITS, Survey
from utils.generation.embeddings import KINDS, Embedder, is_survey

PENALTIES = 10.0 ** np.arange(-6, 3)
LEAST = 20  # galaxies with a value in each split
IDENTIFYING = ("identifier", "ra", "dec", "split")


def probe_survey(files: Sequence[str], embedder: Embedder) -> str:
    """A table: R² with its standard error, and the scatter, of every column, by kind of vector.

    Raises:
        UserError: `files` is not one survey with three splits.
    """
    if len(files) != 1 or not is_survey(files[0]):
        raise UserError("--probe: name one survey file, which has a catalogue and splits")
    survey = Survey(files[0])
    lines = [f"{'column':<24} {'R² image':>16} {'σ image':>10} {'R² spectrum':>16} {'σ':>10}"]
    vectors = {
        (kind, split): vstack(embedder.survey(files[0], split, [kind]))["embedding"].data
        for kind in KINDS
        for split in SPLITS
    }
    for name, values in survey.catalogue.items():
        if name in IDENTIFYING or np.asarray(values).dtype.kind != "f":
            continue
        targets = {split: np.asarray(values)[survey.indices(split)] for split in SPLITS}
        if min(np.isfinite(target).sum() for target in targets.values()) < LEAST:
            continue
        cells = []
        for kind in KINDS:
            own = {split: vectors[kind, split] for split in SPLITS}
            score, error, scatter = probe(own, targets)
            cells.append(f"{score:>8.3f} ± {error:.3f} {scatter:>10.3g}")
        lines.append(f"{name:<24} {'  '.join(cells)}")
    return "\n".join(lines)


def probe(
    vectors: dict[str, np.ndarray], targets: dict[str, np.ndarray]
) -> tuple[float, float, float]:
    """How well a linear map predicts.

    Args:
        vectors: (N, D) of the splits train, validation, test.
        targets: (N,) likewise; NaN is left out.

    Returns:
        R² on the test split, its standard error by bootstrap over galaxies, and the robust scatter
        of the residuals.
    """
    known = {split: np.isfinite(target) for split, target in targets.items()}
    x = {split: vectors[split][known[split]].astype(float) for split in vectors}
    y = {split: targets[split][known[split]] for split in vectors}
    centre, mean = x["train"].mean(axis=0), y["train"].mean()
    covariance = (x["train"] - centre).T @ (x["train"] - centre) / len(x["train"])
    product = (x["train"] - centre).T @ (y["train"] - mean) / len(x["train"])
    maps = [np.linalg.solve(covariance + p * np.eye(len(centre)), product) for p in PENALTIES]
    errors = [np.mean((y["validation"] - mean - (x["validation"] - centre) @ m) ** 2) for m in maps]
    best = maps[int(np.argmin(errors))]
    residual = y["test"] - mean - (x["test"] - centre) @ best
    generator = np.random.default_rng(1)
    draws = generator.integers(0, len(residual), (200, len(residual)))
    scores = 1 - (residual[draws] ** 2).mean(axis=1) / y["test"][draws].var(axis=1)
    score = 1 - float((residual**2).mean() / y["test"].var())
    return score, float(scores.std()), float(mad_std(residual))
