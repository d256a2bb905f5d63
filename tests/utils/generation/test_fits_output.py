"""The files we write, as specutils, astropy tables and we ourselves read them."""

import os
from dataclasses import fields, replace

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.table import Table
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtri
from specutils import Spectrum

from datasets.errors import UserError
from datasets.spectra import candidate_sigma
from datasets.synthetic_photometry import synthetic_nanomaggies
from utils.generation.catalogue_output import write_catalogue
from utils.generation.fits_output import (
    GeneratedSpectrum,
    Provenance,
    read_spectrum,
    write_spectrum,
)

GRIDS = {
    "full": np.arange(4000.0, 8500.0),
    "low": np.arange(4000.0, 8500.0, 8.0),
    "native": 10 ** (3.5901 + 1e-4 * np.arange(3598)),
}
PROVENANCE = Provenance(
    seed=7,
    sampled=16,
    sampler="dpm, 20 steps",
    checkpoints=("best.pt 0123456789ab", "super.pt 456789abcdef"),
    code_version="0.1.0+abc",
    normalisation="median of 5500-7000 Angstrom",
    smoothing_sigma_angstrom=2.0,
)
FLUX_UNIT = u.Unit("1e-17 erg / (s cm2 Angstrom)")


def spectrum(grid: str = "full", scale: float | None = 12.5, kept: int = 3) -> GeneratedSpectrum:
    generator = np.random.default_rng(3)
    wavelength = GRIDS[grid]
    drawn = generator.lognormal(0, 0.1, (16, len(wavelength))).astype(np.float32)
    return GeneratedSpectrum(
        name="galaxy#3",
        wavelength_angstrom=wavelength,
        candidates=drawn[:kept],
        numbers=np.arange(kept, dtype=np.int32)[::-1].copy(),
        scores=np.linspace(0.9, 0.1, kept, dtype=np.float32),
        mean=drawn.mean(0),
        sigma=candidate_sigma(drawn),
        provenance=PROVENANCE,
        scale=scale,
        source="cutouts/galaxy.npz",
        ra=150.25,
        dec=-0.125,
        identifier=1237648721217716541,
        redshift=0.0925,
    )


@pytest.mark.parametrize("grid", GRIDS)
def test_specutils_opens_a_calibrated_spectrum_without_arguments(grid, tmp_path):
    path, written = tmp_path / "a.fits", spectrum(grid)
    write_spectrum(path, written)
    read = Spectrum.read(path)
    assert read.spectral_axis.unit == u.Angstrom
    np.testing.assert_array_equal(read.spectral_axis.value, GRIDS[grid])
    flux, sigma = read.flux.to_value(FLUX_UNIT), read.uncertainty.quantity.to_value(FLUX_UNIT)
    np.testing.assert_allclose(flux, 12.5 * written.best, rtol=1e-6)
    np.testing.assert_allclose(sigma, 12.5 * written.sigma, rtol=1e-6)
    assert read.uncertainty.uncertainty_type == "std"


@pytest.mark.parametrize("grid", GRIDS)
def test_specutils_opens_a_normalised_spectrum_without_arguments(grid, tmp_path):
    path, written = tmp_path / "a.fits", spectrum(grid, scale=None)
    write_spectrum(path, written)
    read = Spectrum.read(path)
    np.testing.assert_allclose(read.spectral_axis.to_value("Angstrom"), GRIDS[grid], rtol=1e-9)
    assert read.flux.unit == u.dimensionless_unscaled
    np.testing.assert_array_equal(read.flux.value, written.best)
    np.testing.assert_array_equal(read.uncertainty.array, written.sigma)


def test_header_has_the_colours_of_image_and_spectrum(tmp_path):
    flux = (GRIDS["full"] / 6000).astype(np.float32) ** 2
    red = replace(spectrum(), candidates=flux[None].repeat(3, axis=0), image_colours=(0.9, 0.4))
    write_spectrum(tmp_path / "a.fits", red)
    header = fits.getheader(tmp_path / "a.fits")
    assert (header["IMAGEGR"], header["IMAGERI"]) == (0.9, 0.4)
    r, i = synthetic_nanomaggies(GRIDS["full"], flux, ("r", "i"))
    assert header["SPECRI"] == pytest.approx(-2.5 * np.log10(r / i), abs=2e-3)
    assert header["SPECGR"] == pytest.approx(red.colours[0])
    assert header["DELTARI"] == pytest.approx(header["SPECRI"] - 0.4)


@pytest.mark.parametrize("scale", [None, 12.5, 1e-5 / 3])
def test_everything_comes_back(scale, tmp_path):
    small = -0.013433657813944677  # more digits than a header holds
    colours = {"image_colours": (small, 1e-9 * small)}
    written = replace(spectrum(scale=scale), dec=small, image_p_value=1 / 3e7, **colours)
    write_spectrum(tmp_path / "a.fits", written)
    read = read_spectrum(tmp_path / "a.fits")
    for field in fields(written):
        np.testing.assert_array_equal(getattr(read, field.name), getattr(written, field.name))
    assert isinstance(read.identifier, int)


@pytest.mark.parametrize(("written", "read"), [(2**63 + 1025, 2**63 + 1025), (0, 0), (-1, 0)])
def test_identifiers_are_exact_unsigned_integers(written, read, tmp_path):
    write_spectrum(tmp_path / "a.fits", replace(spectrum(), identifier=written))
    assert fits.getval(tmp_path / "a.fits", "OBJID") == written
    assert read_spectrum(tmp_path / "a.fits").identifier == read


def test_tables_show_the_columns_with_units(tmp_path):
    write_spectrum(tmp_path / "a.fits", spectrum())
    table = Table.read(tmp_path / "a.fits", hdu="SPECTRUM")
    assert table["wavelength"].dtype.kind == "f" and table["wavelength"].dtype.itemsize == 8
    assert u.Unit(table["flux"].unit) == FLUX_UNIT == u.Unit(table["uncertainty"].unit)
    assert all(table[name].unit is None for name in table.colnames if "normalised" in name)
    ratio = table["flux"] / table["normalised_flux"]
    np.testing.assert_allclose(ratio, fits.getval(tmp_path / "a.fits", "FLXSCALE"), rtol=1e-6)


def test_the_header_says_that_it_is_generated_and_how(tmp_path):
    write_spectrum(tmp_path / "a.fits", spectrum())
    header = fits.getheader(tmp_path / "a.fits")
    assert header["OBSERVED"] is False and header["VACUUM"] is True
    assert (header["FRAME"], header["LSFSIGMA"]) == ("observed", 2.0)
    assert (header["SEED"], header["NDRAWN"]) == (7, 16)
    assert header["NORM"] == PROVENANCE.normalisation
    assert header["CKPT2"] == PROVENANCE.checkpoints[1]
    assert "TELESCOP" not in header  # specutils would expect an SDSS file


def test_unknown_values_are_absent_and_odd_names_are_escaped(tmp_path):
    written = replace(
        spectrum(), ra=np.nan, dec=-np.inf, redshift=np.inf, source="Ünïcode/" + "x" * 100
    )
    write_spectrum(tmp_path / "a.fits", written)
    header = fits.getheader(tmp_path / "a.fits")
    assert not {"RA", "DEC", "REDSHIFT"} & set(header)
    read = read_spectrum(tmp_path / "a.fits")
    assert np.isnan(read.ra) and read.source == "\\xdcn\\xefcode/" + "x" * 100
    assert len(Spectrum.read(tmp_path / "a.fits").flux) == 4500


def test_redshifts_and_their_probability_come_back(tmp_path):
    edges, probability = np.linspace(0.05, 0.15, 11), np.full(10, 0.1)
    written = replace(
        spectrum(kept=2),
        redshifts=np.array([0.07, np.nan], np.float32),
        snrs=np.array([np.inf, 12.5], np.float32),
        redshift_pdf=(edges.astype(np.float32), probability.astype(np.float32)),
    )
    write_spectrum(tmp_path / "a.fits", written)
    read = read_spectrum(tmp_path / "a.fits")
    np.testing.assert_array_equal(read.redshifts, written.redshifts)
    np.testing.assert_array_equal(read.snrs, written.snrs)
    for ours, theirs in zip(written.redshift_pdf, read.redshift_pdf, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    write_spectrum(tmp_path / "b.fits", spectrum())
    without = read_spectrum(tmp_path / "b.fits")
    assert without.redshifts is None and without.redshift_pdf is None
    assert without.snrs is None


def test_a_single_candidate_has_no_uncertainty(tmp_path):
    one = spectrum(kept=1)
    one = replace(one, sigma=candidate_sigma(one.candidates))
    write_spectrum(tmp_path / "a.fits", one)
    assert np.isnan(Spectrum.read(tmp_path / "a.fits").uncertainty.array).all()


def test_equal_input_gives_equal_bytes_and_no_leftovers(tmp_path):
    for name in ("a.fits", "b.fits"):
        write_spectrum(tmp_path / name, spectrum())
        write_catalogue(tmp_path / f"catalogue_{name}", {"name": ["a", "b"], "z": [0.1, 0.2]})
    for stem in ("", "catalogue_"):
        first, second = ((tmp_path / f"{stem}{x}.fits").read_bytes() for x in "ab")
        assert first == second
    assert len(os.listdir(tmp_path)) == 4


def test_other_files_are_refused_by_name(tmp_path):
    fits.PrimaryHDU().writeto(tmp_path / "other.fits")
    with pytest.raises(UserError, match=r"other\.fits is not a generated spectrum"):
        read_spectrum(tmp_path / "other.fits")


@given(st.floats(0.01, 3), st.integers(100, 400))
def test_sigma_of_gaussian_candidates_is_their_standard_deviation(width, count):
    quantiles = (np.arange(20 * count) + 0.5) / (20 * count)
    sigma = candidate_sigma(1 + width * ndtri(quantiles)[:, None])
    np.testing.assert_allclose(sigma, width * 0.99446, rtol=1e-3)


def test_catalogue_keeps_identities_coordinates_and_units(tmp_path):
    columns = {
        "name": ["first", "zweiter Ü"],
        "identifier": np.array([1237648721217716541, 0]),
        "specobjid": np.array([2**63 + 1, 5], dtype=np.uint64),
        "plate": np.array([266, 1], dtype=np.int16),
        "ra": np.array([150.123456789012, np.nan]),
        "dec": np.array([-0.5, 1.5]),
        "score": np.array([0.5, 0.25], dtype=np.float32),
        "flux_scale": [12.5, np.nan],
    }
    write_catalogue(tmp_path / "catalogue.fits", columns)
    with fits.open(tmp_path / "catalogue.fits") as hdus:
        formats = dict(zip(hdus[1].columns.names, hdus[1].columns.formats, strict=True))
    assert {formats[name] for name in ("identifier", "plate", "specobjid")} == {"K"}
    assert formats["ra"] == "D" and formats["score"] == "E"
    table = Table.read(tmp_path / "catalogue.fits")
    for name in ("identifier", "specobjid", "dec", "score"):
        np.testing.assert_array_equal(np.asarray(table[name]), columns[name])
    assert table["ra"].unit == u.deg and u.Unit(table["flux_scale"].unit) == FLUX_UNIT
    assert table["ra"][0] == columns["ra"][0]
    assert list(table["name"]) == ["first", "zweiter \\xdc"]


def test_what_was_assumed_is_in_the_header_at_any_length(tmp_path):
    assumed = ("unit not given", "a remark of more than one card, " + "x" * 100, *"0123456789")
    write_spectrum(tmp_path / "a.fits", replace(spectrum(), assumptions=assumed))
    assert read_spectrum(tmp_path / "a.fits").assumptions == assumed
    assert fits.getheader(tmp_path / "a.fits")["ASSUM12"] == "9"
