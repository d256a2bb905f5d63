"""From a cutout as it stands in its file to the image that a trained network takes.

The bands are put into the network's order, the flux is converted to nanomaggies and the pixels to
the network's grid. The grid is that of a detector with the network's pixels: with r the ratio of
pixel sizes, input pixel j covers [j, j + 1], output pixel k covers [(k − n/2) r + m/2, that + r]
for m and n pixels along an axis, and the flux of an output pixel is

    Y = W_y X W_xᵀ,    W_kj = length of the overlap of k and j,

so that flux per pixel is conserved exactly and nothing is aliased; sky outside the cutout is 0.
Colour pictures have no flux: their values are averaged (Y / r²).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from datasets.cutouts.formats import (
    PICTURE_BANDS,
    PLAUSIBLE_PIXELS_ARCSEC,
    CutoutError,
    RawCutout,
    is_no_band,
)

NANOMAGGY_JANSKY = 3.631e-6  # 3631 Jy is magnitude 0 in AB
NANOMAGGY_ZERO_POINT = 22.5  # AB magnitude of a nanomaggy
ZERO_POINT = re.compile(r"AB zero point ([-+]?[\d.]+)")
SAME_SCALE = 0.005  # relative difference of pixel scales that is left alone: 0.16 px at the rim
MIN_SIDE_PIXELS = 8
MAX_FLUX = 1e30  # nanomaggies or intensity; beyond is a fill value


@dataclass(frozen=True)
class CutoutFormat:
    """The images that the network takes, and what the user states about the files.

    Args:
        bands: Of the network, in its order; ("R", "G", "B") for colour pictures.
        pixel_scale_arcsec: Of the network's images.
        size: Side of the network's images in px.
        input_bands: Of the files, in their order; overrides what the files state.
        input_pixel_scale_arcsec: Of the files; overrides their headers.
        input_unit: Of the files, e.g. "nanomaggy" or "nJy", or a tuple of one for each of their
            bands; overrides their headers.
        assume: Take a unit that nobody states as nanomaggies, and a pixel scale as the network's;
            otherwise such cutouts are refused, but for bare arrays of the network's size.

    Raises:
        CutoutError: `input_unit` is not a unit of flux, or a pixel scale is not positive.
    """

    bands: tuple[str, ...]
    pixel_scale_arcsec: float
    size: int = 64
    input_bands: tuple[str, ...] | None = None
    input_pixel_scale_arcsec: float | None = None
    input_unit: str | tuple[str, ...] | None = None
    assume: bool = True

    def __post_init__(self) -> None:
        if self.input_unit and not self.takes_pictures:
            units = self.input_unit if isinstance(self.input_unit, tuple) else (self.input_unit,)
            for unit in units:
                nanomaggies_per(unit, 1.0)
            names = self.input_bands or self.bands
            if len(units) not in (1, len(names)):
                raise CutoutError(f"{len(units)} units for the bands {', '.join(names)}")
        if min(self.pixel_scale_arcsec, self.input_pixel_scale_arcsec or 1.0) <= 0:
            raise CutoutError("a pixel scale is a positive number of arcsec")

    @property
    def takes_pictures(self) -> bool:
        return self.bands == PICTURE_BANDS

    def convert(self, raw: RawCutout) -> tuple[np.ndarray, list[str]]:
        """The image (bands, size, size) float32 of `raw`, and the assumptions made.

        Raises:
            CutoutError: it cannot be used.
        """
        remarks = list(raw.remarks)
        everything, chosen = self._select(raw, remarks)
        planes = [everything[k] for k in chosen]
        stated = self.input_pixel_scale_arcsec or raw.pixel_scale_arcsec
        scales = _of_bands("pixel scales", stated, chosen, len(everything))
        if self.input_unit and not self.input_bands:  # stated for the network's bands, if for each
            units = _of_bands("units", self.input_unit, range(len(chosen)), len(chosen))
        else:
            units = _of_bands("units", self.input_unit or raw.unit, chosen, len(everything))
        if not (self.assume or (raw.bare and planes[0].shape == (self.size, self.size))):
            if None in units and not self.takes_pictures:
                raise CutoutError("unit not given: state it with --unit or --zero-point")
            if None in scales:
                raise CutoutError("pixel scale not given: state it with --pixel-scale")
        ratios = self._pixel_ratios([plane.shape for plane in planes], scales, remarks)
        if self.takes_pictures:
            factors = [self._picture_factor(raw, planes)] * len(planes)
        else:
            factors = self._flux_factors(units, scales, remarks)
        parts = zip(planes, factors, ratios, strict=True)
        image = np.stack([self._resample(*part) for part in parts]).astype(np.float32)
        for band, plane in zip(self.bands, image, strict=True):
            if np.ptp(plane) == 0:
                raise CutoutError(f"band {band} is {plane[0, 0]:g} everywhere: no data")
        return image, list(dict.fromkeys(remarks))

    def _select(self, raw: RawCutout, remarks: list[str]) -> tuple[Sequence[np.ndarray], list[int]]:
        """All planes (height, width), and the places of the network's bands, in its order."""
        names = self.input_bands or raw.bands
        planes = _bands_first(raw.planes, len(names or self.bands))
        if names is None:
            if len(planes) != len(self.bands):
                raise CutoutError(
                    f"has {len(planes)} bands, the network takes {len(self.bands)} "
                    f"({', '.join(self.bands)}): name the bands of the files with --bands, or, of "
                    "files of one band each, call them NAME-u.fits, NAME-g.fits and so on"
                )
            if not self.takes_pictures:
                remarks.append(f"bands not named: taken as {', '.join(self.bands)}")
            names = self.bands
        if len(names) != len(planes):
            raise CutoutError(f"has {len(planes)} bands but the names {', '.join(names)}")
        return planes, [position_of_band(band, names) for band in self.bands]

    def _flux_factors(
        self, units: Sequence[str | None], scales: Sequence[float | None], remarks: list[str]
    ) -> list[float]:
        """Nanomaggies in one unit of flux per pixel, of each band."""
        unknown = [band for band, unit in zip(self.bands, units, strict=True) if unit is None]
        if unknown:
            of = "" if len(unknown) == len(units) else f" of {', '.join(unknown)}"
            remarks.append(f"unit{of} not given: taken as nanomaggies per pixel")
        return [
            1.0 if unit is None else nanomaggies_per(unit, scale)
            for unit, scale in zip(units, scales, strict=True)
        ]

    def _picture_factor(self, raw: RawCutout, planes: Sequence[np.ndarray]) -> float:
        brightest = max(plane.max(initial=0) for plane in planes)
        scale = 255.0 if brightest > 1 and _is_bytes(raw.planes) else 1.0
        if brightest > scale:
            raise CutoutError("a colour picture has values 0 … 1, or bytes")
        return 1 / scale

    def _resample(self, plane: np.ndarray, factor: float, ratio: float) -> np.ndarray:
        rows, columns = (_overlaps(side, self.size, ratio) for side in plane.shape)
        field = plane[rows.any(0)][:, columns.any(0)].astype(np.float64) * factor
        bad = int((~(np.abs(field) < MAX_FLUX)).sum())
        if bad:
            raise CutoutError(f"{bad} pixels are not finite numbers: interpolate them first")
        image = rows[:, rows.any(0)] @ field @ columns[:, columns.any(0)].T
        return image / ratio**2 if self.takes_pictures else image

    def _pixel_ratios(
        self,
        shapes: Sequence[tuple[int, int]],
        scales: Sequence[float | None],
        remarks: list[str],
    ) -> list[float]:
        """Size of an output pixel in input pixels, for the planes of the bands."""
        smallest = min(shapes, key=min)
        if min(smallest) < MIN_SIDE_PIXELS:
            raise CutoutError(f"only {smallest[0]} × {smallest[1]} px")
        if len(set(shapes)) > 1 and None in scales:
            raise CutoutError("bands of different sizes: resample them to one grid first")
        return [
            self._pixel_ratio(shape, scale, remarks)
            for shape, scale in zip(shapes, scales, strict=True)
        ]

    def _pixel_ratio(
        self, shape: tuple[int, int], scale: float | None, remarks: list[str]
    ) -> float:
        """Size of an output pixel in input pixels, for a plane of `shape`."""
        if scale is None:
            if tuple(shape) == (self.size, self.size):
                remarks.append(f"pixel scale not given: taken as {self.pixel_scale_arcsec} arcsec")
            else:
                remarks.append("pixel scale not given: resized, as if it were the same field")
            return min(shape) / self.size
        low, high = PLAUSIBLE_PIXELS_ARCSEC
        if not low <= scale <= high:
            raise CutoutError(f"pixel scale {scale:g} arcsec: give the true one with --pixel-scale")
        ratio = self.pixel_scale_arcsec / scale
        if min(shape) < self.size * ratio * (1 - SAME_SCALE):
            remarks.append("covers less sky than the network's images: padded with sky level 0")
        return 1.0 if abs(ratio - 1) < SAME_SCALE else ratio


def nanomaggies_per(unit: str, pixel_scale_arcsec: float | None = None) -> float:
    """Nanomaggies in one `unit` of flux (per pixel), 1 nanomaggy = 3.631 µJy.

    Args:
        unit: a flux density, a flux density per solid angle such as "MJy/sr", or counts with their
            AB magnitude as in "AB zero point 27".
        pixel_scale_arcsec: for what is per solid angle.

    Raises:
        CutoutError: it is none of these, or a pixel scale is missing.
    """
    zero_point = ZERO_POINT.fullmatch(unit.strip())
    if zero_point:
        return 10 ** (0.4 * (NANOMAGGY_ZERO_POINT - float(zero_point[1])))
    from astropy import units  # slow to import; most cutouts state no other unit

    text = re.sub(r"(\s*/\s*|\s+per\s+)pix(el)?s?\s*$|\s+pix(el)?-1\s*$", "", unit.strip())
    text = re.sub(r"maggies\b", "maggy", text, flags=re.IGNORECASE)
    text = re.sub(r"\b(nmaggy|nmgys?|nanomaggys?)\b", "nanomaggy", text, flags=re.IGNORECASE)
    try:
        parsed = units.Unit(text, parse_strict="raise")
        for flux, in_nanomaggies in ((units.mgy, 1e9), (units.Jy, 1 / NANOMAGGY_JANSKY)):
            if parsed.is_equivalent(flux):
                return float(parsed.to(flux)) * in_nanomaggies
            if parsed.is_equivalent(flux / units.sr):
                return (
                    float(parsed.to(flux / units.arcsec**2))
                    * in_nanomaggies
                    * _area(unit, pixel_scale_arcsec)
                )
    except CutoutError:
        raise
    except (ValueError, TypeError):
        pass
    raise CutoutError(
        f"unit {unit!r} is not a flux per pixel: convert to nanomaggies, or state the unit with "
        "--unit, or the AB magnitude of one count with --zero-point"
    )


def stated_units(unit: str | None, zero_point: str | None) -> tuple[str, ...] | None:
    """Units from a command line: one, or one for each band of the files, separated by commas.

    Args:
        unit: such as "nJy" or "nJy,nJy,nanomaggy".
        zero_point: the AB magnitude of one count likewise, instead.

    Raises:
        CutoutError: both are given, or a zero point is not a number.
    """
    if unit and zero_point:
        raise CutoutError("--unit and --zero-point: give one of them")
    if unit:
        return tuple(part.strip() for part in unit.split(","))
    if not zero_point:
        return None
    try:
        return tuple(f"AB zero point {float(part):f}" for part in zero_point.split(","))
    except ValueError:
        raise CutoutError(
            f"--zero-point {zero_point}: AB magnitudes of one count, e.g. 27 or 24.6,25.1,25.0"
        ) from None


def _area(unit: str, pixel_scale_arcsec: float | None) -> float:
    """Of a pixel, in square arcsec."""
    if pixel_scale_arcsec is None:
        raise CutoutError(f"unit {unit!r} needs the pixel scale: give it with --pixel-scale")
    return pixel_scale_arcsec**2


def _of_bands(what: str, values: Any, chosen: Sequence[int], count: int) -> list[Any]:
    """The values of the chosen ones of `count` planes, of one for all or a tuple with one for each.

    Raises:
        CutoutError: it has another length.
    """
    each = values if isinstance(values, tuple) else (values,)
    if len(each) == 1:
        return [each[0]] * len(chosen)
    if len(each) != count:
        raise CutoutError(f"{len(each)} {what} for {count} bands: give one, or one for each band")
    return [each[k] for k in chosen]


def _overlaps(inputs: int, outputs: int, ratio: float) -> np.ndarray:
    """(outputs, inputs): lengths of the overlaps of pixels, in input pixels, centres aligned.

    On equal pixels an odd side is cut, centre pixel to centre pixel, not shifted by half a pixel.
    """
    centre = inputs // 2 - outputs // 2 + outputs / 2 if ratio == 1 else inputs / 2
    lower = (np.arange(outputs)[:, None] - outputs / 2) * ratio + centre
    pixel = np.arange(inputs)
    overlaps = np.minimum(lower + ratio, pixel + 1) - np.maximum(lower, pixel)
    return np.where(overlaps > 1e-9, overlaps, 0.0)  # not what rounding leaves at the edge


def _is_bytes(planes: np.ndarray | Sequence[np.ndarray]) -> bool:
    return np.asarray(planes[0]).dtype == np.uint8


def _bands_first(planes: np.ndarray | Sequence[np.ndarray], count: int) -> Sequence[np.ndarray]:
    """The bands as a sequence of 2-D arrays; `count` of them are expected."""
    if not isinstance(planes, np.ndarray) or planes.ndim == 2:
        return planes if not isinstance(planes, np.ndarray) else [planes]
    first, last = planes.shape[0], planes.shape[2]
    if first != count and (last == count or last < first):
        return np.moveaxis(planes, -1, 0)
    return planes


def position_of_band(band: str, names: Sequence[str]) -> int:
    """Where `band` is among `names`: by its name, else as a word of one ("SDSS-r")."""
    exact = [k for k, name in enumerate(names) if name.strip().lower() == band.lower()]
    words = [re.split(r"[^a-z0-9]+", name.lower()) for name in names]
    found = exact or [
        k for k, parts in enumerate(words) if band.lower() in parts and not is_no_band(names[k])
    ]
    if len(found) != 1:
        problem = "lacks" if not found else "has more than one"
        raise CutoutError(f"{problem} band {band}; its bands are {', '.join(names)}")
    return found[0]
