"""Synthetic AB photometry: spectra through the SDSS u, g, r, i, z filters.

The AB flux of a spectrum f_lambda through a filter of (photon) response R is

    f_b = ∫ f_lambda R lambda dlambda / ∫ f_AB R lambda dlambda ,  f_AB = 3631 Jy · c / lambda² ,

in maggies. On a fixed wavelength grid this is a matrix product with the weights computed here.
The filter curves are those of Doi et al. (2010, AJ 139, 1628), read from speclite.
"""

from __future__ import annotations

import numpy as np

SDSS_BANDS = ("u", "g", "r", "i", "z")
LIGHT_KMS = 299792.458
# 3631 Jy times c, in 1e-17 erg/s/cm² Å: f_lambda of a source of magnitude 0 at 1 Å.
AB_ZERO_1E17 = 3631e-23 * LIGHT_KMS * 1e13 * 1e17


def filter_weights(
    wavelength_angstrom: np.ndarray, bands: tuple[str, ...] = SDSS_BANDS
) -> np.ndarray:
    """Weights per Å that turn a spectrum into nanomaggies.

    Arguments: ``wavelength_angstrom`` (P,) increasing, vacuum Å, observed frame; ``bands`` of
    "u", "g", "r", "i", "z".
    Returns (B, P) float64 ``w``: ``np.trapezoid(flux * w, wavelength_angstrom)`` is the flux in
    nanomaggies for ``flux`` in 1e-17 erg/s/cm²/Å. A filter that reaches beyond the grid counts
    only what lies inside, in the numerator: the caller chooses a grid that covers it.
    Raises ValueError for an unknown band.
    """
    from speclite.filters import load_filter  # slow to import, and only the photometry needs it

    unknown = set(bands) - set(SDSS_BANDS)
    if unknown:
        raise ValueError(f"unknown bands {sorted(unknown)}; SDSS has {SDSS_BANDS}")
    rows = []
    for band in bands:
        curve = load_filter(f"sdss2010-{band}")
        nodes, response = np.asarray(curve.wavelength), np.asarray(curve.response)
        zero = np.trapezoid(AB_ZERO_1E17 / nodes * response, nodes)
        inside = np.interp(wavelength_angstrom, nodes, response, left=0.0, right=0.0)
        rows.append(1e9 * inside * wavelength_angstrom / zero)
    return np.array(rows)
