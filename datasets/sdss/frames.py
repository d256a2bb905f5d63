"""SDSS frames: one band of one field each, and cutouts of them on one pixel grid.

The bands of a field are shifted by some pixels against each other. The grid of a cutout is the one
of the r frame, centred on the position; its pixels x_r are carried to the other bands through the
sky, x_b = W_b⁻¹(W_r(x_r)) with W the world coordinates of a frame, and the frames are interpolated
there by cubic splines. The pixels of all bands have the same size, so that flux per pixel is kept.
"""

from __future__ import annotations

import math
import re
import sys
import warnings
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from astropy.utils.exceptions import AstropyWarning
from astropy.wcs import WCS
from scipy.ndimage import map_coordinates

from datasets.column_names import DEC, IDENTIFIERS, RA, REDSHIFTS, is_magnitude
from datasets.constants import SDSS_BANDS, SDSS_PIXEL_ARCSEC
from datasets.cutouts.fits_files import write_cutout
from datasets.errors import UserError
from datasets.file_limits import check_bytes
from datasets.file_names import file_stem, free_name
from datasets.fits_input import open_fits
from datasets.identifiers import identifiers_of
from datasets.tables import numbers, read_table, redshifts

REFERENCE_BAND = "r"  # whose pixel grid the cutouts have
SPLINE_MARGIN_PIXELS = 12  # a cubic spline's response has decayed to 1e-7 there


@dataclass(frozen=True)
class Frame:
    """One band of one field: pixels in nanomaggies (rows, columns), and their world coordinates."""

    pixels: np.ndarray
    wcs: WCS

    @classmethod
    def read(cls, path: Path) -> Frame:
        """One band of a field, from an SDSS frame file."""
        try:
            with warnings.catch_warnings(), open_fits(path) as hdus:
                warnings.simplefilter("ignore", AstropyWarning)  # deprecated but clear keywords
                check_bytes(hdus[0].shape, np.dtype(np.float32).itemsize)
                return cls(hdus[0].data.astype(np.float32), WCS(hdus[0].header))
        except (UserError, OSError, ValueError, AttributeError) as error:
            raise UserError(f"{path} is not an SDSS frame ({error}): download it again") from error


def group_fields(paths: Iterable[Path]) -> list[dict[str, Path]]:
    """Per field, the frame of each band, by the names `frame-{band}-{run}-{camcol}-{field}`.

    Raises:
        UserError: a file has another name, or a field lacks a band.
    """
    fields: dict[str, dict[str, Path]] = defaultdict(dict)
    for path in sorted(paths):
        match = re.match(r"frame-([ugriz])-(\d+-\d+-\d+)\.fits", path.name)
        if not match:
            raise UserError(f"{path} is not named frame-BAND-RUN-CAMCOL-FIELD.fits[.bz2]")
        fields[match[2]][match[1]] = path
    for name, frames in fields.items():
        if set(frames) != set(SDSS_BANDS):
            raise UserError(
                f"field {name} lacks band {', '.join(set(SDSS_BANDS) - set(frames))}: add it"
            )
    return list(fields.values())


def cut_out(
    frames: dict[str, Frame], ra: Sequence[float], dec: Sequence[float], size: int = 64
) -> list[np.ndarray | None]:
    """Cutouts of one field.

    Args:
        frames: Of the field, by band.
        ra, dec: Centres of the cutouts in degrees (ICRS).
        size: Side in px.

    Returns:
        One image (5, size, size) float32 per position in u, g, r, i, z, nanomaggies per pixel; None
        where a band does not cover the whole cutout.
    """
    offsets = np.mgrid[:size, :size] - (size - 1) / 2
    cutouts: list[np.ndarray | None] = []
    for position in zip(ra, dec, strict=True):
        column, row = frames[REFERENCE_BAND].wcs.all_world2pix(*position, 0, quiet=True)
        if not (_near(column, frames) and _near(row, frames)):  # NaN on the other half of the sky
            cutouts.append(None)
            continue
        sky = frames[REFERENCE_BAND].wcs.all_pix2world(offsets[1] + column, offsets[0] + row, 0)
        planes = [_interpolate(frames[band], *sky) for band in SDSS_BANDS]
        whole = all(plane is not None for plane in planes)
        cutouts.append(np.stack(planes).astype(np.float32) if whole else None)
    return cutouts


def _near(pixel: float, frames: dict[str, Frame]) -> bool:
    """Whether a pixel of the reference band may lie in the field."""
    return bool(0 <= pixel <= max(frames[REFERENCE_BAND].pixels.shape))


def _interpolate(frame: Frame, ra: np.ndarray, dec: np.ndarray) -> np.ndarray | None:
    columns, rows = frame.wcs.all_world2pix(ra, dec, 0, quiet=True)
    height, width = frame.pixels.shape
    if min(rows.min(), columns.min()) < 0 or rows.max() > height - 1 or columns.max() > width - 1:
        return None
    top, left = (max(int(axis.min()) - SPLINE_MARGIN_PIXELS, 0) for axis in (rows, columns))
    bottom, right = (int(axis.max()) + SPLINE_MARGIN_PIXELS + 1 for axis in (rows, columns))
    part = frame.pixels[top:bottom, left:right].astype(np.float64)
    return map_coordinates(part, [rows - top, columns - left], order=3, mode="nearest")


@dataclass(frozen=True)
class Position:
    """A position to cut out, in degrees, with the other entries of the cutout's header."""

    name: str
    ra: float
    dec: float
    identifier: int
    redshift: float | None


def read_positions(path: Path) -> tuple[list[Position], list[tuple[str, str]]]:
    """The positions in a table (`datasets.tables.read_table`), and the rows without one.

    Returns:
        Positions; and for every row that has none its name and the reason. Redshift and identifier
        are unknown where they are not exact or missing.

    Raises:
        UserError: without columns of right ascension and declination in degrees.
    """
    columns = read_table(path)
    ra, dec = (_degrees(path, columns, names) for names in (RA, DEC))
    redshift = np.full(len(ra), math.nan)
    name = next((name for name in REDSHIFTS if name in columns), None)
    if name and is_magnitude(name, columns):
        print(f"{path}: z beside u, g, r and i is a magnitude: no redshifts", file=sys.stderr)
    elif name:
        redshift = redshifts(path, name, columns)
    positions, refused, taken = [], [], set()
    for row, number in enumerate(_identifiers(path, columns, len(ra))):
        called = str(columns["name"][row]).strip().rsplit("/", 1)[-1] if "name" in columns else ""
        called = called or f"{ra[row]:.5f}{dec[row]:+.5f}"
        if not (0 <= ra[row] % 360 < 360 and abs(dec[row]) <= 90):
            refused.append((f"row {row + 1} ({called})", f"no position ({ra[row]}, {dec[row]})"))
            continue
        z = float(redshift[row]) if math.isfinite(redshift[row]) else None
        called = free_name(called, taken)
        positions.append(Position(called, float(ra[row]), float(dec[row]), int(number), z))
    return positions, refused


def _degrees(path: Path, columns: dict[str, np.ndarray], names: Sequence[str]) -> np.ndarray:
    name = next((name for name in names if name in columns), None)
    if name is None:
        raise UserError(f"{path} needs a column {names[0]} in degrees; it has {', '.join(columns)}")
    return numbers(path, name, columns[name])


def _identifiers(path: Path, columns: dict[str, np.ndarray], count: int) -> np.ndarray:
    """(count,) uint64: of every row, from the first column that has one."""
    found = np.zeros(count, np.uint64)
    for name in IDENTIFIERS:
        if name in columns:
            values, inexact = identifiers_of(columns[name], name)
            found = np.where(found == 0, values, found)
            if inexact.any():
                print(
                    f"{path}: {name} of {inexact.sum()} rows, the first of them "
                    f"{int(np.argmax(inexact)) + 1}, are not exact 64-bit integers: taken as "
                    "unknown",
                    file=sys.stderr,
                )
    return found


def cut_fields(
    paths: Iterable[Path], positions: Sequence[Position], folder: Path, size: int = 64
) -> list[Position]:
    """Write a FITS cutout of every position that lies far enough inside a field.

    Args:
        paths: Frames, all bands of each field.
        positions: Where to cut.
        folder: Made if needed.
        size: Side of the cutouts in px.

    Returns:
        The positions outside all fields.
    """
    fields = group_fields(paths)
    folder.mkdir(parents=True, exist_ok=True)
    missing = list(positions)
    for field in fields:
        frames = {band: Frame.read(path) for band, path in field.items()}
        images = cut_out(frames, [p.ra for p in missing], [p.dec for p in missing], size)
        for position, image in zip(missing, images, strict=True):
            if image is not None:
                about = asdict(position)
                path = folder / f"{file_stem(about.pop('name'))}.fits"
                wcs = _centred(frames[REFERENCE_BAND].wcs, position.ra, position.dec, size)
                write_cutout(path, image, SDSS_BANDS, SDSS_PIXEL_ARCSEC, **about, wcs=wcs)
        missing = [p for p, image in zip(missing, images, strict=True) if image is None]
    return missing


def _centred(wcs: WCS, ra: float, dec: float, size: int) -> WCS:
    """The world coordinates of a cutout of `size` px a side on the pixel grid of a frame."""
    cut = wcs.deepcopy()
    cut.wcs.crpix -= np.array(wcs.all_world2pix(ra, dec, 0)) - (size - 1) / 2
    return cut
