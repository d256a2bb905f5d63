"""Catalogue columns of spectra whose lines, colours and identifiers are set by construction."""

from dataclasses import replace

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.table import Table

from datasets.survey import Survey
from datasets.synthetic_photometry import synthetic_colours
from tests.utils.generation.test_fits_output import spectrum
from utils.generation import catalogue_output
from utils.generation.catalogue_output import COLOUR_LIMIT_MAG, write_generated_catalogue
from utils.generation.fits_output import write_spectrum

Z = 0.08


def galaxy(halpha_ew: float, scale: float | None = 10.0, candidates: int = 3):
    """A flat continuum with Hα of a known rest-frame width, the same in all candidates."""
    plain = spectrum(scale=scale)
    wavelength = plain.wavelength_angstrom
    flux = np.ones_like(wavelength)
    sigma = 3.0
    for rest, share in ((6564.61, 1.0), (4862.68, 0.35), (5008.24, 0.3), (6585.27, 0.4)):
        line = np.exp(-0.5 * ((wavelength - rest * (1 + Z)) / sigma) ** 2)
        flux += share * halpha_ew * (1 + Z) / (sigma * np.sqrt(2 * np.pi)) * line
    noise = np.random.default_rng(0).normal(0, 0.005, (candidates, len(flux)))
    drawn = (flux + noise).astype(np.float32)
    return replace(plain, candidates=drawn, mean=drawn.mean(0), redshift=Z)


def catalogue(tmp_path, spectra, measured=True):
    paths = []
    for number, one in enumerate(spectra):
        paths.append(tmp_path / f"{number}.fits")
        write_spectrum(paths[-1], one)
    write_generated_catalogue(tmp_path / "catalogue.fits", paths, measured=measured)
    return Table.read(tmp_path / "catalogue.fits")


def test_measured_columns_recover_redshift_and_line_width(tmp_path):
    table = catalogue(tmp_path, [galaxy(30.0), galaxy(8.0)])
    np.testing.assert_allclose(table["z"], Z, atol=2e-4)
    np.testing.assert_allclose(table["Halpha_ew"], [30.0, 8.0], rtol=0.05)
    assert np.all(table["Halpha_ew_err"] < 1.0)  # the scatter of candidates that hardly differ
    assert table["Halpha_ew"].unit == u.Angstrom


def test_line_fluxes_are_physical_or_unknown(tmp_path):
    table = catalogue(tmp_path, [galaxy(30.0, scale=10.0), galaxy(30.0, scale=None)])
    expected = 10.0 * 30.0 * (1 + Z)  # 1e-17 erg/s/cm²: EW times continuum, in observed Å
    assert table["Halpha_flux"][0] == pytest.approx(expected, rel=0.05)
    assert table["Halpha_flux"].mask.tolist() == [False, True]
    assert table["Halpha_flux"].unit.is_equivalent("erg / (s cm2)")


def test_identifiers_of_all_sizes_stay_exact_side_by_side(tmp_path, monkeypatch):
    monkeypatch.setattr(catalogue_output, "BLOCK", 2)
    identifiers = [2**63 + 1025, 5, 0, 2**53 + 1]  # the last two in another block
    table = catalogue(tmp_path, [replace(spectrum(), identifier=n) for n in identifiers], False)
    assert table["identifier"].dtype == np.uint64
    assert table["identifier"].tolist() == identifiers
    with fits.open(tmp_path / "catalogue.fits") as hdus:
        column = hdus["CATALOGUE"].columns["identifier"]
        assert (column.format, column.bzero) == ("K", 2**63)


def test_colours_are_compared_with_the_cutout(tmp_path):
    plain = galaxy(1.0)
    own = synthetic_colours(plain.wavelength_angstrom, plain.best)
    agrees = replace(plain, image_colours=tuple(own - [0.02, -0.01]))
    differs = replace(plain, image_colours=(own[0], own[1] + 2 * COLOUR_LIMIT_MAG))
    table = catalogue(tmp_path, [agrees, differs, plain], measured=False)
    np.testing.assert_allclose(table["delta_gr"][:2], [0.02, 0.0], atol=1e-4)
    np.testing.assert_allclose(table["delta_ri"][:2], [-0.01, -2 * COLOUR_LIMIT_MAG], atol=1e-4)
    assert table["colour_flag"].tolist() == [False, True, False]  # unknown is not wrong
    assert table["delta_gr"].mask.tolist() == [False, False, True]
    assert "Dn4000" not in table.colnames


def test_generate_measures_unless_told_otherwise(tiny_survey, tiny_generator, tmp_path):
    import generate
    from datasets.cutouts.export import export

    export(Survey(tiny_survey), tmp_path / "cutouts", "test", 2)
    for name, more in (("with", []), ("without", ["--no-measure", "--rank", "both"])):
        arguments = [str(tmp_path / "cutouts"), "--checkpoint", str(tiny_generator)]
        arguments += ["--output", str(tmp_path / name), "--device", "cpu", "--no-pictures"]
        assert generate.main([*arguments, *more]) == 0
    measured, plain = (Table.read(tmp_path / n / "catalogue.fits") for n in ("with", "without"))
    assert {"Dn4000", "z_err", "bpt_share", "delta_gr"} <= set(measured.colnames)
    assert "Dn4000" not in plain.colnames and np.isfinite(plain["delta_gr"]).all()
