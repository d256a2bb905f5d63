"""Synthetic photometry against speclite's own."""

import numpy as np
import pytest

from datasets.constants import SDSS_BANDS
from datasets.synthetic_photometry import filter_weights


def test_filters_agree_with_speclite():
    from astropy import units
    from speclite.filters import load_filters

    wavelength = np.geomspace(2800, 11500, 6000)
    flux = 3.0 + (wavelength - 6000) / 4000 + 0.3 * np.sin(wavelength / 200)
    ours = np.trapezoid(flux * filter_weights(wavelength), wavelength)
    table = load_filters("sdss2010-*").get_ab_magnitudes(
        flux * 1e-17 * units.erg / units.s / units.cm**2 / units.AA, wavelength * units.AA
    )
    theirs = [table[f"sdss2010-{band}"][0] for band in SDSS_BANDS]
    np.testing.assert_allclose(22.5 - 2.5 * np.log10(ours), theirs, atol=2e-3)


def test_unknown_bands_are_refused():
    with pytest.raises(ValueError, match="'y'"):
        filter_weights(np.linspace(3000, 9000, 10), ("g", "y"))
