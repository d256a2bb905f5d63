"""Small SDSS spec files of the various versions, for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from astropy.io import fits

from datasets.sdss.spec_files import spec_object_parts


def write_spec_file(
    path: Path,
    identifier: int,
    loglam: np.ndarray,
    flux: np.ndarray,
    *,
    upper: bool = False,
    names: bool = True,
    **changes,
) -> Path:
    """Write a spec file with the columns that are read.

    Args:
        path: The file.
        identifier: specObjID, from which plate, MJD, fiber and run2d follow.
        loglam, flux: (n,) of the pixels.
        upper: Column names in capitals.
        names: HDUs have names.
        changes: Object column → (FITS format, value), or None for no such column.

    Returns:
        The path.
    """
    plate, mjd, fiber, run2d = spec_object_parts(identifier)
    count = len(loglam)
    pixels = {
        "flux": ("E", flux), "loglam": ("E", loglam), "ivar": ("E", np.ones(count)),
        "and_mask": ("J", np.full(count, 1 << 27)),
    }  # fmt: skip
    row = {
        "PLATE": ("J", plate), "MJD": ("J", mjd), "FIBERID": ("J", fiber), "RUN2D": ("7A", run2d),
        "SPECOBJID": ("22A", f"  {identifier}"), "Z": ("E", 0.1), "ZWARNING": ("J", 0),
        "CLASS": ("6A", "GALAXY"), "SUBCLASS": ("11A", "STARFORMING"),
        "PLUG_RA": ("D", 123.456789012345), "PLUG_DEC": ("D", -1.5), **changes,
    }  # fmt: skip
    columns = [
        [fits.Column(n.upper() if upper else n, v[0], array=v[1]) for n, v in pixels.items()],
        [fits.Column(n, v[0], array=[v[1]]) for n, v in row.items() if v is not None],
    ]
    hdus = [fits.BinTableHDU.from_columns(c) for c in columns]
    for hdu, name in zip(hdus, ("COADD", "SPECOBJ"), strict=True):
        hdu.name = name if names else ""
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(path)
    return path
