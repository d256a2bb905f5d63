"""Measuring galaxy spectra: redshift, indices, emission lines, classes, stellar populations.

`measure` does all of it on arrays; `python -m utils.measure` on files. Conventions everywhere:
wavelengths in vacuum and Å, flux density F_λ as an array of N spectra with n pixels, σ in the same
unit or None.
"""

from utils.spectroscopy.galaxy_templates import Templates
from utils.spectroscopy.measurements import column_units, measure, measure_candidates
from utils.spectroscopy.redshift import RedshiftFit, fit_redshift
from utils.spectroscopy.ssp_library import SspLibrary, read_library

__all__ = [
    "RedshiftFit",
    "SspLibrary",
    "Templates",
    "column_units",
    "fit_redshift",
    "measure",
    "measure_candidates",
    "read_library",
]
