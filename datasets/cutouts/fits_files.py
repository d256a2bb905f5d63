"""Cutouts in FITS files: a cube, or one band per extension or per file; and writing them.

Bands are named by `BANDS` ("u,g,r,i,z" or "ugriz") or `BAND1` … in a cube, by `BAND`,
`FILTER` or `EXTNAME` of each extension; the unit is `BUNIT`; the pixel scale s comes from
the world coordinates, s² = |det CD| with CD their matrix of degrees per pixel, or `PIXSCALE`.
"""

from __future__ import annotations

import math
import warnings
from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning
from astropy.wcs import WCS

from datasets.atomic_files import atomic_path
from datasets.cutouts.formats import CutoutError, RawCutout, check_shape, split_bands, stated_fields
from datasets.file_limits import check_bytes

PIXEL_BYTES = 4  # as read: float32, and more only for images that are float64 or scaled


def read_fits(path: Path) -> Iterator[RawCutout]:
    """The first image of three axes (one cutout) or four (many), else all 2-D images as bands."""
    with ExitStack() as stack:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AstropyWarning)  # of blemishes; the rest is checked
            hdus = stack.enter_context(fits.open(path, memmap=False))
            chosen, bands, about = _chosen(hdus)
            if len(chosen[0].shape) < 4:
                planes = [hdu.data for hdu in chosen]
        if len(chosen[0].shape) < 4:
            yield RawCutout(planes[0] if planes[0].ndim == 3 else planes, bands, **about)
            return
        for index in range(chosen[0].shape[0]):  # one at a time
            yield RawCutout(chosen[0].section[index], bands, **about, index=index)


def _chosen(hdus: fits.HDUList) -> tuple[list, tuple[str, ...] | None, dict[str, Any]]:
    """The HDUs that make a cutout, their bands, and what their headers state."""
    images = [hdu for hdu in hdus if hdu.is_image and hdu.header.get("NAXIS", 0) >= 2]
    if not images:
        raise CutoutError("holds no image")
    cube = next((hdu for hdu in images if hdu.header["NAXIS"] > 2), None)
    chosen = images if cube is None else [cube]
    for hdu in chosen:
        check_shape(hdu.shape, PIXEL_BYTES)
    if cube is not None:
        about = _about([cube.header, hdus[0].header])
        return chosen, _bands_of_cube(ChainMap(cube.header, hdus[0].header)), about
    check_bytes([sum(math.prod(hdu.shape) for hdu in chosen)], PIXEL_BYTES)
    return chosen, _bands_of_planes(chosen), _about([chosen[0].header, hdus[0].header])


def read_band_files(paths: Mapping[str, Path]) -> RawCutout:
    """One cutout from FITS files of one band each, `{band: path}`."""
    parts = {band: next(read_fits(path)) for band, path in paths.items()}
    first = next(iter(parts.values()))
    for band, part in parts.items():
        if len(part.planes) != 1:
            raise CutoutError(f"the file of band {band} holds more than one image")
        if part.unit != first.unit:
            raise CutoutError(f"bands in different units: {first.unit} and {part.unit}")
        scales = [part.pixel_scale_arcsec or 0.0, first.pixel_scale_arcsec or 0.0]
        if not math.isclose(*scales, rel_tol=5e-3):
            raise CutoutError("bands of different pixel scales: resample them to one grid first")
    about = {name: getattr(first, name) for name in RawCutout.__dataclass_fields__}
    about.update(planes=[part.planes[0] for part in parts.values()], bands=tuple(parts))
    return RawCutout(**about)


def _bands_of_planes(hdus: Sequence) -> tuple[str, ...] | None:
    keys = ("BAND", "FILTER", "EXTNAME")
    names = [next((str(h.header[k]) for k in keys if h.header.get(k)), "") for h in hdus]
    return tuple(names) if any(names) else None


def _bands_of_cube(header: Mapping[str, Any]) -> tuple[str, ...] | None:
    if header.get("BANDS"):
        return split_bands(str(header["BANDS"]))
    numbered, number = [], 0 if "BAND0" in header else 1
    while f"BAND{number}" in header:
        numbered.append(str(header[f"BAND{number}"]))
        number += 1
    return tuple(numbered) or None


def _about(headers: Sequence[fits.Header]) -> dict[str, Any]:
    """What the headers, the most specific first, state about the image."""
    stated = ChainMap(*({key.lower(): value for key, value in h.items() if key} for h in headers))
    scale, ra, dec, radius = _sky_geometry(headers[0])
    if scale is None and (stated.get("pixscale") or stated.get("pixscal1")):
        scale = float(stated.get("pixscale") or stated["pixscal1"])
    fields = stated_fields(stated)
    # RA and DEC in the header of a survey's image may be the telescope's: only inside the image.
    east = (fields["ra"] - ra + 180) % 360 - 180
    distance = math.hypot(east * math.cos(math.radians(dec)), fields["dec"] - dec)
    if not math.isnan(ra) and not distance <= radius:
        fields.update(ra=ra, dec=dec)
    unit = stated.get("bunit")
    return {"pixel_scale_arcsec": scale, "unit": str(unit).strip() if unit else None, **fields}


def _sky_geometry(header: fits.Header) -> tuple[float | None, float, float, float]:
    """Pixel scale in arcsec; right ascension, declination of the centre, half-diagonal in deg."""
    header = header.copy()
    if "CTYPE1" not in header and ("CD1_1" in header or "CDELT1" in header):
        header["CTYPE1"], header["CTYPE2"] = "RA---TAN", "DEC--TAN"
    unknown = (None, math.nan, math.nan, math.nan)
    try:
        wcs = WCS(header).celestial
    except ValueError:  # contradictory keywords: as if there were none
        return unknown
    if not wcs.has_celestial or wcs.pixel_shape is None:
        return unknown
    scale = math.sqrt(abs(np.linalg.det(wcs.pixel_scale_matrix)))
    if "CRVAL1" not in header:
        return 3600 * scale, math.nan, math.nan, math.nan
    width, height = wcs.pixel_shape
    ra, dec = wcs.all_pix2world((width - 1) / 2, (height - 1) / 2, 0)
    return 3600 * scale, float(ra), float(dec), scale * math.hypot(width, height) / 2


def write_cutout(
    path: str | Path,
    image: np.ndarray,
    bands: Sequence[str],
    pixel_scale_arcsec: float,
    *,
    ra: float,
    dec: float,
    identifier: int = 0,
    redshift: float | None = None,
    unit: str = "nanomaggy",
) -> None:
    """Write one cutout, atomically, as a FITS cube that this module and image viewers understand.

    Args:
        path: Suffix included.
        image: (bands, height, width), flux per pixel in `unit`, the galaxy in the centre.
        bands: Their names.
        pixel_scale_arcsec: North is up, east to the left.
        ra, dec: Of the centre, degrees (ICRS).
        identifier: The survey's number of the object, up to 64 bits; 0 = none.
        redshift: Written if given.
        unit: Of the image.
    """
    height, width = np.shape(image)[-2:]
    hdu = fits.PrimaryHDU(np.asarray(image, dtype=np.float32))
    degrees = pixel_scale_arcsec / 3600
    hdu.header.update(
        {
            "BUNIT": unit, "BANDS": ",".join(bands), "PIXSCALE": (pixel_scale_arcsec, "arcsec"),
            "RA": ra, "DEC": dec, "OBJID": int(identifier), "WCSAXES": 2,
            "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CUNIT1": "deg", "CUNIT2": "deg",
            "CRPIX1": (width + 1) / 2, "CRPIX2": (height + 1) / 2, "CRVAL1": ra, "CRVAL2": dec,
            "CDELT1": -degrees, "CDELT2": degrees,
        }
    )  # fmt: skip
    if redshift is not None:
        hdu.header["REDSHIFT"] = redshift
    with atomic_path(path) as temporary:
        hdu.writeto(temporary, overwrite=True, output_verify="exception")
