"""SDSS frames: one band of one field each, and cutouts of them on one pixel grid.

The bands of a field are shifted by some pixels against each other. The grid of a cutout is the one
of the r frame, centred on the position; its pixels x_r are carried to the other bands through the
sky, x_b = W_b⁻¹(W_r(x_r)) with W the world coordinates of a frame, and the frames are interpolated
there by cubic splines. The pixels of all bands have the same size, so that flux per pixel is kept.
"""

from __future__ import annotations

import csv
import math
import re
import warnings
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.utils.exceptions import AstropyWarning
from astropy.wcs import WCS
from scipy.ndimage import map_coordinates

from datasets.cutouts.fits_files import write_cutout
from datasets.errors import UserError

BANDS = ("u", "g", "r", "i", "z")
REFERENCE_BAND = "r"
PIXEL_SCALE_ARCSEC = 0.396
SPLINE_MARGIN_PIXELS = 12  # a cubic spline's response has decayed to 1e-7 there


class FrameError(UserError):
    """Frames or positions that cannot be used, with the file and the remedy."""


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
                return cls(hdus[0].data.astype(np.float32), WCS(hdus[0].header))
        except (OSError, ValueError, AttributeError) as error:
            raise FrameError(f"{path} is no SDSS frame ({error}): download it again") from error


def group_fields(paths: Iterable[Path]) -> list[dict[str, Path]]:
    """Per field, the frame of each band, by the names `frame-{band}-{run}-{camcol}-{field}`.

    Raises:
        FrameError: for other names, and for fields that lack a band.
    """
    fields: dict[str, dict[str, Path]] = defaultdict(dict)
    for path in sorted(paths):
        match = re.match(r"frame-([ugriz])-(\d+-\d+-\d+)\.fits", path.name)
        if not match:
            raise FrameError(f"{path} is not named frame-BAND-RUN-CAMCOL-FIELD.fits[.bz2]")
        fields[match[2]][match[1]] = path
    for name, frames in fields.items():
        if set(frames) != set(BANDS):
            raise FrameError(f"field {name} lacks band {', '.join(set(BANDS) - set(frames))}")
    return list(fields.values())


def cut_out(
    frames: dict[str, Frame], ra: Sequence[float], dec: Sequence[float], size: int = 64
) -> list[np.ndarray | None]:
    """Cutouts (5, size, size) float32 in u, g, r, i, z; nanomaggies per pixel.

    Args:
        frames: of one field, by band.
        ra, dec: positions in degrees (ICRS), which come to lie in the centre of the cutouts.
    Returns:
        One image per position; None where a band does not reach around the whole cutout.
    """
    offsets = np.mgrid[:size, :size] - (size - 1) / 2
    cutouts: list[np.ndarray | None] = []
    for position in zip(ra, dec, strict=True):
        column, row = frames[REFERENCE_BAND].wcs.all_world2pix(*position, 0)
        sky = frames[REFERENCE_BAND].wcs.all_pix2world(offsets[1] + column, offsets[0] + row, 0)
        planes = [_interpolate(frames[band], *sky) for band in BANDS]
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
    """Where to cut, in degrees, and what the cutout's header says besides."""

    name: str
    ra: float
    dec: float
    identifier: int
    redshift: float | None

    @classmethod
    def from_row(cls, row: dict[str, str]) -> Position:
        """A row of the positions; KeyError without ra and dec, ValueError if no numbers."""
        row = {key.strip().lower(): value for key, value in row.items()}
        ra, dec = float(row["ra"]), float(row["dec"])
        name = Path(row.get("name") or f"{ra:.5f}{dec:+.5f}").name
        redshift = float(row.get("z") or row.get("redshift") or "nan")
        identifier = int(row.get("objid") or row.get("identifier") or 0)
        return cls(name, ra, dec, identifier, redshift if math.isfinite(redshift) else None)


def read_positions(path: Path) -> list[Position]:
    """The positions in a CSV or FITS table.

    Raises:
        FrameError: without the columns ra and dec, or with values that are no numbers.
    """
    try:
        return [Position.from_row(row) for row in _table_rows(path)]
    except (KeyError, ValueError) as error:
        raise FrameError(f"{path} needs columns ra and dec in degrees ({error})") from error


def _table_rows(path: Path) -> list[dict[str, str]]:
    if path.suffix.lower() in (".fits", ".fit"):
        table = Table.read(path, mask_invalid=False)
        return [dict(zip(table.colnames, map(str, row), strict=True)) for row in table]
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def cut_field(
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
            write_cutout(path, image, BANDS, PIXEL_SCALE_ARCSEC, **about)
    return outside
