"""Cutouts in FITS files: a cube, or one band per extension or per file; and writing them.

Bands are named by `BANDS` ("u,g,r,i,z" or "ugriz") or `BAND1` … in a cube, by `BAND`, `FILTER` or
`EXTNAME` of each extension. Units and pixel scales, each band's own: `datasets.cutouts.headers`.
"""

from __future__ import annotations

import math
import warnings
from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning
from astropy.wcs import WCS

from datasets.atomic_files import atomic_path
from datasets.cutouts.formats import CutoutError, RawCutout, check_shape, split_bands, stated_fields
from datasets.cutouts.headers import flux_unit, is_band, linear, pixel_scale, sky_geometry
from datasets.file_limits import check_bytes
from datasets.fits_input import open_fits

MAX_TURN_DEGREES = 2.0  # between the bands of a cutout: a pixel, 30 px from the centre
PIXEL_BYTES = 4  # as read: float32, and more only for images that are float64 or scaled


def read_fits(path: Path) -> Iterator[RawCutout]:
    """The first image of three axes (one cutout) or four (many), else all 2-D images as bands."""
    with ExitStack() as stack:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AstropyWarning)  # of blemishes; the rest is checked
            hdus = stack.enter_context(open_fits(path))
            remarks: list[str] = []
            chosen = _chosen(hdus, remarks)
            about = _about(chosen, hdus[0].header, remarks)
            many = len(chosen[0].shape) == 4
            headers = [ChainMap(hdu.header, hdus[0].header) for hdu in chosen]
            planes = [
                linear(hdu.data, header, remarks)
                for hdu, header in zip(chosen, headers, strict=True)
                if not many
            ]
        about["remarks"] = tuple(dict.fromkeys(remarks))
        if not many:
            yield RawCutout(planes[0] if planes[0].ndim == 3 else planes, **about)
            return
        for index in range(chosen[0].shape[0]):  # one at a time
            plane = linear(chosen[0].section[index], headers[0], [])
            yield RawCutout(plane, **about, index=index)


def _chosen(hdus: fits.HDUList, remarks: list[str]) -> list:
    """The HDUs that make a cutout: a cube, or a plane for each band."""
    images = [hdu for hdu in hdus if hdu.is_image and hdu.header.get("NAXIS", 0) >= 2]
    if not images:
        raise CutoutError("holds no image")
    bands = [hdu for hdu in images if is_band(hdu.header)]
    if not bands:
        raise CutoutError(f"holds no image but {', '.join(hdu.name or '?' for hdu in images)}")
    cubes = [hdu for hdu in bands if hdu.header["NAXIS"] > 2]
    if len(cubes) > 1:
        raise CutoutError(f"holds {len(cubes)} cubes, {', '.join(map(_called, cubes))}: keep one")
    chosen = cubes or bands
    others = [hdu for hdu in images if not any(hdu is one for one in chosen)]
    if others:
        names = sorted({_called(hdu) for hdu in others})
        remarks.append(f"planes passed over: {', '.join(names)}")
    for hdu in chosen:
        check_shape(hdu.shape, PIXEL_BYTES)
    if not cubes:
        check_bytes([sum(math.prod(hdu.shape) for hdu in chosen)], PIXEL_BYTES)
    return chosen


def _called(hdu: Any) -> str:
    """A plane by what its header says that it is."""
    return str(hdu.header.get("IMAGETYP") or hdu.header.get("IMTYPE") or hdu.name or "unnamed")


def read_band_files(paths: Mapping[str, Path]) -> RawCutout:
    """One cutout from FITS files of one band each, `{band: path}`."""
    parts = {band: next(read_fits(path)) for band, path in paths.items()}
    for band, part in parts.items():
        if len(part.planes) != 1 or part.index is not None:
            raise CutoutError(f"the file of band {band} holds more than one image")
    first = next(iter(parts.values()))
    remarks = [remark for part in parts.values() for remark in part.remarks]
    _check_axes([paths[band].name for band in parts], [part.axes for part in parts.values()])
    remarks += _shifted([part.centre for part in parts.values()], first.pixel_scale_arcsec[0])
    return replace(
        first,
        planes=[part.planes[0] for part in parts.values()],
        bands=tuple(parts),
        pixel_scale_arcsec=tuple(part.pixel_scale_arcsec[0] for part in parts.values()),
        unit=tuple(part.unit[0] for part in parts.values()),
        remarks=tuple(dict.fromkeys(remarks)),
    )


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


def _about(hdus: Sequence, primary: fits.Header, remarks: list[str]) -> dict[str, Any]:
    """What the headers of the planes, and of their file, state about the image."""
    headers = [ChainMap(hdu.header, primary) for hdu in hdus]
    cube = len(hdus[0].shape) > 2
    places = [sky_geometry(hdu.header) for hdu in hdus]
    scales = tuple(
        pixel_scale([hdu.header, primary], place[0], remarks)
        for hdu, place in zip(hdus, places, strict=True)
    )
    units = tuple(flux_unit(header, remarks) for header in headers)
    bands = _bands_of_cube(headers[0]) if cube else _bands_of_planes(hdus)
    if not cube:
        names = [f"band {name}" for name in bands or range(1, len(hdus) + 1)]
        _check_axes(names, [place[4] for place in places])
    remarks += _shifted([place[1:3] for place in places], scales[0])
    _, ra, dec, radius, axes = places[0]
    stated = ({key.lower(): value for key, value in h.items() if key} for h in headers[0].maps)
    fields = stated_fields(ChainMap(*stated), remarks)
    # RA and DEC in the header of a survey's image may be the telescope's: only inside the image.
    east = (fields["ra"] - ra + 180) % 360 - 180
    distance = math.hypot(east * math.cos(math.radians(dec)), fields["dec"] - dec)
    if not math.isnan(ra) and not distance <= radius:
        fields.update(ra=ra, dec=dec)
    return {
        "bands": bands,
        "pixel_scale_arcsec": scales,  # of a cube one for all bands
        "unit": units,
        "centre": places[0][1:3],
        "axes": axes,
        **fields,
    }


def _check_axes(names: Sequence[str], axes: Sequence[np.ndarray]) -> None:
    """Refuse bands whose pixels, by their world coordinates, are turned to each other by more than
    `MAX_TURN_DEGREES`, or mirrored; names are those of the bands or of their files."""
    known = [(n, own) for n, own in zip(names, axes, strict=True) if np.isfinite(own).all()]
    for name, own in known[1:]:
        turn = own @ known[0][1].T
        degrees = math.degrees(math.atan2(turn[0, 1] - turn[1, 0], turn.trace()))
        mirrored = np.linalg.det(turn) < 0
        if mirrored or abs(degrees) > MAX_TURN_DEGREES:
            how = "mirrored" if mirrored else f"turned by {abs(degrees):.0f} degrees"
            raise CutoutError(
                f"{name} is {how} against {known[0][0]}, by their world coordinates: resample "
                "all bands to the pixels of one (package reproject)"
            )


def _shifted(centres: Sequence[tuple[float, float]], scale_arcsec: float | None) -> list[str]:
    """A remark if the centres of the bands, by their world coordinates, lie more than a pixel from
    each other."""
    ra, dec = np.array(centres, dtype=float).T
    if not scale_arcsec or np.isnan(ra).any():
        return []
    east = ((ra - ra[0] + 180) % 360 - 180) * math.cos(math.radians(dec[0]))
    pixels = 3600 / scale_arcsec * np.hypot(east[:, None] - east, dec[:, None] - dec).max()
    if pixels <= 1:
        return []
    return [
        f"bands are up to {pixels:.0f} px apart on the sky: cut them out around one position "
        "(SDSS frames: python -m utils.cut_frames)"
    ]


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
    wcs: WCS | None = None,
) -> None:
    """Write one cutout, atomically, as a FITS cube that this module and image viewers understand.

    Args:
        path: Suffix included.
        image: (bands, height, width), flux per pixel in `unit`, the galaxy in the centre.
        bands: Their names.
        pixel_scale_arcsec: Of square pixels.
        ra, dec: Of the centre, degrees (ICRS); left out if NaN.
        identifier: The survey's number of the object, up to 64 bits; 0 = none.
        redshift: Written if given.
        unit: Of the image.
        wcs: World coordinates of the pixels; by default north is up, east to the left.
    """
    height, width = np.shape(image)[-2:]
    hdu = fits.PrimaryHDU(np.asarray(image, dtype=np.float32))
    degrees = pixel_scale_arcsec / 3600
    hdu.header.update(
        BUNIT=unit, BANDS=",".join(bands), PIXSCALE=(pixel_scale_arcsec, "arcsec"),
        OBJID=int(identifier),
    )  # fmt: skip
    if math.isfinite(ra) and math.isfinite(dec):
        hdu.header.update(
            RA=ra, DEC=dec, WCSAXES=2,
            CTYPE1="RA---TAN", CTYPE2="DEC--TAN", CUNIT1="deg", CUNIT2="deg",
            CRPIX1=(width + 1) / 2, CRPIX2=(height + 1) / 2, CRVAL1=ra, CRVAL2=dec,
            CDELT1=-degrees, CDELT2=degrees,
        )  # fmt: skip
    if wcs is not None:
        hdu.header.update(wcs.to_header(relax=True))
    if redshift is not None:
        hdu.header["REDSHIFT"] = redshift
    with atomic_path(path) as temporary:
        hdu.writeto(temporary, overwrite=True, output_verify="exception")
