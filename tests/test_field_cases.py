"""Files as users bring them: made by the scripts beside this checkout, each with what is right."""

import runpy
import sys

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

import generate
import train_contrastive
from datasets.survey import Survey
from tests.support import ROOT
from utils import build_survey, cut_frames, measure

MAKERS = ROOT.parent / "shared" / "field_cases"

pytestmark = pytest.mark.skipif(
    not MAKERS.is_dir(), reason="the makers of the cases are not beside this checkout"
)
LARGE = 11523587332151465984  # specObjID of plate 10235


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Run the maker of a case; returns its folder."""

    def run(number: str):
        (maker,) = MAKERS.glob(f"{number}_*.py")
        monkeypatch.setattr(sys, "argv", [str(maker), str(tmp_path / "case")])
        monkeypatch.syspath_prepend(str(MAKERS))
        runpy.run_path(str(maker), run_name="__main__")
        return tmp_path / "case"

    return run


@pytest.fixture
def spectra(tiny_generator):
    """Run generate.py; returns its exit status and the catalogue, None without one."""

    def run(source, output, *options):
        status = generate.main(
            [
                *map(str, (source, "--checkpoint", tiny_generator, "--output", output)),
                *("--no-pictures", "--no-measure", "--candidates", "2", "--steps", "2"),
                *map(str, options),
            ]
        )
        path = output / "catalogue.fits"
        return status, Table.read(path) if path.exists() else None

    return run


def column(table, name):
    return dict(zip(map(str, table["name"]), table[name], strict=True))


def cut(case, positions, output="cutouts"):
    frames = [str(path) for path in sorted((case / "frames").glob("*.fits"))]
    return cut_frames.main(
        [*frames, "--positions", str(case / positions), "--output", str(case / output)]
    )


def build(case, images="images", output="s.h5", spectra="spectra", *options):
    arguments = ["--spectra", case / spectra, "--images", case / images, "--workers", 1, *options]
    return build_survey.main([str(case / output), *map(str, arguments)])


def measured(case, source, output):
    status = measure.main([str(case / source), "--output", str(case / output)])
    return status, Table.read(case / output)["identifier"].tolist()


def flux_of(folder, name):
    """r flux of a cutout as the network got it, from the scale of its spectrum."""
    with fits.open(folder / "spectra" / f"{name}.fits") as hdus:
        return hdus[0].header["FLXSCALE"], hdus[0].header["IMAGEGR"], hdus[0].header["IMAGERI"]


def test_bands_of_different_units(make, spectra, tmp_path):
    case = make("01")
    assert spectra(case / "in", tmp_path / "out")[0] == 0
    units, scales = (flux_of(tmp_path / "out", name)[1:] for name in ("units", "scales"))
    assert units == pytest.approx(scales, abs=0.02)
    assert units == pytest.approx((0.75, 0.36), abs=0.02)  # -2.5 log 70/140, 140/195


def test_pixel_scale_of_a_degree(make, spectra, tmp_path):
    case = make("02")
    status, table = spectra(case / "in", tmp_path / "out")
    assert status == 1 and table["name"].tolist() == ["iraf"]
    assert "pixel scale 0.396 arcsec of PIXSCALE" in table["assumptions"][0]
    reasons = (tmp_path / "out" / "rejected.csv").read_text()
    assert reasons.count("with --pixel-scale") == 2
    assert spectra(case / "in", tmp_path / "again", "--pixel-scale", 0.396)[0] == 0


def test_survey_of_uncalibrated_images(make, tmp_path, capsys):
    case = make("03")
    assert build(case) == 2
    assert "pixel scale not given" in capsys.readouterr().err
    assert build(case, "images", "s.h5", "spectra", "--pixel-scale", 0.168) == 0
    survey = Survey(case / "s.h5")
    assert "zero point of MAGZERO" in str(survey.provenance["remarks"])
    flux = survey.read("images", [0])[0].sum((1, 2))
    assert flux == pytest.approx([18, 70, 140, 195, 245], rel=0.02)


def test_identifiers_as_floats(make, spectra, tmp_path):
    status, table = spectra(make("04") / "in", tmp_path / "out")
    assert status == 0 and table["identifier"].dtype.kind in "iu"
    identifiers = column(table, "identifier")
    assert identifiers.pop("mixed-2") == 13144402365298774016
    assert set(identifiers.values()) == {0}
    assert sum("not an exact 64-bit integer" in text for text in table["assumptions"]) == 4


def test_two_galaxies_of_one_file_name(make, spectra, tmp_path):
    status, table = spectra(make("05") / "in", tmp_path / "out")
    assert status == 0 and len(set(table["file"])) == len(table) == 6


@pytest.mark.parametrize("positions", ["far", "95", "nan"])
def test_positions_all_over_the_sky(make, positions):
    case = make("06")
    assert cut(case, f"{positions}.csv") == 1
    assert len(list((case / "cutouts").iterdir())) == 1


def test_z_magnitude_taken_for_redshift(make, spectra, tmp_path):
    case = make("07")
    assert cut(case, "photo.csv") == 0
    assert all("REDSHIFT" not in fits.getheader(p) for p in (case / "cutouts").iterdir())
    assert spectra(case / "cutouts", tmp_path / "out", "--redshift", "given")[0] == 0


def test_eboss_plates_above_8191(make):
    case = make("09")
    for form in ("text", "integer"):
        status, identifiers = measured(case, form, f"{form}.fits")
        assert status == 0 and LARGE in identifiers and len(identifiers) == 2
    assert build(case / "survey", output="../s.h5") == 0
    assert min(measured(case, "s.h5", "s.fits")[1]) > 2**63


def test_an_sdss_v_file_in_the_folder(make):
    case = make("10")
    assert build(case) == 0 and len(Survey(case / "s.h5")) == 12
    assert "a file of SDSS-V" in (case / "s.refused.csv").read_text()


def test_zero_points_that_headers_state(make, spectra, tmp_path):
    status, table = spectra(make("13") / "in", tmp_path / "out")
    assert status == 0 and len(table) == 5
    truth = flux_of(tmp_path / "out", "truth")
    for name in ("ps1", "skycell", "hsc", "euclid"):
        assert flux_of(tmp_path / "out", name)[1:] == pytest.approx(truth[1:], abs=0.02)


@pytest.mark.parametrize(
    ("table", "count"),
    [("table1.csv", 2), ("bom.csv", 2), ("float-id.csv", 1), ("masked-id.fits", 2)],
)
def test_tables_of_positions_as_they_come(make, table, count):
    case = make("14")
    assert cut(case, table) == 0
    assert len(list((case / "cutouts").iterdir())) == count


@pytest.mark.parametrize("table", ["null", "na", "dashes", "sentinel"])
def test_unknown_redshifts_in_words(make, spectra, tmp_path, table):
    case = make("15")
    options = ("--catalogue", case / f"{table}.csv", "--redshift-column", "z")
    status, found = spectra(case / "in", tmp_path / "out", *options)
    redshifts = np.ma.filled(found["redshift"], np.nan)
    assert status == 0 and np.isfinite(redshifts).tolist() == [True, False, True]


def test_bands_shifted_on_the_sky(make, spectra, tmp_path):
    status, table = spectra(make("18") / "in", tmp_path / "out")
    remarks = column(table, "assumptions")
    assert status == 0 and "px apart on the sky" in remarks["gal"] and not remarks["straight"]


def test_planes_of_weights_and_masks(make, spectra, tmp_path):
    status, table = spectra(make("19") / "in", tmp_path / "out")
    assert status == 0 and len(table) == 3
    assert all("planes passed over" in text for text in table["assumptions"])
    for name in table["name"]:
        assert flux_of(tmp_path / "out", name)[1:] == pytest.approx((0.75, 0.36), abs=0.02)


def test_a_second_try_after_all_were_refused(make, spectra, tmp_path, capsys):
    case, output = make("22"), tmp_path / "out"
    assert spectra(case / "in", output) == (1, None)
    assert "catalogue" not in capsys.readouterr().out.split("output")[1]
    assert spectra(case / "in", output, "--unit", "nanomaggy")[0] == 0
    assert spectra(case / "typo", tmp_path / "other")[0] == 2
    assert "typo does not exist" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_a_very_long_name(make, spectra, tmp_path):
    status, table = spectra(make("24") / "in", tmp_path / "out", "--batch-size", 1)
    assert status == 0 and len(table) == 4


@pytest.mark.parametrize("option", ["--optimiser.batch_size=1", "--optimiser.batch_size=0",
                                    "--run.device=gpu"])  # fmt: skip
def test_batches_of_one_and_devices_that_are_not(make, capsys, option):
    case = make("27")
    assert build(case) == 0
    arguments = [f"--data.survey={case / 's.h5'}", f"--run.output={case / 'run'}", option]
    try:
        status = train_contrastive.main(arguments)
    except SystemExit as end:
        status = end.code
    assert status == 2 and option.split("=")[0].split(".")[1] in capsys.readouterr().err


def test_files_named_by_objid(make, spectra, tmp_path):
    case = make("28")
    options = ("--catalogue", case / "sdss.csv", "--redshift-column", "z")
    status, table = spectra(case / "in", tmp_path / "out", *options)
    assert status == 0 and np.isfinite(table["redshift"]).all()
    assert [str(i) for i in table["identifier"]] == [str(name) for name in table["name"]]


def test_two_images_of_one_galaxy(make):
    case = make("29")
    for number, images in enumerate(("images", "bands", "stamps.npz", "stamps.h5")):
        assert build(case, images, f"{number}.h5") == 0
        assert len(Survey(case / f"{number}.h5")) == 12
    assert "a second image of" in (case / "0.refused.csv").read_text()


@pytest.mark.parametrize("survey", ["hsc", "ps1"])
def test_bands_within_the_name(make, spectra, tmp_path, survey):
    status, table = spectra(make("31") / survey, tmp_path / "out")
    assert status == 0 and len(table) == 1
