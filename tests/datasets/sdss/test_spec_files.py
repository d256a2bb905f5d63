"""SDSS spectra: every file at hand, identifiers to the bit, and files that are not spectra."""

import re

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st

from datasets.sdss.spec_files import (
    SpectrumFileError,
    read_spec_file,
    read_spectra_collection,
    run2d_name,
    run2d_number,
    spec_object_identifier,
    spec_object_parts,
)
from datasets.spectra import SpectrumError, prepare_spectrum
from tests.spec_files import write_spec_file
from tests.support import REAL_DATA

DATA = REAL_DATA
FILES = sorted([*DATA.glob("spec_files/*.fits"), *DATA.glob("pairs/*.fits")])
real_data = pytest.mark.skipif(not FILES, reason="real survey data are not at hand")

LOGLAM = 3.55 + 1e-4 * np.arange(50)
IDENTIFIER = (7512 << 50) + (396 << 38) + (6777 << 24) + (1300 << 10)


def write(path, **options):
    """Plate 7512, MJD 56777, fiber 396, run2d v5_13_0."""
    return write_spec_file(path, IDENTIFIER, LOGLAM, np.arange(50.0), **options)


@real_data
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_real_file_is_read(path):
    spectrum = read_spec_file(path)
    name = re.fullmatch(r"spec-(\d+)-(\d+)-(\d+)", path.stem)
    assert (spectrum.plate, spectrum.mjd, spectrum.fiber) == tuple(map(int, name.groups()))
    assert spectrum.specobjid >> 50 == spectrum.plate
    assert spectrum.spectral_class == "GALAXY"
    assert 0.02 < spectrum.z < 0.13
    assert 0 < spectrum.ra < 360 and -90 < spectrum.dec < 90
    loglam = np.log10(spectrum.wavelength_angstrom) / 1e-4
    np.testing.assert_allclose(loglam, np.round(loglam), atol=1e-8)
    prepared = prepare_spectrum(
        spectrum.wavelength_angstrom, spectrum.flux, spectrum.ivar, spectrum.and_mask
    )
    assert np.isfinite(prepared.flux).all()
    assert prepared.interpolated.mean() < 0.25


@real_data
def test_real_wavelengths_are_vacuum():
    """[O III] 5008.240 and Hα 6564.614 Å in vacuum; in air 1.4 and 1.8 Å less."""
    spectrum = read_spec_file(DATA / "pairs/spec-0266-51630-0215.fits")
    rest = spectrum.wavelength_angstrom / (1 + spectrum.z)
    near = np.abs(rest - 6564.6) < 6
    line = np.clip(spectrum.flux - np.median(spectrum.flux[np.abs(rest - 6564.6) < 60]), 0, None)
    assert np.average(rest[near], weights=line[near]) == pytest.approx(6564.6, abs=0.7)


@real_data
def test_the_collection_is_read_and_prepared():
    collection = read_spectra_collection(DATA / "sdss_spectra.h5")
    assert len(collection) == 1386 and collection.flux.shape == (1386, 3851)
    assert collection.catalogue["specobjid"].dtype == np.uint64
    prepared, refused = 0, []
    for spectrum in collection:
        if spectrum.specobjid:
            parts = spectrum.plate, spectrum.mjd, spectrum.fiber, spectrum.run2d
            assert spec_object_identifier(*parts) == spectrum.specobjid
        try:
            prepare_spectrum(spectrum.wavelength_angstrom, spectrum.flux, spectrum.ivar)
            prepared += 1
        except SpectrumError as error:
            refused.append(str(error))
    assert prepared == 1372
    assert sum("good pixels span" in reason for reason in refused) == 2
    assert sum("median over" in reason for reason in refused) == 12  # no light in the fibre


@pytest.mark.parametrize("upper", [False, True])
@pytest.mark.parametrize("names", [False, True])
@pytest.mark.parametrize("identifier", [("22A", f"  {IDENTIFIER}"), ("K", IDENTIFIER), None])
def test_versions_of_the_format(tmp_path, upper, names, identifier):
    path = write(tmp_path / "a.fits", upper=upper, names=names, SPECOBJID=identifier)
    spectrum = read_spec_file(path)
    assert spectrum.specobjid == IDENTIFIER
    assert (spectrum.ra, spectrum.dec) == (123.456789012345, -1.5)
    assert (spectrum.zwarning, spectrum.subclass, spectrum.run2d) == (0, "STARFORMING", "v5_13_0")
    np.testing.assert_allclose(spectrum.wavelength_angstrom, 10**LOGLAM)
    np.testing.assert_array_equal(spectrum.flux, np.arange(50.0))
    assert spectrum.and_mask[0] == 1 << 27


def test_catalogue_coordinates_are_preferred_to_those_of_the_hole(tmp_path):
    path = write(tmp_path / "a.fits", RA=("D", 10.0), DEC=("D", 20.0))
    assert (read_spec_file(path).ra, read_spec_file(path).dec) == (10.0, 20.0)


def test_a_contradicting_identifier_is_refused(tmp_path):
    path = write(tmp_path / "a.fits", SPECOBJID=("K", IDENTIFIER + 1024))
    with pytest.raises(SpectrumFileError, match=r"a\.fits: specObjID \d+ contradicts"):
        read_spec_file(path)


def test_files_that_are_no_spectra_are_named(tmp_path):
    (tmp_path / "text.fits").write_text("<html>404 Not Found</html>")
    fits.PrimaryHDU(np.zeros((5, 5))).writeto(tmp_path / "image.fits")
    (tmp_path / "empty.fits").write_bytes(b"")
    expected = {
        "missing": "no such file",
        "text": "damaged or not FITS",
        "empty": "damaged or not FITS",
        "image": "not an SDSS spec file: no table has",
    }
    for name, message in expected.items():
        with pytest.raises(SpectrumFileError, match=f"{name}.fits.*({message})"):
            read_spec_file(tmp_path / f"{name}.fits")
    with pytest.raises(SpectrumFileError, match="not a readable HDF5"):
        read_spectra_collection(tmp_path / "text.fits")


@pytest.mark.parametrize(
    ("loglam", "changes", "message"),
    [
        (LOGLAM[:0], {}, "loglam is empty or not finite"),
        (np.append(LOGLAM[1:], np.nan), {}, "loglam is empty or not finite"),
        (LOGLAM, {"PLUG_RA": None}, "no table has 'plug_ra'"),
        (LOGLAM, {"Z": ("4A", "high")}, "could not convert string to float"),
    ],
)
def test_contents_that_no_spectrum_has_are_refused(tmp_path, loglam, changes, message):
    path = write_spec_file(tmp_path / "a.fits", IDENTIFIER, loglam, np.ones(loglam.size), **changes)
    with pytest.raises(SpectrumFileError, match=rf"a\.fits is .*{message}"):
        read_spec_file(path)


@pytest.mark.parametrize("share", [0.2, 0.4, 0.6, 0.8, 0.9])
def test_truncated_files_are_refused(tmp_path, share):
    whole = write(tmp_path / "whole.fits").read_bytes()
    (tmp_path / "cut.fits").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(SpectrumFileError, match=r"cut\.fits is .*(download it again|no table has)"):
        read_spec_file(tmp_path / "cut.fits")


def test_identifiers_of_known_spectra():
    """Values of the SDSS archive."""
    for parts, identifier in (
        ((266, 51630, 215, "26"), 299548501317019648),
        ((3655, 55240, 660, "v5_13_0"), 4115345666842316800),
        ((6064, 56097, 980, "v5_5_12"), 6827726517733687296),
    ):
        assert spec_object_identifier(*parts) == identifier
        assert spec_object_parts(identifier) == parts


@given(st.integers(5, 6), st.integers(0, 63), st.integers(0, 99))
def test_run2d_there_and_back(major, minor, patch):
    name = f"v{major}_{minor}_{patch}"
    if run2d_number(name) not in (26, 103, 104):  # those numbers mean the legacy pipelines
        assert run2d_name(run2d_number(name)) == name
    assert run2d_name(run2d_number("103")) == "103"


def test_identifiers_that_do_not_fit_their_bits():
    with pytest.raises(ValueError, match="do not fit"):
        spec_object_identifier(266, 51630, 5000, "26")
    with pytest.raises(ValueError, match="neither"):
        run2d_number("master")
