"""Candidates of the galaxies that are evaluated, generated once and kept in `candidates.h5`.

/flux (N, P, n) float32      linear, divided by the normalisation; most similar to the image first
/scores (N, P)               contrastive similarity to the image
/numbers (N, P)              of the candidates, by which they were sampled
/redshift, /snr (N, P)       of each candidate, NaN for a network without a prior
/rows (N,)                   of the survey file
/redshift_pdf (N, bins), /redshift_edges (bins + 1,)   p(z | image), where the generator gives one
attribute `identity` (JSON)  everything that the candidates depend on
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import torch
from tqdm import tqdm

from datasets.errors import UserError
from datasets.survey import Survey
from models.samplers import StationaryNoise
from utils.core.config import SamplingConfig
from utils.evaluation.ablations import ABLATIONS
from utils.evaluation.cache_identity import NETWORK_CODE, array_digest, differences, label
from utils.generation.candidates import Candidates
from utils.generation.conditions import CONDITIONS, catalogue_conditions, given_conditions
from utils.generation.pipeline import Pipeline, Substitute, make_sampler

SCALARS = ("scores", *CONDITIONS)  # one number per candidate
BATCH = 16  # galaxies between two states from which an interrupted run can continue
CODE = (
    *NETWORK_CODE,
    "utils/generation/conditions.py",
    "utils/generation/pipeline.py",
)  # that decides what is generated


def generate_all(
    path: Path,
    pipeline: Pipeline,
    survey: Survey,
    rows: np.ndarray,
    sampling: SamplingConfig,
    identity: dict,
    ablation: str | None = None,
) -> h5py.File:
    """The file of candidates, complete and open for reading.

    Args:
        path: of the file; it grows batch by batch, so that an interrupted run can continue.
        pipeline: the trained networks.
        survey: the survey file.
        rows: (N,) of the survey, the galaxies to evaluate.
        sampling: how to sample.
        identity: what the candidates depend on; `identity["seed"]` seeds the noise.
        ablation: of `ABLATIONS`, if a part is exchanged.

    Raises:
        UserError: the file belongs to another evaluation.
    """
    with h5py.File(path, "a") as file:
        if "flux" not in file:
            _create(file, (len(rows), sampling.candidates, len(pipeline.wavelength_angstrom)))
            file["rows"] = rows
            label(file, identity)
        elif changed := differences(file, identity) or _other_rows(file, rows):
            raise UserError(
                f"{path} belongs to another evaluation (another {', '.join(changed)}): name "
                "another --output, or delete the file to generate the candidates again"
            )
        sampler = StationaryNoise() if ablation == "no-unet" else make_sampler(sampling)
        catalogue = catalogue_conditions(survey)
        starts = range(int(file.attrs["done"]), len(rows), BATCH)
        for start in tqdm(starts, desc="generating candidates", unit="batch", disable=None):
            part = rows[start : start + BATCH]
            values = dict(zip(CONDITIONS, catalogue[part].T.numpy(), strict=True))
            candidates = pipeline.generate(
                torch.from_numpy(survey.read("images", part)),
                [str(identifier) for identifier in survey.catalogue["identifier"][part]],
                count=sampling.candidates,
                seed=identity["seed"],
                sampler=sampler,
                given=given_conditions(identity["given"], values),
                substitute=_substitute(ablation, survey, rows, start, len(part)),
            )
            for name in ("flux", "numbers", *SCALARS):
                file[name][start : start + len(part)] = getattr(candidates, name)
            _write_pdf(file, candidates, slice(start, start + len(part)))
            file.attrs["done"] = start + len(part)
            file.flush()
    return h5py.File(path, "r")


def _other_rows(file: h5py.File, rows: np.ndarray) -> list[str]:
    return [] if np.array_equal(file["rows"], rows) else ["galaxies"]


def _create(file: h5py.File, shape: tuple[int, int, int]) -> None:
    """Empty data sets for N galaxies of P candidates of n pixels."""
    file.create_dataset("flux", shape, "f4", chunks=(1, *shape[1:]))
    file.create_dataset("numbers", shape[:2], "i4")
    for name in SCALARS:
        file.create_dataset(name, shape[:2], "f4")
    file.attrs["done"] = 0


def _substitute(
    ablation: str | None, survey: Survey, rows: np.ndarray, start: int, count: int
) -> Substitute | None:
    """The features of the next galaxies of the list (cyclic), where an ablation takes them."""
    if ablation is None or not ABLATIONS[ablation][1]:
        return None
    others = np.roll(rows, -1)[start : start + count]
    images = torch.from_numpy(survey.read("images", others))
    return Substitute(images, ABLATIONS[ablation][1])


def _write_pdf(file: h5py.File, candidates: Candidates, part: slice) -> None:
    if candidates.redshift_pdf is None:
        return
    if "redshift_pdf" not in file:
        shape = (len(file["flux"]), candidates.redshift_pdf.shape[1])
        file.create_dataset("redshift_pdf", shape, "f4")
        file["redshift_edges"] = candidates.redshift_edges
    file["redshift_pdf"][part] = candidates.redshift_pdf


def version_of(file: h5py.File) -> str:
    """Identifies the candidates of a file: their scores depend on every one of them."""
    return array_digest(file["scores"][:], file["rows"][:])
