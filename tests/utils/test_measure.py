"""The command that measures files."""

from dataclasses import replace

import numpy as np
import pytest
from astropy.table import Table

from datasets.spectra import METHOD_GRID, candidate_sigma
from datasets.survey import Survey
from tests.support import REAL_DATA, needs_real_data
from utils.generation.fits_output import GeneratedSpectrum, Provenance, write_spectrum
from utils.measure import main
from utils.spectroscopy.galaxy_templates import RedshiftTemplates
from utils.spectroscopy.wavelength import REST_GRID

EMPTY_PLATES = ("spec-1947", "spec-2341", "spec-2342")  # fibres without signal, zwarning 5
EBOSS = 2**63 + 1024 * 4099  # a specObjID of a plate above 8191


def generated(redshift: float, scale: float | None, identifier: int = 5) -> GeneratedSpectrum:
    """Eight noisy candidates of a star-forming template."""
    templates = RedshiftTemplates.default().flux
    rest = templates[0] + templates[1] + 4.0 * templates[2:].sum(axis=0)
    clean = np.interp(METHOD_GRID.angstrom / (1.0 + redshift), REST_GRID.angstrom, rest)
    clean /= np.median(clean)
    noise = np.random.default_rng(1).normal(0.0, 0.02, (8, clean.size))
    candidates = (clean + noise).astype(np.float32)
    return GeneratedSpectrum(
        name="galaxy",
        wavelength_angstrom=METHOD_GRID.angstrom,
        candidates=candidates,
        numbers=np.arange(8, dtype=np.int32),
        scores=np.zeros(8, np.float32),
        mean=candidates.mean(axis=0),
        sigma=candidate_sigma(candidates),
        provenance=Provenance(1, 8, "dpm", ("a 1",), "0", "median of 5500-7000 Angstrom", 2.0),
        scale=scale,
        identifier=identifier,
        redshift=0.2,
    )


def test_generated_spectra_and_a_broken_file(tmp_path, capsys):
    write_spectrum(tmp_path / "a.fits", generated(0.07, scale=12.0, identifier=EBOSS))
    write_spectrum(tmp_path / "b.fits", generated(0.12, scale=None))
    (tmp_path / "c.fits").write_text("this is no FITS file")
    (tmp_path / "notes.txt").write_text("nor is this")
    output = tmp_path / "out" / "catalogue.fits"
    assert main([str(tmp_path), "--output", str(output), "--workers", "1"]) == 1
    assert "skipped" in (errors := capsys.readouterr().err)
    assert "c.fits" in errors
    assert "notes.txt" not in errors
    table = Table.read(output)
    np.testing.assert_allclose(table["z"], [0.07, 0.12], atol=2e-4)
    np.testing.assert_allclose(table["z_catalogue"], 0.2)
    assert table["identifier"].tolist() == [EBOSS, 5]
    assert str(table["Halpha_ew"].unit) == "Angstrom"
    assert table["Halpha_flux"].unit.is_equivalent("erg / (s cm2)")
    assert np.isfinite(table["Halpha_flux"].filled(np.nan)).tolist() == [True, False]
    assert np.all(table["Halpha_ew"] > 5.0)
    assert np.all(table["Halpha_ew_err"] > 0.0)


def test_an_existing_catalogue_is_not_replaced_unasked(tmp_path, capsys):
    output = tmp_path / "catalogue.fits"
    output.write_text("precious")
    write_spectrum(tmp_path / "a.fits", generated(0.07, scale=12.0))
    arguments = [str(tmp_path / "a.fits"), "--output", str(output), "--workers", "1"]
    assert main(arguments) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert output.read_text() == "precious"
    assert main([*arguments, "--overwrite"]) == 0
    assert len(Table.read(output)) == 1


def test_a_survey_with_the_redshifts_of_its_catalogue(tiny_survey, tmp_path):
    output = tmp_path / "catalogue.fits"
    arguments = ["--split", "test", "--redshift", "catalogue", "--workers", "1"]
    assert main([str(tiny_survey), "--output", str(output), *arguments]) == 0
    table, survey = Table.read(output), Survey(tiny_survey)
    rows = survey.indices("test")
    assert table["identifier"].tolist() == survey.catalogue["identifier"][rows].tolist()
    np.testing.assert_array_equal(table["z"], survey.catalogue["z"][rows])
    assert table["source"][0].endswith(f"#{rows[0]}")


def test_spectra_without_the_redshift_that_is_asked_for_are_named(tmp_path, capsys):
    unknown = replace(generated(0.07, scale=12.0), redshift=np.nan)
    for name in "ab":
        write_spectrum(tmp_path / f"{name}.fits", unknown)
    output = tmp_path / "catalogue.fits"
    arguments = [str(tmp_path), "--output", str(output), "--redshift", "catalogue"]
    assert main([*arguments, "--workers", "1"]) == 2
    first, remedy = tmp_path / "a.fits", "; leave out --redshift catalogue to fit it"
    why = f"error: {first}, and 1 more of 2 spectra: no redshift in the file{remedy}"
    assert why in capsys.readouterr().err
    assert not output.exists()
    write_spectrum(tmp_path / "b.fits", generated(0.2, scale=12.0))
    assert main([*arguments, "--workers", "1"]) == 0
    why = f"warning: {first}: no redshift in the file, all measurements are NaN{remedy}"
    assert why in capsys.readouterr().err
    assert np.isfinite(Table.read(output)["Halpha_ew"].filled(np.nan)).tolist() == [False, True]


def test_nothing_to_measure(tmp_path, capsys):
    output = ["--output", str(tmp_path / "x.fits")]
    assert main([str(tmp_path), *output]) == 2
    assert "error: no spectra found" in capsys.readouterr().err
    (tmp_path / "broken.fits").write_text("not FITS")
    assert main([str(tmp_path), *output, "--ssp", str(tmp_path)]) == 2
    assert "stellar library" in capsys.readouterr().err
    assert main([str(tmp_path), *output]) == 1
    assert f"skipped {tmp_path / 'broken.fits'}" in capsys.readouterr().err
    assert not (tmp_path / "x.fits").exists()


@needs_real_data
def test_spec_files_of_all_versions(tmp_path):
    output = tmp_path / "catalogue.fits"
    folder = REAL_DATA / "spec_files"
    good = [p for p in sorted(folder.glob("*.fits")) if not p.name.startswith(EMPTY_PLATES)]
    arguments = ["--output", str(output), "--workers", "1", "--overwrite"]
    assert main([*map(str, good), *arguments]) == 0
    table = Table.read(output)
    assert len(table) == len(good) == 9
    np.testing.assert_allclose(table["z"], table["z_catalogue"], atol=3e-4)
    assert main([str(good[0]), str(good[-1]), *arguments, "--ssp", str(REAL_DATA / "ssp")]) == 0
    table = Table.read(output)
    assert np.all((table["sigma_star"] > 100.0) & (table["sigma_star"] < 250.0))
    assert np.all((table["log_age_gyr"] > 0.3) & (table["log_age_gyr"] < 1.15))
    assert table["sigma_star"].unit == "km / s"


@pytest.mark.parametrize("option", [["--engine", "other"], ["--redshift", "guess"]])
def test_unknown_choices_are_refused(option, tmp_path):
    with pytest.raises(SystemExit):
        main(["x.fits", "--output", str(tmp_path / "x.fits"), *option])
