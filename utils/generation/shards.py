"""Generated spectra of many galaxies in one HDF5 file: a shard of a run, or all of them merged.

Every dataset has a row per galaxy, except the first two; N galaxies, K candidates kept, n pixels:

    wavelength_angstrom  (n,) vacuum, observed frame
    redshift_edges       (bins + 1,) of `redshift_pdf`, where the network gives one
    candidates           (N, K, n) float32, normalised, best first
    mean, sigma          (N, n) float32, normalised, of all candidates that were sampled
    candidate_number, candidate_score, candidate_redshift, candidate_snr     (N, K)
    name, source, ra, dec, identifier, redshift, scale, image_p_value, image_flag, image_colours,
    redshift_pdf, assumptions    the fields of `GeneratedSpectrum`; NaN and 0 where unknown
    catalogue/           the columns of `utils.generation.catalogue_output`
    rejected/            file and reason of the cutouts of this block that could not be used

The flux in 1e-17 erg/s/cm²/Å is `scale` times the normalised one. The attribute `provenance` has,
as JSON, how the spectra were made. Every dataset has checksums, which reading verifies.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from tqdm import tqdm

from datasets.atomic_files import atomic_path
from datasets.cutouts.reader import Rejected
from datasets.errors import UserError
from datasets.hdf5_output import new_hdf5
from utils.generation.generated_spectrum import GeneratedSpectrum, Provenance

SCHEMA = "generated spectra 1"
SHARED = ("wavelength_angstrom", "redshift_edges")
ARRAYS = {  # dataset: field of GeneratedSpectrum
    "candidates": "candidates",
    "mean": "mean",
    "sigma": "sigma",
    "candidate_number": "numbers",
    "candidate_score": "scores",
    "candidate_redshift": "redshifts",
    "candidate_snr": "snrs",
}
SCALARS = ("ra", "dec", "redshift", "image_p_value")
ROWS = 64  # read at once


def write_shard(
    path: Path,
    spectra: Sequence[GeneratedSpectrum],
    catalogue: Mapping[str, np.ndarray],
    rejects: Sequence[Rejected],
) -> None:
    """Write one file, atomically.

    Args:
        path: Of the file.
        spectra: Of one network; may be none.
        catalogue: Columns with a row per spectrum.
        rejects: What could not be used.
    """
    with atomic_path(path) as temporary, new_hdf5(temporary, track_order=True) as file:
        file.attrs["schema"] = SCHEMA
        for name, values in _arrays(spectra).items():
            _write(file, name, values)
        if spectra:
            file.attrs["provenance"] = json.dumps(asdict(spectra[0].provenance))
        file.create_group("catalogue", track_order=True)
        for name, values in catalogue.items():
            _write(file, f"catalogue/{name}", values)
        _write(file, "rejected/file", [reject.path for reject in rejects])
        _write(file, "rejected/reason", [reject.reason for reject in rejects])


def _arrays(spectra: Sequence[GeneratedSpectrum]) -> dict[str, Any]:
    arrays: dict[str, Any] = {"name": [spectrum.name for spectrum in spectra]}
    if not spectra:
        return arrays
    first = spectra[0]
    arrays["wavelength_angstrom"] = first.wavelength_angstrom
    for name, attribute in ARRAYS.items():
        if getattr(first, attribute) is not None:
            arrays[name] = np.stack([getattr(spectrum, attribute) for spectrum in spectra])
    if first.redshift_pdf is not None:
        arrays["redshift_edges"] = first.redshift_pdf[0]
        arrays["redshift_pdf"] = np.stack([spectrum.redshift_pdf[1] for spectrum in spectra])
    for name in SCALARS:
        arrays[name] = np.array([getattr(spectrum, name) for spectrum in spectra], float)
    arrays["scale"] = [math.nan if s.scale is None else s.scale for s in spectra]
    arrays["identifier"] = np.array([spectrum.identifier for spectrum in spectra], np.uint64)
    arrays["image_flag"] = np.array([spectrum.image_flag for spectrum in spectra], bool)
    arrays["image_colours"] = np.array([spectrum.image_colours for spectrum in spectra], float)
    arrays["source"] = [spectrum.source for spectrum in spectra]
    arrays["assumptions"] = [json.dumps(spectrum.assumptions) for spectrum in spectra]
    return arrays


def _write(file: h5py.File, name: str, values: Any) -> None:
    values = np.asarray(values)
    if values.dtype.kind in "UO":
        encoded = [text.encode() for text in values.tolist()]
        values = np.array(encoded, f"S{max(map(len, encoded), default=0) or 1}")
    file.create_dataset(name, data=values, **_storage(values.shape))


def _storage(shape: tuple[int, ...]) -> dict[str, Any]:
    """Checksums, of single rows of a large dataset or of many of a small one."""
    if shape[0] == 0:
        return {}
    return {
        "chunks": (min(shape[0], 1024) if len(shape) == 1 else 1, *shape[1:]),
        "fletcher32": True,
    }


def shard_path(folder: Path, block: int) -> Path:
    """The file of a block of a run."""
    return folder / "shards" / f"shard_{block:06d}.h5"


def shard_files(path: str | Path) -> list[Path]:
    """The files of a run's folder, in the order of the cutouts; or the file itself.

    Raises:
        UserError: there is none.
    """
    path = Path(path)
    if not path.is_dir():
        return [path]
    files = sorted((path / "shards").glob("shard_*.h5")) or sorted(path.glob("shard_*.h5"))
    if not files:
        raise UserError(f"{path}: no shards; they are written by generate.py --shards")
    return files


def read_shards(path: str | Path) -> Iterator[GeneratedSpectrum]:
    """The spectra of a run with `--shards`, in the order of its cutouts, or of one file.

    Args:
        path: The folder of the run, one shard, or a file of `python -m utils.shards merge`.

    Raises:
        UserError: there is no such file, or it is damaged.
    """
    for file in shard_files(path):
        with open_shard(file) as shard:
            for first in range(0, len(shard["name"]), ROWS):
                yield from _spectra(shard, slice(first, first + ROWS))


@contextmanager
def open_shard(path: Path) -> Iterator[h5py.File]:
    """A shard, open for reading; no more than reading it belongs into the block.

    Raises:
        UserError: it is damaged, also if that shows only within the block, or another file.
    """
    try:
        with h5py.File(path, "r") as file:
            if not is_shard(file):
                raise UserError(f"{path}: not generated spectra, or of another version")
            yield file
    except (OSError, KeyError, ValueError) as error:  # of h5py
        reason = " ".join(str(error).split())
        raise UserError(
            f"{path}: damaged ({reason}): delete it, and generate.py --resume makes it again"
        ) from error


def is_shard(file: h5py.File) -> bool:
    """Whether an HDF5 file holds generated spectra."""
    return file.attrs.get("schema") == SCHEMA


def _spectra(shard: h5py.File, rows: slice) -> Iterator[GeneratedSpectrum]:
    shared = {name: shard[name][()] for name in SHARED if name in shard}
    values = {
        name: item[rows]
        for name, item in shard.items()
        if isinstance(item, h5py.Dataset) and name not in SHARED
    }
    provenance = json.loads(shard.attrs["provenance"])
    provenance = Provenance(**provenance | {"checkpoints": tuple(provenance["checkpoints"])})
    for row in range(len(values["name"])):
        own = {name: array[row] for name, array in values.items()}
        pdf = own.get("redshift_pdf")
        yield GeneratedSpectrum(
            name=own["name"].decode(),
            wavelength_angstrom=shared["wavelength_angstrom"],
            provenance=provenance,
            **{field: own.get(name) for name, field in ARRAYS.items()},
            **{name: float(own[name]) for name in SCALARS},
            scale=None if math.isnan(own["scale"]) else float(own["scale"]),
            identifier=int(own["identifier"]),
            image_flag=bool(own["image_flag"]),
            image_colours=tuple(own["image_colours"].tolist()),
            source=own["source"].decode(),
            assumptions=tuple(json.loads(own["assumptions"])),
            redshift_pdf=None if pdf is None else (shared["redshift_edges"], pdf),
        )


def count_spectra(path: str | Path) -> int:
    """The number of spectra of a run so far, or of one file."""
    total = 0
    for file in shard_files(path):
        with open_shard(file) as shard:
            total += len(shard["name"])
    return total


def read_catalogue(path: str | Path) -> dict[str, np.ndarray]:
    """The catalogue's columns of all galaxies of a run, or of one file."""
    blocks: dict[str, list[np.ndarray]] = defaultdict(list)
    for file in shard_files(path):
        with open_shard(file) as shard:
            for name, column in shard.get("catalogue", {}).items():
                blocks[name].append(column[()])
    columns = {name: np.concatenate(parts) for name, parts in blocks.items()}
    return {n: np.char.decode(c) if c.dtype.kind == "S" else c for n, c in columns.items()}


def read_rejects(path: str | Path) -> list[Rejected]:
    """The cutouts of a run, or of one file, that could not be used."""
    rejects = []
    for file in shard_files(path):
        with open_shard(file) as shard:
            columns = (shard["rejected"][name][()] for name in ("file", "reason"))
            rejects += [Rejected(f.decode(), r.decode()) for f, r in zip(*columns, strict=True)]
    return rejects


def merge_shards(folder: str | Path, target: str | Path) -> int:
    """Write all shards of a run into one file of the same layout; returns the number of galaxies.

    Raises:
        UserError: a shard is damaged, or of another network than the others.
    """
    files = shard_files(folder)
    rows, kinds, shared = _sizes(files)
    with atomic_path(target) as temporary, new_hdf5(temporary, track_order=True) as merged:
        merged.attrs["schema"] = SCHEMA
        merged.create_group("catalogue", track_order=True)
        for name in ("name", "rejected/file", "rejected/reason"):
            if not rows[name]:
                _write(merged, name, [])
        for name, (shape, dtype) in kinds.items():
            size = (rows[name], *shape)
            merged.create_dataset(name, size, dtype, **_storage(size))
        for name, values in shared.items():
            _write(merged, name, values)
        filled = dict.fromkeys(rows, 0)
        for name, part, attributes in _parts(files):
            merged.attrs.update(attributes)
            merged[name][filled[name] : filled[name] + len(part)] = part
            filled[name] += len(part)
    return rows["name"]


def _parts(files: Sequence[Path]) -> Iterator[tuple[str, np.ndarray, dict[str, Any]]]:
    """Every dataset of every file in blocks of rows, and the attributes of the file."""
    for file in tqdm(files, desc="merging", unit="shard", disable=None):
        with open_shard(file) as shard:
            for name in _row_datasets(shard):
                for start in range(0, len(shard[name]), ROWS):
                    yield name, shard[name][start : start + ROWS], dict(shard.attrs)


def _row_datasets(shard: h5py.File) -> list[str]:
    """The names of the datasets with a row for each galaxy or reject."""
    names = [name for name, item in shard.items() if isinstance(item, h5py.Dataset)]
    for group in ("catalogue", "rejected"):
        names += [f"{group}/{name}" for name in shard[group]]
    return [name for name in names if name not in SHARED and len(shard[name])]


def _sizes(files: Sequence[Path]) -> tuple[dict[str, int], dict[str, tuple], dict[str, np.ndarray]]:
    """Rows, shape and type of every dataset of all files together, and what they share."""
    rows: dict[str, int] = defaultdict(int, name=0)
    kinds: dict[str, tuple] = {}
    shared: dict[str, np.ndarray] = {}
    for file in files:
        with open_shard(file) as shard:
            for name in SHARED:
                if name in shard:
                    values = shard[name][()]
                    if not np.array_equal(shared.setdefault(name, values), values):
                        raise UserError(f"{file}: another {name} than the shards before it")
            for name in _row_datasets(shard):
                shape, dtype = shard[name].shape[1:], shard[name].dtype
                before = kinds.setdefault(name, (shape, dtype))
                if before[0] != shape:
                    raise UserError(f"{file}: another shape of {name} than the shards before it")
                kinds[name] = shape, np.promote_types(before[1], dtype)
                rows[name] += len(shard[name])
    return rows, kinds, shared
