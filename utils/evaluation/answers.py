"""One question answered: scores and measured quantities of all methods, and their metrics."""

from __future__ import annotations

from dataclasses import dataclass

import h5py
import numpy as np

from utils.evaluation.aggregate import (
    flux_metrics,
    measured_metrics,
    paired_differences,
)
from utils.evaluation.bootstrap import mean_difference, with_interval
from utils.evaluation.calibration import pit_histogram, pit_intervals
from utils.evaluation.derived_quantities import Columns
from utils.evaluation.method import GENERATED, Method
from utils.evaluation.pixel_metrics import score_method
from utils.evaluation.question import Question
from utils.evaluation.redshift_scores import (
    histogram_scores,
    redshift_metrics,
    redshift_scores,
)

REPORTED = "generated: reported PDF"  # p(z | image), beside the samples, in PIT histograms


@dataclass(frozen=True)
class Answer:
    """The metrics of a question, and what they are made of, galaxy by galaxy.

    Args:
        metrics: for `evaluation.json`.
        errors: scores (N,) by method.
        measured: quantities (N, P) by method; empty without measurements.
    """

    metrics: dict
    errors: dict[str, Columns]
    measured: dict[str, Columns]


def answer(
    question: Question,
    methods: list[Method],
    truth: Columns | None,
    measured: dict[str, Columns],
    log_mass: np.ndarray,
    seed: int,
) -> Answer:
    """Score all methods.

    Args:
        question: what is compared.
        methods: the generator among them.
        truth: quantities (N,) measured on the true spectra; None without measurements.
        measured: those of the candidates (N, P) by method, with a truth.
        log_mass: (N,) log M★/M☉, NaN where unknown.
        seed: of TARP's reference points.
    """
    scores = {method.name: score_method(method, question, seed) for method in methods}
    errors = {name: score.errors for name, score in scores.items()}
    metrics = {
        "methods": flux_metrics(errors),
        "differences": paired_differences(errors),
        "calibration": {name: score.calibration() for name, score in scores.items()},
    }
    if truth is None:
        return Answer(metrics, errors, {})
    new = measured_metrics(truth, measured, log_mass, seed)
    for name, tarp in new.pop("tarp").items():
        metrics["calibration"][name] |= tarp
    return Answer(metrics | new, errors, measured)


def answer_redshift(
    methods: list[Method], truth: np.ndarray, reported: h5py.File
) -> tuple[dict, dict[str, Columns]]:
    """The redshift alone.

    Args:
        methods: those without redshifts are left out.
        truth: (N,) catalogue redshifts; nothing is scored unless all are known.
        reported: the file of the generator's candidates, with p(z | image) where it gives one.

    Returns:
        Metrics for `evaluation.json`, and scores (N,) by method.
    """
    samples = {m.name: m.redshift for m in methods if m.redshift is not None}
    if not np.isfinite(truth).all() or GENERATED not in samples:
        return {}, {}
    scores = {
        name: redshift_scores(values, truth)
        for name, values in samples.items()
        if np.isfinite(values).all()
    }
    if "redshift_pdf" in reported:
        pdf = reported["redshift_pdf"][:], reported["redshift_edges"][:]
        scores[GENERATED] |= histogram_scores(*pdf, truth)
    bins = samples[GENERATED].shape[1] + 1
    pit = {
        name: pit_histogram(pit_intervals(samples[name], truth), bins).tolist() for name in scores
    }
    if "redshift_pdf" in reported:
        counts, _ = np.histogram(scores[GENERATED]["pit_pdf"], bins, (0, 1))
        pit[REPORTED] = (counts / len(truth)).tolist()
    own = scores[GENERATED]["crps"]
    metrics = {
        "methods": {name: redshift_metrics(columns) for name, columns in scores.items()},
        "galaxies": len(truth),
        "pit": pit,
        "differences": {
            name: {"crps": with_interval(mean_difference, own, columns["crps"])}
            for name, columns in scores.items()
            if name != GENERATED
        },
    }
    return metrics, scores
