"""`galaxies.h5`: what an evaluation found, galaxy by galaxy, for figures and comparisons.

/row, /identifier (N,)            of the survey file
/redshift, /log_mass (N,)         of the catalogue or a mock's truth; NaN where unknown
/magnitude (N,)                   total r magnitude of the image, where it is calibrated
/order (N, P)                     positions of the candidates in candidates.h5, best first
/errors/QUESTION/METHOD/SCORE     (N,) scores
/measured/QUESTION/METHOD/NAME    (N, P) quantities of the candidates, best first
/truth/NAME                       (N,) quantities of the true spectra
/colours/METHOD                   (N, P, 2) colours minus those of the image
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from datasets.atomic_files import atomic_path
from datasets.hdf5_output import new_hdf5
from utils.evaluation.answers import Answer
from utils.evaluation.derived_quantities import Columns
from utils.evaluation.question import REDSHIFT


def write_galaxies(
    path: Path,
    columns: dict[str, np.ndarray | None],
    answers: dict[str, Answer],
    redshift_scores: dict[str, Columns],
    offsets: dict[str, np.ndarray],
    truth: Columns | None,
) -> None:
    """Write the file, atomically.

    Args:
        path: of the file.
        columns: `row`, `identifier`, …; None is left out.
        answers: by question.
        redshift_scores: (N,) by method.
        offsets: colours minus those of the images, by method.
        truth: quantities of the true spectra, if they were measured.
    """
    groups: dict[str, Columns] = {"colours": offsets, "truth": truth or {}}
    groups |= {f"errors/{REDSHIFT}/{name}": v for name, v in redshift_scores.items()}
    for question, found in answers.items():
        groups |= {f"errors/{question}/{name}": v for name, v in found.errors.items()}
        groups |= {f"measured/{question}/{name}": v for name, v in found.measured.items()}
    with atomic_path(path) as temporary, new_hdf5(temporary) as file:
        for name, values in columns.items():
            if values is not None:
                file[name] = values
        for group, entries in groups.items():
            for name, values in entries.items():
                file[f"{group}/{name}"] = values
