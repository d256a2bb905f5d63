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

import numpy as np

from datasets.cutouts.formats import PICTURE_BANDS, CutoutError, RawCutout
from datasets.errors import UserError

NANOMAGGY_JANSKY = 3.631e-6  # 3631 Jy is magnitude 0 in AB
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
        input_unit: Of the files, e.g. "nanomaggy" or "nJy"; overrides their headers.

    Raises:
        CutoutError: `input_unit` is not a unit of flux, or a pixel scale is not positive.
    """

    bands: tuple[str, ...]
    pixel_scale_arcsec: float
    size: int = 64
    input_bands: tuple[str, ...] | None = None
    input_pixel_scale_arcsec: float | None = None
    input_unit: str | None = None

    def __post_init__(self) -> None:
        if self.input_unit and not self.takes_pictures:
            nanomaggies_per(self.input_unit)
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
        assumptions: list[str] = []
        planes = self._select(raw, assumptions)
        factor = self._flux_factor(raw, planes, assumptions)
        ratio = self._pixel_ratio(planes.shape[1:], raw.pixel_scale_arcsec, assumptions)
        image = self._resample(planes, factor, ratio).astype(np.float32)
        for band, plane in zip(self.bands, image, strict=True):
            if np.ptp(plane) == 0:
                raise CutoutError(f"band {band} is {plane[0, 0]:g} everywhere: no data")
        return image, assumptions

    def _select(self, raw: RawCutout, assumptions: list[str]) -> np.ndarray:
        """(bands, height, width) of the network's bands, in its order."""
        names = self.input_bands or raw.bands
        planes = _bands_first(raw.planes, len(names or self.bands))
        if names is None:
            if len(planes) != len(self.bands):
                raise CutoutError(
                    f"has {len(planes)} bands, the network takes {len(self.bands)} "
                    f"({', '.join(self.bands)}): name the bands of the files"
                )
            if not self.takes_pictures:
                assumptions.append(f"bands not named: taken as {', '.join(self.bands)}")
            names = self.bands
        if len(names) != len(planes):
            raise CutoutError(f"has {len(planes)} bands but the names {', '.join(names)}")
        chosen = [planes[_position(band, names)] for band in self.bands]
        if len({plane.shape for plane in chosen}) > 1:
            raise CutoutError("bands of different sizes: resample them to one grid first")
        return np.stack(chosen)

    def _flux_factor(self, raw: RawCutout, planes: np.ndarray, assumptions: list[str]) -> float:
        unit = self.input_unit or raw.unit
        if self.takes_pictures:
            scale = 255.0 if planes.max(initial=0) > 1 and _is_bytes(raw.planes) else 1.0
            if planes.max(initial=0) > scale:
                raise CutoutError("a colour picture has values 0 … 1, or bytes")
            return 1 / scale
        if unit is None:
            assumptions.append("unit not given: taken as nanomaggies per pixel")
            return 1.0
        return nanomaggies_per(unit)

    def _resample(self, planes: np.ndarray, factor: float, ratio: float) -> np.ndarray:
        rows, columns = (_overlaps(side, self.size, ratio) for side in planes.shape[1:])
        field = planes[:, rows.any(0)][:, :, columns.any(0)].astype(np.float64) * factor
        bad = int((~(np.abs(field) < MAX_FLUX)).sum())
        if bad:
            raise CutoutError(f"{bad} pixels are not finite numbers: interpolate them first")
        image = rows[:, rows.any(0)] @ field @ columns[:, columns.any(0)].T
        return image / ratio**2 if self.takes_pictures else image

    def _pixel_ratio(
        self, shape: Sequence[int], scale_arcsec: float | None, assumptions: list[str]
    ) -> float:
        """Size of an output pixel in input pixels, for images of `shape`."""
        if min(shape) < MIN_SIDE_PIXELS:
            raise CutoutError(f"only {shape[0]} × {shape[1]} px")
        scale = self.input_pixel_scale_arcsec or scale_arcsec
        if scale is None:
            if tuple(shape) == (self.size, self.size):
                assumptions.append(f"pixel scale not given: taken as {self.pixel_scale_arcsec}″")
            else:
                assumptions.append("pixel scale not given: resized, as if it were the same field")
            return min(shape) / self.size
        ratio = self.pixel_scale_arcsec / scale
        if min(shape) < self.size * ratio * (1 - SAME_SCALE):
            assumptions.append("covers less sky than the network's images: padded with sky level 0")
        return 1.0 if abs(ratio - 1) < SAME_SCALE else ratio


def nanomaggies_per(unit: str) -> float:
    """Nanomaggies in one `unit` of flux (per pixel), 1 nanomaggy = 3.631 µJy.

    Raises:
        CutoutError: it is not a unit of flux density.
    """
    from astropy import units  # slow to import; most cutouts state no other unit

    text = re.sub(r"(\s*/\s*|\s+per\s+)pix(el)?s?\s*$|\s+pix(el)?-1\s*$", "", unit.strip())
    text = re.sub(r"maggies$", "maggy", text, flags=re.IGNORECASE)
    text = re.sub(r"^(nmaggy|nmgys?|nanomaggys?)$", "nanomaggy", text, flags=re.IGNORECASE)
    try:
        parsed = units.Unit(text, parse_strict="raise")
        if parsed.is_equivalent(units.mgy):
            return float(parsed.to(units.nmgy))
        return float(parsed.to(units.Jy)) / NANOMAGGY_JANSKY
    except (UserError, ValueError, TypeError) as error:
        raise CutoutError(
            f"unit {unit!r} is not a flux per pixel: convert to nanomaggies, or state the unit"
        ) from error


def _overlaps(inputs: int, outputs: int, ratio: float) -> np.ndarray:
    """(outputs, inputs): lengths of the overlaps of pixels, in input pixels, centres aligned.

    On equal pixels an odd side is cut, centre pixel to centre pixel, not shifted by half a pixel.
    """
    centre = inputs // 2 - outputs // 2 + outputs / 2 if ratio == 1 else inputs / 2
    lower = (np.arange(outputs)[:, None] - outputs / 2) * ratio + centre
    pixel = np.arange(inputs)
    return np.clip(np.minimum(lower + ratio, pixel + 1) - np.maximum(lower, pixel), 0, None)


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


def _position(band: str, names: Sequence[str]) -> int:
    """Where `band` is among `names`: by its name, else as a word of one ("SDSS-r")."""
    exact = [k for k, name in enumerate(names) if name.strip().lower() == band.lower()]
    words = [re.split(r"[^a-z0-9]+", name.lower()) for name in names]
    found = exact or [k for k, parts in enumerate(words) if band.lower() in parts]
    if len(found) != 1:
        problem = "lacks" if not found else "has more than one"
        raise CutoutError(f"{problem} band {band}; its bands are {', '.join(names)}")
    return found[0]
