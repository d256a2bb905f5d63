"""The contents of cutout files before any interpretation: arrays and pictures.

Every reader yields `RawCutout`, one at a time, from `.npy`, `.npz` and HDF5 with one cutout (two or
three axes) or many (four axes, the first counts them), JPEG and PNG; `datasets.cutouts.fits_files`
reads FITS. Declared sizes are checked before pixels are read, nothing is unpickled, and what a file
states about itself (bands, unit, pixel scale, position, identifier) is passed on.
"""

from __future__ import annotations

import json
import math
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np
from PIL import Image

from datasets.column_names import (
    DEC,
    IDENTIFIERS,
    MAGNITUDES,
    RA,
    REDSHIFTS,
)
from datasets.errors import UserError
from datasets.file_limits import (
    MAX_COLUMN_BYTES,
    check_bytes,
    check_stored,
    npy_header,
    own_datasets,
)
from datasets.identifiers import identifiers_of

MAX_SIDE_PIXELS = 10_000
MAX_BANDS = 64
PICTURE_BANDS = ("R", "G", "B")
PICTURE_UNIT = "intensity"  # 0 … 1, as a JPEG has it; not photometric
PLAUSIBLE_PIXELS_ARCSEC = (0.01, 10.0)  # of the pixels of optical surveys

NO_BAND = re.compile(  # words of the names of planes beside an image
    r"wgt|wht|weights?|weightmap|msk|masks?|maskbits|var|variance|err|errors?|sig|sigma|std|stddev"
    r"|uncert|uncertainty|rms|noise|ivar|invvar|invvariance|dq|flags?|qual|quality|psf|bkg|back"
    r"|background|bgd|exp|exposure|nexp|chi2|model|resid|residual|seg|segm|segmentation|con|ctx",
    re.IGNORECASE,
)
IMAGE_KEYS = ("images", "image", "cube", "cutouts", "cutout", "data", "arr_0")
UNIT_KEYS = ("image_unit", "unit", "units", "bunit")
ZERO_POINT_KEYS = ("zero_point", "zeropoint", "zeropoints", "zero_points", "magzero", "zp")
FIELDS = {  # name of a field of `RawCutout`, and its names in files, in lower case
    "ra": RA,
    "dec": DEC,
    "identifier": IDENTIFIERS,
    "redshift": REDSHIFTS,
}
UNKNOWN_REDSHIFT = -1.0  # and below: -9, -99, -9999


class CutoutError(UserError):
    """A file that is not a usable cutout; the message is the reason, with the remedy."""


@dataclass(frozen=True)
class RawCutout:
    """One cutout as it stands in its file; what the file does not state is None, NaN or 0.

    Pixel scale and unit are those of all planes, or a tuple with one for all or one for each.
    """

    planes: np.ndarray | Sequence[np.ndarray]  # a 2-D or 3-D array, or one 2-D array per band
    bands: tuple[str, ...] | None = None
    pixel_scale_arcsec: float | tuple[float | None, ...] | None = None
    unit: str | tuple[str | None, ...] | None = None
    ra: float = math.nan
    dec: float = math.nan
    centre: tuple[float, float] = (math.nan, math.nan)  # right ascension, declination by the WCS
    axes: np.ndarray | None = None  # of the pixels on the sky, likewise (`headers.sky_geometry`)
    identifier: int = 0
    specobjid: int = 0  # of the spectrum, which is the identifier where the file states no other
    redshift: float = math.nan
    index: int | None = None  # in a file of many
    remarks: tuple[str, ...] = ()  # what of the file was not used, or not believed
    bare: bool = False  # an array, for which no convention says where to state anything


def is_no_band(name: str) -> bool:
    """Whether a plane, or file, of this name is the weight, variance, mask … of an image."""
    return any(NO_BAND.fullmatch(word) for word in re.split(r"[^A-Za-z0-9]+", name))


def check_shape(shape: Sequence[int], item_bytes: int) -> None:
    """Refuse sizes that no cutout has, before memory is spent on them.

    Args:
        shape: Of a cutout, or of a file of many, which are read one by one.
        item_bytes: Per pixel.
    """
    if not 2 <= len(shape) <= 4:
        raise CutoutError(f"a cutout has 2 or 3 axes, a file of many has 4; found {len(shape)}")
    image = tuple(shape[-3:])
    if max(image) > MAX_SIDE_PIXELS or (len(image) == 3 and min(image) > MAX_BANDS):
        raise CutoutError(
            f"image of {' × '.join(map(str, image))}; at most {MAX_BANDS} bands of "
            f"{MAX_SIDE_PIXELS} px a side are read"
        )
    check_bytes(image, item_bytes)


def stated_fields(values: Mapping[str, Any], remarks: list[str]) -> dict[str, Any]:
    """Position, identifier (an exact integer) and redshift among `values` (keys lower case).

    What is there and cannot be used is added to `remarks`.
    """
    found: dict[str, Any] = {"ra": math.nan, "dec": math.nan, "redshift": math.nan}
    for field in found:
        for name in FIELDS[field]:
            try:
                if name == "z" and values.keys() >= MAGNITUDES:
                    remarks.append("z beside u, g, r and i: a magnitude, not the redshift")
                    break
                found[field] = float(values[name])
            except (KeyError, ValueError, TypeError):
                continue  # absent, or text such as "12:30:49"
            break
    if found["redshift"] <= UNKNOWN_REDSHIFT:
        found["redshift"] = math.nan
    identifier = _identifier(values, FIELDS["identifier"], remarks)
    return {**found, "identifier": identifier, "specobjid": _identifier(values, ["specobjid"], [])}


def _identifier(values: Mapping[str, Any], names: Sequence[str], remarks: list[str]) -> int:
    """The first exact identifier of these names among `values`; 0 without one."""
    for name in names:
        if name in values:
            identifier, inexact = identifiers_of(np.atleast_1d(values[name]), name)
            if identifier[0]:
                return int(identifier[0])
            if inexact[0]:
                remarks.append(
                    f"{name} is not an exact 64-bit integer, as the digits of a float are lost: "
                    "taken as unknown"
                )
    return 0


def split_bands(text: str) -> tuple[str, ...]:
    """Band names in "u,g,r,i,z", "u g r i z" or "ugriz"."""
    words = text.replace(",", " ").split()
    return tuple(words if len(words) > 1 else text.strip())


def read_npy(path: Path, rows: slice = slice(None)) -> Iterator[RawCutout]:
    """The cutouts of an `.npy`, or some rows of them."""
    yield from _array_cutouts(np.load(path, mmap_mode="r", allow_pickle=False), {}, rows)


def read_npz(path: Path, rows: slice = slice(None)) -> Iterator[RawCutout]:
    """Images under one of `IMAGE_KEYS`, read one by one; arrays as long describe them."""
    with zipfile.ZipFile(path) as archive:
        headers = _npz_headers(archive)
        key = _image_key({name: shape for name, (shape, _) in headers.items()})
        beside = {}
        for name, (shape, dtype) in headers.items():
            if name != key and math.prod(shape) * dtype.itemsize <= MAX_COLUMN_BYTES:
                with archive.open(f"{name}.npy") as file:
                    beside[name] = np.lib.format.read_array(file, allow_pickle=False)
        with archive.open(f"{key}.npy") as file:
            yield from _array_cutouts(_StreamedArray(file), beside, rows)


def read_hdf5(path: Path, rows: slice = slice(None)) -> Iterator[RawCutout]:
    """As `.npz`, with attributes; also survey files, which have a group and JSON settings."""
    with h5py.File(path, "r") as file:
        arrays = own_datasets(file)
        images = arrays.pop(_image_key({name: item.shape for name, item in arrays.items()}))
        check_stored(images)
        columns = arrays | own_datasets(file, "catalogue")
        columns = {n: item for n, item in columns.items() if item.nbytes <= MAX_COLUMN_BYTES}
        settings = json.loads(file.attrs.get("settings", "{}"))
        beside = {**file.attrs, **images.attrs, **settings, **columns}
        yield from _array_cutouts(images, beside, rows)


def read_picture(path: Path) -> Iterator[RawCutout]:
    """A JPEG or PNG as bands R, G, B with values 0 … 1."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the size is checked here
        picture = Image.open(path, formats=("JPEG", "PNG"))
    with picture:
        check_shape((3, *picture.size), np.dtype(np.float32).itemsize)
        if picture.mode not in ("RGB", "RGBA", "P"):
            raise CutoutError(f"a picture of mode {picture.mode}; a colour picture is needed")
        values = np.asarray(picture.convert("RGB"), dtype=np.float32) / 255
    yield RawCutout(values.transpose(2, 0, 1), PICTURE_BANDS, unit=PICTURE_UNIT)


def count_cutouts(path: Path) -> int:
    """How many cutouts `read_npy`, `read_npz` or `read_hdf5` will yield."""
    if path.suffix.lower() == ".npy":
        shape = np.load(path, mmap_mode="r", allow_pickle=False).shape
    elif path.suffix.lower() == ".npz":
        with zipfile.ZipFile(path) as archive:
            shapes = {name: shape for name, (shape, _) in _npz_headers(archive).items()}
            shape = shapes[_image_key(shapes)]
    else:
        with h5py.File(path, "r") as file:
            shapes = {name: item.shape for name, item in own_datasets(file).items()}
            shape = shapes[_image_key(shapes)]
    return shape[0] if len(shape) == 4 else 1


def _image_key(shapes: Mapping[str, tuple[int, ...]]) -> str:
    images = [name for name, shape in shapes.items() if len(shape) >= 2 and not is_no_band(name)]
    named = [name for name in IMAGE_KEYS if name in images]
    if not named and len(images) != 1:
        raise CutoutError(f"no array named {', '.join(IMAGE_KEYS)}; it holds {', '.join(shapes)}")
    return (named or images)[0]


def _array_cutouts(images: Any, beside: Mapping[str, Any], rows: slice) -> Iterator[RawCutout]:
    """Cutouts of an array-like of two to four axes, described by the arrays beside it."""
    check_shape(images.shape, images.dtype.itemsize)
    columns = {name.lower(): value for name, value in beside.items()}
    for value in list(columns.values()):
        for field in getattr(value, "dtype", np.dtype(int)).names or ():  # a table in one array
            columns[field.lower()] = value[field]
    bands = columns.get("bands")
    scale = columns.get("pixel_scale_arcsec", columns.get("pixel_scale"))
    unit = next((columns[k] for k in UNIT_KEYS if k in columns), None)
    zero_point = next((columns[k] for k in ZERO_POINT_KEYS if k in columns), None)
    if unit is None and zero_point is not None:
        unit = [f"AB zero point {float(value):f}" for value in np.ravel(zero_point)]
    about = {
        "bands": None if bands is None else _band_names(bands),
        "pixel_scale_arcsec": _of_each(scale, float),
        "unit": _of_each(unit, _text),
        "bare": True,
    }
    remarks: list[str] = []
    if len(images.shape) < 4:
        scalars = {n: np.reshape(v, -1)[0] for n, v in columns.items() if np.size(v) == 1}
        fields = stated_fields(scalars, remarks)
        yield RawCutout(np.asarray(images[()]), **about, **fields, remarks=tuple(remarks))
        return
    count = images.shape[0]
    stated = {*MAGNITUDES, *(name for names in FIELDS.values() for name in names)} & columns.keys()
    lists = {n: np.asarray(columns[n]) for n in stated if np.shape(columns[n]) == (count,)}
    for index in range(count)[rows]:
        remarks = []
        row = stated_fields({name: values[index] for name, values in lists.items()}, remarks)
        yield RawCutout(
            np.asarray(images[index]), **about, **row, index=index, remarks=tuple(remarks)
        )


def _of_each(values: Any, kind: Callable) -> Any:
    """None, one value, or a tuple with one for each plane."""
    if values is None:
        return None
    each = tuple(kind(value) for value in np.ravel(np.asarray(values)))
    return each if len(each) > 1 else each[0]


def _band_names(value: Any) -> tuple[str, ...]:
    if np.ndim(value) == 0:
        return split_bands(_text(value))
    return tuple(_text(name) for name in np.asarray(value))


def _text(value: Any) -> str:
    value = value[()] if isinstance(value, np.ndarray | h5py.Dataset) else value
    return value.decode() if isinstance(value, bytes) else str(value)


def _npz_headers(archive: zipfile.ZipFile) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Shape and type of the archive's arrays, by name; others are left out."""
    headers = {}
    for member in archive.namelist():
        name = member.removesuffix(".npy")
        with archive.open(member) as file:
            try:
                headers[name] = npy_header(file)
            except UserError:  # of objects, or in Fortran order
                if name in IMAGE_KEYS:
                    raise
    return headers


class _StreamedArray:
    """An `.npy` inside an archive whose items are read one after the other, in order."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.shape, self.dtype = npy_header(file)
        self._start, self._next = file.tell(), 0

    def __getitem__(self, index: int | tuple) -> np.ndarray:
        shape = self.shape if index == () else self.shape[1:]
        size = math.prod(shape) * self.dtype.itemsize
        if index != () and index != self._next:  # of a compressed array, what lies between is read
            self._file.seek(self._start + index * size)
        self._next = index + 1 if index != () else 0
        data = self._file.read(size)
        if len(data) != size:
            raise CutoutError("the file ends early: truncated")
        return np.frombuffer(data, self.dtype).reshape(shape)
