"""The page of an evaluation: every galaxy with its observed and its generated spectrum."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
from tqdm import tqdm

from datasets.spectra import candidate_sigma
from utils.evaluation.method import GENERATED
from utils.plotting.gallery import Column, Gallery, gallery_entry
from utils.spectroscopy.measurements import median_and_scatter

if TYPE_CHECKING:
    from utils.evaluation.answers import Answer
    from utils.evaluation.derived_quantities import Columns
    from utils.evaluation.setup import EvaluationSetup

MOST_GALAXIES = 2000  # on the page: of more, the first
COLUMNS = (
    Column("name", "galaxy", "identifier, or row of the survey"),
    Column("redshift", "z", "of the survey's catalogue"),
    Column("redshift_generated", "z gen.", "median of the candidates' redshifts"),
    Column("redshift_error", "Δz/(1+z)", "of that median"),
    Column("crps", "CRPS", "of the pixels, normalised; smaller is better"),
    Column("coverage_68", "coverage", "share of pixels within the central 68 % of the candidates"),
    Column("score", "score", "similarity of the best candidate to the image, −1 … 1"),
)


def write_evaluation_gallery(
    evaluation: EvaluationSetup,
    file: h5py.File,
    order: np.ndarray,
    observed: Answer,
    truth: Columns,
) -> Path:
    """Write `index.html` into the folder of an evaluation; returns its path.

    Args:
        evaluation: The evaluation.
        file: Its candidates.
        order: (N, P), best first.
        observed: Scores and quantities of the candidates.
        truth: Quantities of the observed spectra (N,), by name.
    """
    survey = evaluation.survey
    count = min(len(evaluation.rows), MOST_GALAXIES)
    note = f"{Path(survey.path).name}, {evaluation.options.split} split"
    if count < len(evaluation.rows):
        note += f"; the first {count} of {len(evaluation.rows)} galaxies"
    gallery = Gallery(
        evaluation.folder,
        "Evaluation: observed and generated spectra",
        note,
        survey.bands,
        evaluation.wavelength,
        COLUMNS,
        {},
        survey.pixel_scale_arcsec,
    )
    entries = _entries(evaluation, file, order, observed, truth, count)
    gallery.add(tqdm(entries, "gallery", count, disable=None))
    return gallery.close()


def _entries(
    evaluation: EvaluationSetup,
    file: h5py.File,
    order: np.ndarray,
    observed: Answer,
    truth: Columns,
    count: int,
) -> Iterator[dict[str, Any]]:
    identifiers = evaluation.survey.catalogue["identifier"][evaluation.rows]
    names = [str(value) for value in identifiers]
    unique = len(set(names)) == len(names)
    redshift, scatter = median_and_scatter(file["redshift"][:count])
    scores, own = observed.errors[GENERATED], observed.measured.get(GENERATED, {})
    measured = {n: median_and_scatter(own[n][:count]) for n in truth if n in own}
    for k in range(count):
        row = evaluation.rows[k : k + 1]
        flux, best_first = file["flux"][k], order[k]
        z = float(evaluation.redshift[k])
        values = {
            "redshift": z,
            "redshift_generated": redshift[k],
            "redshift_generated_err": scatter[k],
            "redshift_error": (redshift[k] - z) / (1 + z),
            "score": file["scores"][k][best_first[0]],
            **{name: values[k] for name, values in scores.items()},
        }
        for name, (median, error) in measured.items():
            values[f"{name} observed"] = truth[name][k]
            values[f"{name} generated"] = median[k]
            values[f"{name} generated_err"] = error[k]
        yield gallery_entry(
            names[k] if unique else f"row {row[0]}",
            evaluation.survey.read("images", row)[0],
            evaluation.survey.bands,
            flux[best_first[0]],
            candidate_sigma(flux),
            flux[best_first[1:]],
            truth=evaluation.true_spectra(slice(k, k + 1))[0],
            redshift=z,
            values=values,
        )
