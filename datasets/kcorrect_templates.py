"""The galaxy templates of kcorrect (Blanton & Roweis 2007, AJ 133, 734), read from the package."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
from astropy.io import fits

DEFAULT = "kcorrect-default-v4.fits"  # five: dusty, strong-lined, star forming, old, post-starburst


def read_templates(name: str = DEFAULT) -> tuple[np.ndarray, np.ndarray]:
    """Rest-frame vacuum wavelengths (m,) in Å and f_λ (T, m), in float64, of a template file.

    Raises:
        ModuleNotFoundError: kcorrect is not installed; it is not imported, only its data are read.
    """
    package = find_spec("kcorrect")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("kcorrect's templates are needed: pip install kcorrect")
    with fits.open(Path(package.origin).parent / "data" / "templates" / name) as file:
        table = file["FLUX"].data
        return table["wave"][0].astype(np.float64), table["flux"][0].astype(np.float64)
