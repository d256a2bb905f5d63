"""What FITS headers state about an image, by the conventions of the surveys.

- Flux: `BUNIT`; where it is missing or counts, the zero point of counts: `FLUXMAG0` (HSC),
  `FPA.ZP` and `EXPTIME` (Pan-STARRS), `PHOTFLAM` and `PHOTPLAM` (HST; with
  `EXPTIME`, of counts of the whole exposure), or one of `ZERO_POINTS`.
  `BSOFTEN` and `BOFFSET` (Pan-STARRS) mark counts on an asinh scale, which are made linear.
- Pixel scale: the world coordinates, s² = |det CD| with CD their matrix of degrees per pixel; where
  there are none, or none that a survey can have, one of `PIXEL_SCALES`.
- Planes that are no bands (weights, masks, …): `EXTNAME`, `IMAGETYP`, `IMTYPE`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from astropy.coordinates import ICRS
from astropy.io import fits
from astropy.wcs import WCS

from datasets.cutouts.formats import PLAUSIBLE_PIXELS_ARCSEC, CutoutError, is_no_band

COUNTS = re.compile(
    r"(adu|counts?|cts?|dn|e-?|electrons?|photons?)((\s*/\s*|\s+per\s+)s(ec(ond)?)?|\s*s\^?-1)?",
    re.IGNORECASE,
)
ZERO_POINTS = (  # keywords of the AB magnitude of one count
    "MAGZERO", "MAGZEROP", "MAGZPT", "MAGZP", "MAG_ZERO", "MAG0", "PHOTZP", "ZEROPOINT", "ZEROPNT",
    "ZEROPT", "ZPOINT", "ZPAB", "ABZP", "ABMAGZP", "ZP", "ZPT",
)  # fmt: skip
PIXEL_SCALES = ("PIXSCALE", "PIXSCAL1", "PIXELSCL", "PIXSIZE", "SECPIX", "SECPIX1")  # arcsec
ASINH = 2.5 * math.log10(math.e)  # Pan-STARRS: v = 2.5 log10(e) asinh((counts - BOFFSET)/2 BSOFTEN)
ANGLES = {"deg": 3600.0, "degree": 3600.0, "degrees": 3600.0, "arcmin": 60.0, "mas": 1e-3}


def is_band(header: Mapping[str, Any]) -> bool:
    """Whether a plane is an image, and not its weight, variance, mask or the like."""
    return not any(is_no_band(str(header.get(k, ""))) for k in ("EXTNAME", "IMAGETYP", "IMTYPE"))


def flux_unit(header: Mapping[str, Any], remarks: list[str]) -> str | None:
    """The unit of an image: its `BUNIT`, or "AB zero point 27.0" of counts; None if unknown."""
    unit = str(header.get("BUNIT", "")).strip()
    counts = COUNTS.fullmatch(unit)
    if unit and not counts:
        return unit
    zero_point, keyword = _zero_point(header, rate=not counts or bool(counts[2]))
    if zero_point is None:
        return unit or None
    system = str(header.get("MAGSYS", header.get("PHOTSYS", "AB"))).strip().upper()
    if not system.startswith("AB"):
        return f"{system} zero point of {keyword}"  # refused, unless the user states another
    remarks.append(f"counts converted with the zero point of {keyword}")
    return f"AB zero point {zero_point:.6f}"


def _zero_point(header: Mapping[str, Any], rate: bool) -> tuple[float | None, str]:
    """The AB magnitude of one count, and where it stands; None without one.

    Args:
        header: of the plane and of its file.
        rate: the pixels are counts per second, not of the whole exposure.
    """
    if _number(header, "FLUXMAG0", positive=True):
        return 2.5 * math.log10(header["FLUXMAG0"]), "FLUXMAG0"
    if _number(header, "FPA.ZP") and _number(header, "EXPTIME", positive=True):
        return header["FPA.ZP"] + 2.5 * math.log10(header["EXPTIME"]), "FPA.ZP and EXPTIME"
    needed = ("PHOTFLAM", "PHOTPLAM") if rate else ("PHOTFLAM", "PHOTPLAM", "EXPTIME")
    if all(_number(header, keyword, positive=True) for keyword in needed):
        # STScI, "ACS zeropoints": AB from erg/s/cm²/Å per count/s at the pivot wavelength
        flam, pivot = header["PHOTFLAM"] / (1 if rate else header["EXPTIME"]), header["PHOTPLAM"]
        return -2.5 * math.log10(flam) - 5 * math.log10(pivot) - 2.408, " and ".join(needed)
    for keyword in ZERO_POINTS:
        if _number(header, keyword, positive=True):
            return float(header[keyword]), keyword
    return None, ""


def _number(header: Mapping[str, Any], keyword: str, positive: bool = False) -> bool:
    value = header.get(keyword)
    known = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return known and (value > 0 or not positive)


def linear(plane: np.ndarray, header: Mapping[str, Any], remarks: list[str]) -> np.ndarray:
    """The counts of a plane that may be on Pan-STARRS' asinh scale."""
    if not (_number(header, "BSOFTEN", positive=True) and _number(header, "BOFFSET")):
        return plane
    remarks.append("asinh scale of BSOFTEN and BOFFSET made linear")
    stretched = plane.astype(np.float64) / ASINH
    return header["BOFFSET"] + 2 * header["BSOFTEN"] * np.sinh(stretched)


def pixel_scale(
    headers: Sequence[Mapping[str, Any]], of_wcs: float | None, remarks: list[str]
) -> float | None:
    """Arcsec per pixel; None where nothing states it.

    Args:
        headers: of the plane and of its file.
        of_wcs: from the world coordinates.
        remarks: what was not believed is added.

    Returns:
        A scale that a survey can have; or, where there is only an impossible one, that one, so that
        the conversion can name it.
    """
    low, high = PLAUSIBLE_PIXELS_ARCSEC
    if of_wcs is not None and low <= of_wcs <= high:
        return of_wcs
    for keyword in PIXEL_SCALES:
        stated = next((header[keyword] for header in headers if header.get(keyword)), None)
        scale = None if stated is None else _arcsec(stated)
        if scale is not None and (of_wcs is None or low <= scale <= high):
            if of_wcs is not None:
                remarks.append(
                    f"pixel scale {scale:g} arcsec of {keyword}, as the world coordinates give "
                    f"{of_wcs:g}"
                )
            return scale
    return of_wcs


def _arcsec(value: Any) -> float | None:
    """0.396, "0.396", '0.396"', "0.396 arcsec/pix", "1.1e-4 deg" or "-0.396" in arcsec."""
    number = re.match(r"\s*([-+]?[\d.]+(?:[eE][-+]?\d+)?)\s*([A-Za-z]*)", str(value))
    try:
        return abs(float(number[1])) * ANGLES.get(number[2].lower(), 1.0) if number else None
    except ValueError:
        return None


def sky_geometry(header: fits.Header) -> tuple[float | None, float, float, float, np.ndarray]:
    """Pixel scale in arcsec; right ascension, declination (ICRS) of the centre and half-diagonal,
    in degrees; directions (axis, to the east and north) of the columns and rows, of length 1. What
    the header does not state is None or NaN."""
    header = header.copy()
    if "CTYPE1" not in header and ("CD1_1" in header or "CDELT1" in header):
        header["CTYPE1"], header["CTYPE2"] = "RA---TAN", "DEC--TAN"
    nowhere = math.nan, math.nan, math.nan, np.full((2, 2), math.nan)
    try:
        wcs = WCS(header).celestial
    except Exception:  # contradictory keywords, of which wcslib knows many: as if there were none
        return None, *nowhere
    if not wcs.has_celestial or wcs.pixel_shape is None:
        return None, *nowhere
    scale = math.sqrt(abs(np.linalg.det(wcs.pixel_scale_matrix)))
    believed = PLAUSIBLE_PIXELS_ARCSEC[0] <= 3600 * scale <= PLAUSIBLE_PIXELS_ARCSEC[1]
    if believed and not math.isclose(*np.hypot(*wcs.pixel_scale_matrix), rel_tol=0.01):
        raise CutoutError("pixels are not square: resample the image first")
    if "CRVAL1" not in header or not believed:
        return 3600 * scale, *nowhere
    width, height = wcs.pixel_shape
    column, row = (width - 1) / 2, (height - 1) / 2
    ra, dec = _positions(wcs, column + np.array([0, 1, 0]), row + np.array([0, 0, 1]))
    east = ((ra[1:] - ra[0] + 180) % 360 - 180) * math.cos(math.radians(dec[0]))
    axes = np.stack([east, dec[1:] - dec[0]], axis=1)
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    return 3600 * scale, float(ra[0]), float(dec[0]), scale * math.hypot(width, height) / 2, axes


def _positions(wcs: WCS, columns: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """ICRS coordinates of pixels, in degrees, whatever the frame of the header; NaN if it has none
    that can be converted."""
    modern = wcs.wcs.radesys.strip() in ("", "ICRS", "FK5") and wcs.wcs.equinox != 1950.0
    if modern and wcs.wcs.ctype[0].startswith("RA--"):
        return tuple(wcs.all_pix2world(columns, rows, 0))
    try:
        positions = wcs.pixel_to_world(columns, rows).transform_to(ICRS())
    except Exception:  # a frame that astropy does not know
        return np.full_like(columns, math.nan), np.full_like(columns, math.nan)
    return positions.ra.deg, positions.dec.deg
