"""SDSS frames: one band of one field each, and cutouts of them on one pixel grid.

The bands of a field are shifted by some pixels against each other. The grid of a cutout is the one
of the r frame, centred on the position; its pixels x_r are carried to the other bands through the
sky, x_b = W_b⁻¹(W_r(x_r)) with W the world coordinates of a frame, and the frames are interpolated
there by cubic splines. The pixels of all bands have the same size, so that flux per pixel is kept.
"""

from __future__ import annotations

import math
import re
import warnings
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning
from astropy.wcs import WCS
from scipy.ndimage import map_coordinates

from datasets.constants import SDSS_BANDS, SDSS_PIXEL_ARCSEC
from datasets.cutouts.fits_files import write_cutout
from datasets.errors import UserError
from datasets.file_limits import check_bytes
from datasets.identifiers import IDENTIFIERS
from datasets.tables import read_table

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
            with warnings.catch_warnings(), fits.open(path) as hdus:
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
        column, row = frames[REFERENCE_BAND].wcs.all_world2pix(*position, 0)
        sky = frames[REFERENCE_BAND].wcs.all_pix2world(offsets[1] + column, offsets[0] + row, 0)
        planes = [_interpolate(frames[band], *sky) for band in SDSS_BANDS]
        whole = all(plane is not None for plane in planes)
        cutouts.append(np.stack(planes).astype(np.float32) if whole else None)
    return cutouts


def _interpolate(frame: Frame, ra: np.ndarray, dec: np.ndarray) -> np.ndarray | None:
    columns, rows = frame.wcs.all_world2pix(ra, dec, 0)
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

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Position:
        """A row of the positions; KeyError without ra and dec, ValueError if they are text."""
        ra, dec = float(row["ra"]), float(row["dec"])
        name = Path(str(row.get("name", "")) or f"{ra:.5f}{dec:+.5f}").name
        redshift = float(row.get("z", row.get("redshift", math.nan)))
        identifier = int(row.get("objid", 0)) or int(row.get("identifier", 0))
        return cls(name, ra, dec, identifier, redshift if math.isfinite(redshift) else None)


def read_positions(path: Path) -> list[Position]:
    """The positions in a table (`datasets.tables.read_table`).

    Raises:
        UserError: without the columns ra and dec, or with values that are not numbers.
    """
    columns = read_table(path)
    for name in columns.keys() & set(IDENTIFIERS):
        if columns[name].dtype.kind == "U":  # of a CSV file, where empty means none
            columns[name] = np.where(columns[name] == "", "0", columns[name])
    try:
        rows = zip(*columns.values(), strict=True)
        return [Position.from_row(dict(zip(columns, row, strict=True))) for row in rows]
    except (KeyError, ValueError) as error:
        raise UserError(f"{path} needs columns ra and dec in degrees ({error})") from error


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
        missing = _cut_field(frames, missing, folder, size)
    return missing


def _cut_field(
    frames: dict[str, Frame], positions: list[Position], folder: Path, size: int
) -> list[Position]:
    """Write the cutouts of the positions inside one field; return the other positions."""
    images = cut_out(frames, [p.ra for p in positions], [p.dec for p in positions], size)
    outside = []
    for position, image in zip(positions, images, strict=True):
        if image is None:
            outside.append(position)
        else:
            about = asdict(position)
            path = folder / f"{about.pop('name')}.fits"
            write_cutout(path, image, SDSS_BANDS, SDSS_PIXEL_ARCSEC, **about)
    return outside
