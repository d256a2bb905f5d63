"""A short name for the content of a survey file, to tell which survey a result belongs to.

A survey may hold tens of gigabytes, too many to read at every start. Its identity is a digest of
all that is small (settings, image statistics, catalogue, shapes and types of the data sets) and of
`SAMPLED_ROWS` rows of everything else, spread evenly over the file.
"""

from __future__ import annotations

import hashlib

import h5py
import numpy as np

from datasets.survey import Survey, read_rows

SAMPLED_ROWS = 64
WHOLE = ("catalogue", "statistics")  # groups that count completely


def survey_identity(survey: Survey) -> str:
    """The first 16 hexadecimal digits of a SHA-256 of the survey's content, as described above.

    The path and the time of the file do not count: a copy has the same identity. A change of image
    or spectrum in a row that is not sampled goes unnoticed if the catalogue stays the same.
    """
    digest = hashlib.sha256(survey.file.attrs["settings"].encode())

    def add(name: str, item: h5py.Dataset | h5py.Group) -> None:
        if isinstance(item, h5py.Dataset):
            digest.update(f"{name} {item.shape} {item.dtype}".encode())
            digest.update(_sample(name, item).tobytes())

    survey.file.visititems(add)
    return digest.hexdigest()[:16]


def _sample(name: str, dataset: h5py.Dataset) -> np.ndarray:
    """The rows that count; strings as bytes of fixed width."""
    if name.startswith(WHOLE) or len(dataset) <= SAMPLED_ROWS:
        values = dataset[:]
    else:
        values = read_rows(dataset, np.linspace(0, len(dataset) - 1, SAMPLED_ROWS).astype(int))
    return values.astype("S") if values.dtype.hasobject else values
