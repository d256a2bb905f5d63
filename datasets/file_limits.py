"""Limits for files that others made: a size is checked as declared, before memory is spent.

A few bytes of HDF5, FITS or `.npy` can declare an array of any size; an allocation that fails only
once its pages are touched ends the whole process. Everything here raises `UserError`, by which the
reader of many files refuses one of them and goes on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import BinaryIO

import h5py
import numpy as np

from datasets.errors import UserError

MAX_ARRAY_BYTES = 1 << 29  # of one cutout, frame or table: 512 MiB, 5 bands of 5,180 px a side
MAX_COLUMN_BYTES = 1 << 28  # of a column beside the images in a file of many cutouts
MAX_EXPANSION = 100  # of larger columns: bytes declared over bytes stored; real data reach 10


def check_bytes(shape: Sequence[int], item_bytes: int, limit: int = MAX_ARRAY_BYTES) -> None:
    """Refuse an array of more than `limit` bytes."""
    size = math.prod(map(int, shape)) * item_bytes
    if size > limit:
        raise UserError(
            f"declares {size / 2**20:,.0f} MiB in one array; at most {limit >> 20} are read"
        )


def check_stored(dataset: h5py.Dataset) -> None:
    """Refuse a large data set that declares far more than its file stores."""
    stored = dataset.id.get_storage_size()
    if dataset.nbytes > max(MAX_COLUMN_BYTES, MAX_EXPANSION * stored):
        raise UserError(
            f"{dataset.name} declares {dataset.nbytes / 2**20:,.0f} MiB, of which the file stores "
            f"{stored:,} bytes: it is incomplete, write it again"
        )


def own_datasets(file: h5py.Group, group: str | None = None) -> dict[str, h5py.Dataset]:
    """The data sets that a file, or a group in it, itself stores, by name.

    Links into other files, external and virtual storage are not followed.
    """
    hard = [name for name in file if isinstance(file.get(name, getlink=True), h5py.HardLink)]
    items = {name: file[name] for name in hard}
    if group:
        return own_datasets(items[group]) if isinstance(items.get(group), h5py.Group) else {}
    return {
        name: item
        for name, item in items.items()
        if isinstance(item, h5py.Dataset) and not (item.external or item.is_virtual)
    }


def npy_header(file: BinaryIO) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type declared by an `.npy` file, which is read up to its first item.

    Raises:
        UserError: the items are not plain numbers in C order.
        ValueError: it is not an `.npy` file.
    """
    readers = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}
    major, _ = np.lib.format.read_magic(file)
    if major not in readers:
        raise UserError(f"npy format {major} is not supported: save numbers with numpy.save")
    shape, fortran_order, dtype = readers[major](file)
    if dtype.hasobject or (fortran_order and len(shape) > 1):
        raise UserError("arrays must be numbers in C order: save np.ascontiguousarray(array)")
    return shape, dtype
