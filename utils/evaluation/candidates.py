"""Candidates of the galaxies that are judged, drawn once and kept in `candidates.h5`.

/flux (N, P, n) float32      linear normalised, in the order of drawing
/scores (N, P)               contrastive similarity to the image
/redshift, /snr (N, P)       that each was drawn for, NaN where it was left free
/rows (N,)                   of the survey file
attribute `identity` (JSON)  what all this depends on
"""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import torch
from tqdm import tqdm

from datasets.errors import UserError
from datasets.survey import Survey
from utils.core.config import SamplingConfig
from utils.generation.conditions import CONDITIONS, catalogue_conditions, given_conditions
from utils.generation.pipeline import Pipeline, make_sampler

BATCH = 16  # galaxies between two states that an interrupted run can go on from


def draw(
    path: Path,
    pipeline: Pipeline,
    survey: Survey,
    rows: np.ndarray,
    sampling: SamplingConfig,
    identity: dict,
) -> h5py.File:
    """The file of candidates, open for reading, with those drawn that it lacked.

    Args:
        path: of the file; it grows batch by batch, so that an interrupted run goes on.
        pipeline: the trained networks.
        survey: the survey file.
        rows: (N,) of the survey, the galaxies to judge.
        sampling: how to draw.
        identity: what the candidates depend on; `identity["seed"]` seeds the noise.

    Raises:
        UserError: the file belongs to another evaluation.
    """
    shape = (len(rows), sampling.candidates, len(pipeline.wavelength_angstrom))
    with h5py.File(path, "a") as file:
        if file.attrs.get("identity", json.dumps(identity)) != json.dumps(identity):
            raise UserError(f"{path} belongs to another evaluation: name another --output")
        if "flux" not in file:
            file.create_dataset("flux", shape, "f4", chunks=(1, *shape[1:]))
            file.create_dataset("scores", shape[:2], "f4")
            for name in CONDITIONS:
                file.create_dataset(name, shape[:2], "f4")
            file.create_dataset("rows", data=rows)
            file.attrs.update(identity=json.dumps(identity), done=0)
        sampler, catalogue = make_sampler(sampling), catalogue_conditions(survey)
        starts = range(int(file.attrs["done"]), len(rows), BATCH)
        for start in tqdm(starts, desc="drawing candidates", unit="batch", disable=None):
            part = rows[start : start + BATCH]
            values = dict(zip(CONDITIONS, catalogue[part].T.numpy(), strict=True))
            drawn = pipeline.generate(
                torch.from_numpy(survey.read("images", part)),
                [str(identifier) for identifier in survey.catalogue["identifier"][part]],
                count=sampling.candidates,
                seed=identity["seed"],
                sampler=sampler,
                given=given_conditions(identity["given"], values),
            )
            file["flux"][start : start + len(part)] = drawn.flux
            file["scores"][start : start + len(part)] = drawn.scores
            for name in CONDITIONS:
                file[name][start : start + len(part)] = getattr(drawn, name)
            file.attrs["done"] = start + len(part)
            file.flush()
    return h5py.File(path, "r")
