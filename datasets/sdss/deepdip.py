"""The public DeepDIP cube of SDSS images (Pasquet et al. 2019, A&A 621, A26).

``sdss.npz`` holds ``cube`` (N, 64, 64, 5) float32, u g r i z at 0.396 arcsec/px, 54 GB for its
659,857 galaxies, and ``labels``, a record array with the column ``specObjID``. The cube is never
loaded: a plain zip member is memory-mapped, a compressed one streamed from front to back.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from datasets.errors import UserError
from datasets.tables import exact_identifiers

BANDS = ("u", "g", "r", "i", "z")
PIXEL_SCALE_ARCSEC = 0.396
IDENTIFIER_COLUMN = "specObjID"
_LOCAL_HEADER_BYTES = 30  # of a zip member, before its name and extra field


class CubeError(UserError):
    """A file that is not a DeepDIP cube; the message names it and the remedy."""


def read_labels(path: str | Path) -> np.ndarray:
    """The record array ``labels`` (N,). Raises CubeError when the file has none."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return archive["labels"]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise CubeError(f"{path} is no npz file with cube and labels: {error}") from error


def read_identifiers(path: str | Path) -> np.ndarray:
    """(N,) uint64 specObjID of the cube's rows."""
    labels = read_labels(path)
    if IDENTIFIER_COLUMN not in (labels.dtype.names or ()):
        raise CubeError(f"{path}: labels have no column {IDENTIFIER_COLUMN}")
    return exact_identifiers(labels[IDENTIFIER_COLUMN])


def iterate_images(
    path: str | Path, rows: np.ndarray, batch_size: int = 128
) -> Iterator[np.ndarray]:
    """Images of the given rows, (n, 5, 64, 64) float32 with n at most ``batch_size``.

    ``rows`` must increase strictly: the file is read once, front to back. Raises CubeError when
    the file has no cube of five bands, or ends early.
    """
    rows = np.asarray(rows, dtype=np.int64)
    if np.any(np.diff(rows) <= 0):
        raise ValueError("rows of the cube must increase strictly")
    try:
        with zipfile.ZipFile(path) as archive, archive.open("cube.npy") as member:
            shape, dtype = _array_header(member)
            if len(shape) != 4 or shape[-1] != len(BANDS):
                raise CubeError(f"{path}: cube {shape} is not (N, height, width, {len(BANDS)})")
            if archive.getinfo("cube.npy").compress_type == zipfile.ZIP_STORED:
                offset = _member_offset(path, archive.getinfo("cube.npy")) + member.tell()
                blocks = (  # mapped anew for each block: pages read before do not stay resident
                    np.memmap(path, dtype, "r", offset, shape)[part]
                    for part in _parts(rows, batch_size)
                )
            else:
                blocks = _stream(member, shape[1:], dtype, rows, batch_size)
            for block in blocks:
                yield np.ascontiguousarray(np.moveaxis(block, -1, 1), dtype=np.float32)
    except (OSError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise CubeError(f"{path}: the cube cannot be read: {error}") from error


def _parts(rows: np.ndarray, size: int) -> Iterator[np.ndarray]:
    return (rows[start : start + size] for start in range(0, len(rows), size))


def _array_header(member: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    readers = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}
    major, _ = np.lib.format.read_magic(member)
    shape, fortran_order, dtype = readers[major](member)
    if fortran_order or dtype.hasobject:
        raise OSError(f"{dtype} in {'Fortran' if fortran_order else 'C'} order is not supported")
    return shape, dtype


def _member_offset(path: str | Path, info: zipfile.ZipInfo) -> int:
    """Where a member's bytes begin: its local header may be longer than the central one says."""
    with open(path, "rb") as file:
        file.seek(info.header_offset)
        header = file.read(_LOCAL_HEADER_BYTES)
    name_length, extra_length = struct.unpack("<HH", header[26:30])
    return info.header_offset + _LOCAL_HEADER_BYTES + name_length + extra_length


def _stream(
    member: IO[bytes], shape: tuple[int, ...], dtype: np.dtype, rows: np.ndarray, size: int
) -> Iterator[np.ndarray]:
    """The rows of a compressed cube, reading past those in between."""
    row_bytes = int(np.prod(shape)) * dtype.itemsize
    position = 0
    for part in _parts(rows, size):
        block = np.empty((len(part), *shape), dtype)
        for target, row in enumerate(part):
            for _ in range(row - position):
                member.read(row_bytes)
            data = member.read(row_bytes)
            if len(data) < row_bytes:
                raise EOFError(f"it ends before row {row}")
            block[target] = np.frombuffer(data, dtype).reshape(shape)
            position = row + 1
        yield block
