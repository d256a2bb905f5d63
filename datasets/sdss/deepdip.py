"""The public DeepDIP cube of SDSS images (Pasquet et al. 2019, A&A 621, A26).

`sdss.npz` holds `cube` (N, 64, 64, 5) float32, u g r i z at 0.396 arcsec/px, 54 GB for its
659,857 galaxies, and `labels`, a record array with the column `specObjID`. The cube is never held
in memory: an uncompressed zip member is memory-mapped, a compressed one streamed front to back.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from datasets.constants import SDSS_BANDS
from datasets.errors import UserError
from datasets.file_limits import check_bytes, npy_header
from datasets.identifiers import exact_identifiers

IDENTIFIER_COLUMN = "specObjID"
MAX_LABEL_BYTES = 1 << 32  # the public file has 0.3 GiB
LOCAL_HEADER_BYTES = 30  # of a zip member, before its name and extra field (APPNOTE 4.3.7)


def is_cube(path: str | Path) -> bool:
    """Whether a file is an archive with `cube` and `labels`, or is not readable at all."""
    if not str(path).endswith(".npz"):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return {"labels.npy", "cube.npy"} <= set(archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return True


def read_identifiers(path: str | Path) -> np.ndarray:
    """(N,) uint64 specObjID of the cube's rows.

    Raises:
        UserError: the file has no labels, or they have no exact identifiers.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            with archive.open("labels.npy") as member:
                shape, dtype = npy_header(member)
            check_bytes(shape, dtype.itemsize, MAX_LABEL_BYTES)
            with archive.open("labels.npy") as member:
                labels = np.lib.format.read_array(member, allow_pickle=False)
        return exact_identifiers(labels[IDENTIFIER_COLUMN])
    except (UserError, OSError, ValueError, KeyError, IndexError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path} is not an npz file with cube and labels[{IDENTIFIER_COLUMN!r}]: {error}"
        ) from error


def iterate_images(
    path: str | Path, rows: np.ndarray, batch_size: int = 128
) -> Iterator[np.ndarray]:
    """Images of the given rows, (n, 5, 64, 64) float32 with n at most `batch_size`.

    Args:
        path: The cube.
        rows: Strictly increasing: the file is read once, front to back.
        batch_size: Images held in memory.

    Raises:
        UserError: the file has no cube of five bands, or holds less than it declares.
    """
    rows = np.asarray(rows, dtype=np.int64)
    if np.any(np.diff(rows) <= 0):
        raise ValueError("rows of the cube must increase strictly")
    try:
        with zipfile.ZipFile(path) as archive, archive.open("cube.npy") as member:
            info = archive.getinfo("cube.npy")
            shape, dtype = npy_header(member)
            if len(shape) != 4 or shape[-1] != len(SDSS_BANDS):
                raise UserError(f"its shape {shape} is not (N, height, width, {len(SDSS_BANDS)})")
            check_bytes(shape[1:], dtype.itemsize)
            check_bytes(shape, dtype.itemsize, limit=info.file_size - member.tell())
            if info.compress_type == zipfile.ZIP_STORED:
                offset = _member_offset(path, info) + member.tell()
                blocks = (  # mapped anew for each block: pages read before do not stay resident
                    np.memmap(path, dtype, "r", offset, shape)[part]
                    for part in _parts(rows, batch_size)
                )
            else:
                blocks = _stream(member, shape[1:], dtype, rows, batch_size)
            for block in blocks:
                yield np.ascontiguousarray(np.moveaxis(block, -1, 1), dtype=np.float32)
    except (UserError, OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: the cube cannot be read: {error}") from error


def _parts(rows: np.ndarray, size: int) -> Iterator[np.ndarray]:
    return (rows[start : start + size] for start in range(0, len(rows), size))


def _member_offset(path: str | Path, info: zipfile.ZipInfo) -> int:
    """Where a member's bytes begin: its local header may be longer than the central one."""
    with open(path, "rb") as file:
        file.seek(info.header_offset)
        header = file.read(LOCAL_HEADER_BYTES)
    name_length, extra_length = struct.unpack("<HH", header[26:30])
    return info.header_offset + LOCAL_HEADER_BYTES + name_length + extra_length


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
