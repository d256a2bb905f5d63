"""From spec files and images to a survey file: exact joins, refusals with reasons."""

import csv
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from astropy.io import fits

from datasets.sdss import survey_builder
from datasets.sdss.sources import SelectionCuts
from datasets.sdss.spec_files import read_spec_file, spec_object_identifier
from datasets.spectra import Preparation, prepare_spectrum
from datasets.survey import Survey
from tests.datasets.test_process_pool import die
from tests.spec_files import write_spec_file
from tests.support import REAL_DATA, needs_real_data
from utils.build_survey import main

STATED = ("--unit", "nanomaggy", "--pixel-scale", 0.396)
COUNT = 12
LOGLAM = 3.58 + 1e-4 * np.arange(3850)
IDENTIFIERS = [spec_object_identifier(266, 51630, k, "26") for k in range(1, COUNT + 1)]


def flux(k):
    return 5.0 + k + np.sin(10**LOGLAM / 300)


def image(k):
    return np.random.default_rng(k).normal(k, 1, (5, 64, 64)).astype(np.float32)


def write(folder, k, **changes):
    path = folder / f"spec-0266-51630-{k:04d}.fits"
    changes = {"PLUG_RA": ("D", 10.0 + k), **changes}
    return write_spec_file(path, IDENTIFIERS[k - 1], LOGLAM, flux(k), **changes)


def write_collection(path, galaxies, **changes):
    """An HDF5 collection of spectra; a column that is None is left out."""
    galaxies = np.array(galaxies)
    full = {"plate": 266, "mjd": 51630, "z": 0.1, "zwarning": 0, "dec": 2.0}
    columns = {name: np.full(galaxies.size, value) for name, value in full.items()}
    columns |= {"fiber": galaxies, "ra": 10.0 + galaxies, "loglam": LOGLAM}
    columns |= {"flux": [flux(k) for k in galaxies], "ivar": np.ones((galaxies.size, LOGLAM.size))}
    columns |= {"cls": np.full(galaxies.size, b"GALAXY"), "subclass": np.full(galaxies.size, b"")}
    columns |= {"specobjid": np.array(IDENTIFIERS, np.uint64)[galaxies - 1], **changes}
    with h5py.File(path, "w") as file:
        for name, values in columns.items():
            if values is not None:
                file[name] = values
    return path


@pytest.fixture
def spectra(tmp_path):
    folder = tmp_path / "spectra" / "0266"
    folder.mkdir(parents=True)
    for k in range(1, COUNT + 1):
        write(folder, k)
    return folder


@pytest.fixture
def cube(tmp_path):
    """All galaxies in another order, among others that have no spectra."""
    order = np.random.default_rng(0).permutation(3 * COUNT)
    identifiers = np.array([*IDENTIFIERS, *range(2 * COUNT)], dtype=np.uint64)[order]
    labels = np.zeros(3 * COUNT, dtype=[("z", "f4"), ("specObjID", "u8")])
    labels["specObjID"] = identifiers
    images = np.stack([image(k + 1) for k in order]).transpose(0, 2, 3, 1)
    np.savez(tmp_path / "sdss.npz", cube=images, labels=labels)
    return tmp_path / "sdss.npz"


def build(tmp_path, spectra, images, *options):
    """The exit status, and why by source; without the cube's many images that have no spectra."""
    output = tmp_path / "survey.h5"
    arguments = [output, "--spectra", spectra, "--images", images, "--workers", 1, *options]
    status = main([str(argument) for argument in arguments])
    with open(tmp_path / "survey.refused.csv") as file:
        rows = [row for row in csv.DictReader(file) if row["reason"] != "no spectrum"]
    return status, {row["source"]: row["reason"] for row in rows}


def check_rows(survey, expected):
    """Every galaxy has its own image and spectrum: the join is right."""
    assert sorted(survey.catalogue["identifier"]) == sorted(IDENTIFIERS[k - 1] for k in expected)
    for row, k in enumerate(survey.catalogue["fiber"]):
        np.testing.assert_array_equal(survey.read("images", [row])[0], image(k))
        prepared = prepare_spectrum(10**LOGLAM, flux(k))
        np.testing.assert_allclose(survey.read("spectra", [row])[0], prepared.flux, rtol=1e-5)
        assert survey.read("normalisation", [row])[0] == pytest.approx(prepared.normalisation)
        assert survey.catalogue["ra"][row] == 10.0 + k


def test_cube_and_spec_files(tmp_path, spectra, cube, capsys):
    status, refused = build(tmp_path, tmp_path / "spectra", cube)
    assert (status, refused) == (0, {})
    survey = Survey(tmp_path / "survey.h5")
    check_rows(survey, range(1, COUNT + 1))
    window = (np.log10(5500) <= LOGLAM) & (np.log10(7000) > LOGLAM)
    sn = [np.median(flux(k)[window]) for k in survey.catalogue["fiber"]]  # ivar is 1
    np.testing.assert_allclose(survey.catalogue["sn"], sn, rtol=1e-6)
    assert survey.provenance["images"] == "sdss.npz"
    assert f"{COUNT} (" in capsys.readouterr().out


def test_worker_processes_give_the_same(tmp_path, spectra, cube):
    status, _ = build(tmp_path, spectra / "*.fits", cube, "--workers", 2)
    assert status == 0
    check_rows(Survey(tmp_path / "survey.h5"), range(1, COUNT + 1))


class Deadly(SelectionCuts):
    """Kills the process that prepares a spectrum."""

    prepare = die


def test_a_killed_process_ends_the_build(tmp_path, spectra, cube, monkeypatch, capsys):
    monkeypatch.setattr(survey_builder, "SelectionCuts", Deadly)
    assert build(tmp_path, spectra, cube, "--workers", 2) == (2, {})
    assert "a process was killed" in capsys.readouterr().err
    assert not (tmp_path / "survey.h5").exists()


def test_every_refusal_has_its_reason(tmp_path, spectra, cube):
    changes = {
        2: {"Z": ("E", 0.3)},
        3: {"ZWARNING": ("J", 5)},
        4: {"ZWARNING": ("J", 16)},  # MANY_OUTLIERS: harmless
        5: {"CLASS": ("6A", "QSO")},
        6: {"RUN2D": ("7A", "103"), "SPECOBJID": None},
        11: {"Z": ("E", np.nan)},
        12: {"PLUG_RA": ("D", np.nan)},
    }
    paths = {k: spectra / f"spec-0266-51630-{k:04d}.fits" for k in range(1, COUNT + 1)}
    for k, change in changes.items():
        paths[k].unlink()
        write(spectra, k, **change)
    paths[7].write_bytes(paths[7].read_bytes()[:20_000])
    paths[8].unlink()
    write_spec_file(paths[8], IDENTIFIERS[7], LOGLAM[1000:], flux(8)[1000:])
    shutil.copy(paths[9], spectra / "spec-0266-51630-0009.fits.copy.fits")
    (spectra.parent / "again").mkdir()
    shutil.copy(paths[10], spectra.parent / "again")
    impossible = spectra / "spec-0266-51630-9999.fits"  # a fiber that does not exist
    shutil.copy(paths[1], impossible)
    stranger = spectra / "spec-9999-51630-0001.fits"
    shutil.copy(paths[1], stranger)

    spectra.parent.rename(odd := tmp_path / "spec[1]")  # a name that is also a pattern
    status, refused = build(tmp_path, odd, cube, "--z-range", 0.05, 0.15)
    refused = {path.replace(str(odd), str(spectra.parent)): why for path, why in refused.items()}
    assert status == 0
    check_rows(Survey(tmp_path / "survey.h5"), [1, 4, 9, 10])
    expected = {
        paths[11]: "position or redshift unknown",
        paths[12]: "position or redshift unknown: nan",
        paths[2]: "outside the redshift range: z = 0.3",
        paths[3]: "unreliable redshift: zwarning 5",
        paths[5]: "not a galaxy: class QSO",
        paths[6]: "other pipeline version",
        paths[7]: "spectrum:",
        paths[8]: "spectrum: good pixels span 4786-",
        spectra / "spec-0266-51630-0009.fits.copy.fits": "not named",
        impossible: "not named",
        spectra.parent / "again" / paths[10].name: "a second file",
        stranger: "no image",
    }
    assert refused.keys() == {str(path) for path in expected}
    for path, reason in expected.items():
        assert refused[str(path)].startswith(reason)


def test_of_two_pipeline_versions_that_of_the_image_is_taken(tmp_path, spectra, cube):
    other = spectra / "spec-0266-51630-0010.fits"
    (spectra.parent / "other").mkdir()
    other.rename(spectra.parent / "other" / other.name)
    write(spectra, 10, RUN2D=("7A", "103"), SPECOBJID=None)
    status, refused = build(tmp_path, spectra.parent, cube)
    assert (status, refused) == (0, {str(other): "a second file of one observation"})
    check_rows(Survey(tmp_path / "survey.h5"), range(1, COUNT + 1))


def test_folder_of_images_and_catalogue(tmp_path, spectra, capsys):
    folder = tmp_path / "images"
    folder.mkdir()
    for k in range(1, COUNT + 1):
        np.save(folder / f"{IDENTIFIERS[k - 1]}.npy", image(k))
    np.save(folder / f"{IDENTIFIERS[2]}.npy", np.full((5, 64, 64), np.nan))
    table = tmp_path / "catalogue.csv"
    other = range(2, COUNT + 1)
    lines = [f"{IDENTIFIERS[k - 1]},{1237650795146051733 + k},{k / 10},{k},0.9\n" for k in other]
    lines.append(f"{IDENTIFIERS[1]},0,0,0,0.9\n")
    table.write_text("specObjID,objID,logMass_Maraston09,sn,z\n" + "".join(lines))
    status, refused = build(tmp_path, spectra, folder, "--catalogue", table, *STATED)
    assert status == 0
    survey = Survey(tmp_path / "survey.h5")
    check_rows(survey, [2, *range(4, COUNT + 1)])
    fiber = survey.catalogue["fiber"]
    np.testing.assert_array_equal(survey.catalogue["sn"], fiber)  # the table's own
    np.testing.assert_array_equal(survey.catalogue["objid"], 1237650795146051733 + fiber)
    np.testing.assert_array_equal(survey.catalogue["logmass_maraston09"], fiber / 10)
    reasons = [refused[str(spectra / f"spec-0266-51630-{k:04d}.fits")] for k in (1, 3)]
    assert reasons[0] == "not in the catalogue" and reasons[1].startswith("image: ")
    assert (survey.catalogue["z"] < 0.9).all()
    remarks = capsys.readouterr().err
    assert "rows that repeat a specObjID are left out: 1" in remarks
    assert "z: left out, the survey has those of the spectra" in remarks
    assert "sn replaces the S/N measured in the spectra" in remarks


@pytest.mark.parametrize("suffix", ["npy", "fits"])
def test_a_file_of_two_cutouts_among_others_is_refused_alone(tmp_path, spectra, suffix):
    """Every later image would be that of the galaxy before."""
    folder = tmp_path / "images"
    folder.mkdir()
    for k in range(1, COUNT + 1):
        np.save(folder / f"{IDENTIFIERS[k - 1]}.npy", image(k))
    (folder / f"{IDENTIFIERS[1]}.npy").unlink()
    several = folder / f"{IDENTIFIERS[1]}.{suffix}"
    stack = np.stack([image(2), image(99)])
    np.save(several, stack) if suffix == "npy" else fits.writeto(several, stack)
    status, refused = build(tmp_path, spectra, folder, *STATED)
    assert status == 0
    check_rows(Survey(tmp_path / "survey.h5"), [1, *range(3, COUNT + 1)])
    assert list(refused.values()) == ["image: not one cutout in its file"]


def test_a_cube_may_have_an_array_of_identifiers_instead_of_labels(tmp_path, spectra):
    images = np.stack([image(k) for k in range(1, COUNT + 1)]).transpose(0, 2, 3, 1)
    np.savez(tmp_path / "a.npz", cube=images, specobjid=np.array(IDENTIFIERS, np.uint64))
    assert build(tmp_path, spectra, tmp_path / "a.npz", *STATED) == (0, {})
    check_rows(Survey(tmp_path / "survey.h5"), range(1, COUNT + 1))


@pytest.mark.parametrize("objid", ["objid", "identifier"])
def test_images_are_joined_by_specobjid_whatever_else_identifies_them(tmp_path, spectra, objid):
    images, numbers = [image(k) for k in range(1, COUNT + 1)], np.arange(1, COUNT + 1)
    columns = {objid: 2**60 + numbers, "specobjid": np.array(IDENTIFIERS, np.uint64)}
    np.savez(tmp_path / "many.npz", images=images, **columns)
    assert build(tmp_path, spectra, tmp_path / "many.npz", *STATED) == (0, {})
    check_rows(Survey(tmp_path / "survey.h5"), range(1, COUNT + 1))


def test_text_of_any_length_in_a_collection(tmp_path, cube):
    """As h5py stores a list of str."""
    galaxies = range(1, COUNT + 1)
    classes = ["QSO", *["GALAXY"] * (COUNT - 1)]
    path = write_collection(tmp_path / "a.h5", galaxies, cls=classes, subclass=["AGN"] * COUNT)
    status, refused = build(tmp_path, path, cube)
    assert (status, list(refused.values())) == (0, ["not a galaxy: class QSO"])
    assert set(Survey(tmp_path / "survey.h5").catalogue["subclass"]) == {"AGN"}


def test_a_collection_without_a_column_is_named(tmp_path, cube, capsys):
    path = write_collection(tmp_path / "a.h5", range(1, COUNT + 1), cls=None)
    assert main([str(tmp_path / "s.h5"), "--spectra", str(path), "--images", str(cube)]) == 2
    assert "a.h5 lacks the columns cls: add them" in capsys.readouterr().err


@pytest.mark.parametrize("source", ["images", "many.npz", "sdss.npz"])
def test_images_without_spectra_and_spectra_without_images_are_listed(
    tmp_path, spectra, source, capsys
):
    folder, images = tmp_path / "images", np.stack([image(k) for k in range(1, COUNT + 1)])
    stored = np.array(IDENTIFIERS, np.uint64)
    folder.mkdir()
    for identifier, pixels in zip(IDENTIFIERS[:-1], images[:-1], strict=True):
        np.save(folder / f"{identifier}.npy", pixels)
    np.savez(tmp_path / "many.npz", images=images[:-1], specobjid=stored[:-1])
    cube = images[:-1].transpose(0, 2, 3, 1)
    np.savez(tmp_path / "sdss.npz", cube=cube, specobjid=stored[:-1])
    for k in (2, 3, 5, 7):
        (spectra / f"spec-0266-51630-{k:04d}.fits").unlink()
    assert (
        build(tmp_path, spectra, tmp_path / source, *(STATED if source != "sdss.npz" else ()))[0]
        == 0
    )
    with open(tmp_path / "survey.refused.csv") as file:
        found = {(row["source"], row["specobjid"], row["reason"]) for row in csv.DictReader(file)}
    rows = [1, 2, 4, 6]
    names = [f"{IDENTIFIERS[row]}.npy" if source == "images" else f"{source}#{row}" for row in rows]
    paths = [str((folder if source == "images" else tmp_path) / name) for name in names]
    expected = {
        (path, str(IDENTIFIERS[row]), "no spectrum") for path, row in zip(paths, rows, strict=True)
    }
    alone = f"spec-0266-51630-{COUNT:04d}.fits"
    assert found == {*expected, (str(spectra / alone), "", "no image")}
    printed = capsys.readouterr().err
    assert f"refused 4: no spectrum: {', '.join(names[:3])}, … (see " in printed
    assert f"refused 1: no image: {alone} (see " in printed


def test_two_images_of_one_observation(tmp_path, spectra):
    folder, second = tmp_path / "images", spec_object_identifier(266, 51630, 1, "103")
    folder.mkdir()
    for k, identifier in enumerate([*IDENTIFIERS, second], start=1):
        np.save(folder / f"{identifier}.npy", image(k))
    status, refused = build(tmp_path, spectra, folder, *STATED)
    assert (status, len(Survey(tmp_path / "survey.h5"))) == (0, COUNT)
    assert refused == {str(folder / f"{second}.npy"): "a second image of one observation"}


def test_unknown_identifiers_find_no_partner(tmp_path, cube):
    galaxies = np.arange(1, COUNT + 1)
    unknown = np.where(galaxies <= 2, 0, np.array(IDENTIFIERS, np.uint64))
    path = write_collection(tmp_path / "a.h5", galaxies, specobjid=unknown)
    folder = tmp_path / "images"
    folder.mkdir()
    for k, identifier in zip(galaxies, unknown, strict=True):
        np.save(folder / f"{identifier}.npy", image(k))
    status, refused = build(tmp_path, path, folder, *STATED)
    assert status == 0
    check_rows(Survey(tmp_path / "survey.h5"), galaxies[2:])
    expected = {str(folder / "0.npy"): "image: not named by specObjID"}
    assert refused == {**expected, f"{path}#0": "no image", f"{path}#1": "no image"}


@pytest.mark.parametrize("signed", [False, True])
def test_identifiers_of_high_plates_stay_exact(tmp_path, signed):
    """Plates above 8191 have specObjID ≥ 2⁶³; beside smaller ones numpy would make them floats."""
    parts = [(266, 51630, 1, "26"), (8192, 57346, 2, "v5_13_0"), (12000, 58000, 3, "v5_13_0")]
    identifiers = [spec_object_identifier(*one) for one in parts]
    assert max(identifiers) > 2**63
    folder = tmp_path / "images"
    folder.mkdir()
    for k, identifier in enumerate(identifiers):
        np.save(folder / f"{identifier}.npy", image(k))
    np.save(folder / f"{2**64}.npy", image(0))  # is not an identifier
    stored = np.array(identifiers, np.uint64)
    plates, mjds, fibers, _ = zip(*parts, strict=True)
    write_collection(
        tmp_path / "spectra.h5",
        range(3),
        specobjid=stored.astype(np.int64) if signed else stored,
        plate=plates,
        mjd=mjds,
        fiber=fibers,
    )
    status, refused = build(tmp_path, tmp_path / "spectra.h5", folder, *STATED)
    assert status == 0
    assert refused == {str(folder / f"{2**64}.npy"): "image: not named by specObjID"}
    catalogue = Survey(tmp_path / "survey.h5").catalogue
    assert catalogue["identifier"].dtype == np.uint64
    assert sorted(catalogue["identifier"].tolist()) == sorted(identifiers)


@pytest.mark.parametrize(
    ("name", "pixels"), [("median", 4500), ("original", 4500), ("native", 3598)]
)
def test_preparations(tmp_path, spectra, cube, name, pixels):
    assert build(tmp_path, spectra, cube, "--preparation", name)[0] == 0
    survey = Survey(tmp_path / "survey.h5")
    flux = survey.read("spectra", np.arange(COUNT))
    assert flux.shape == (COUNT, pixels)
    if name == "native":
        assert flux.min() == 0 and flux.max() == 1
        assert (survey.catalogue["flux_offset"] > 0).all()
    else:
        assert (survey.preparation == Preparation.original()) == (name == "original")
        edge = flux[:, 0] / flux[:, 20]
        assert np.all(edge < 0.7) if name == "original" else np.all(edge > 0.9)


def test_an_existing_survey_is_left_alone(tmp_path, spectra, cube, capsys):
    (tmp_path / "survey.h5").write_text("precious")
    (tmp_path / "survey.refused.csv").touch()
    assert build(tmp_path, spectra, cube)[0] == 2
    assert "survey.h5 exists" in capsys.readouterr().err
    assert (tmp_path / "survey.h5").read_text() == "precious"


def test_inputs_that_hold_nothing(tmp_path, spectra, cube, capsys):
    empty = tmp_path / "empty"
    empty.mkdir()
    base = [str(tmp_path / "s.h5"), "--workers", "1"]
    for options, message in [
        ((empty, cube), "no files spec-PPPP-MMMMM-FFFF.fits"),
        ((spectra, empty), "no cutouts in"),
        ((spectra, tmp_path / "missing.npz"), "missing.npz is not an npz file"),
        ((spectra, cube, "--survey-pixel-scale", 0.2), "leave the options out"),
        ((spectra, cube, "--z-range", 2, 3), "no galaxy was appended"),
        ((spectra, cube, "--fractions", 0.5, 0.6), "leave nothing to train on"),
    ]:
        source, images, *more = map(str, options)
        assert main([*base, "--spectra", source, "--images", images, *more]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "s.h5").exists()


@needs_real_data
def test_real_spectra_with_stand_in_images(tmp_path):
    """All 24 files; the three without a galaxy (sky fibres, zwarning 5) are refused."""
    folder, images = tmp_path / "spectra", tmp_path / "images"
    folder.mkdir()
    images.mkdir()
    for number, path in enumerate(REAL_DATA.glob("[sp][pa]*/spec-*.fits")):
        shutil.copy(path, folder)
        np.save(images / f"{read_spec_file(path).specobjid}.npy", image(number))
    status, refused = build(tmp_path, folder, images, *STATED)
    assert status == 0
    assert len(Survey(tmp_path / "survey.h5")) == 21
    assert list(refused.values()) == ["unreliable redshift: zwarning 5"] * 3
    (tmp_path / "survey.h5").unlink()
    status, refused = build(tmp_path, REAL_DATA / "sdss_spectra.h5", images)
    assert status == 0 and len(refused) > 1000


CUBE_ROWS = 20_000
MATCHED = 1_000
REPORT_PEAK = """
import sys
import numpy as np
from datasets.sdss.deepdip import iterate_images
from utils.build_survey import main
cube, rows = sys.argv.pop(1), int(sys.argv.pop(1))
read = sum(block[:, 0, 0, 0].sum(dtype=np.float64) for block in iterate_images(cube, range(rows)))
assert read == rows * (rows - 1) / 2
status = main(sys.argv[1:])
with open("/proc/self/status") as file:
    peak = next(line for line in file if line.startswith("VmHWM"))
print("peak", int(peak.split()[1]) * 1024)
sys.exit(status)
"""


def write_large_cube(path, identifiers):
    """A cube of 1.6 GB without holding it: every image is a number of its own."""
    labels = np.zeros(CUBE_ROWS, dtype=[("z", "f4"), ("specObjID", "u8")])
    labels["specObjID"] = identifiers
    header = {"descr": "<f4", "fortran_order": False, "shape": (CUBE_ROWS, 64, 64, 5)}
    ramp = np.arange(64 * 64 * 5, dtype=np.float32).reshape(64, 64, 5)
    with zipfile.ZipFile(path, "w") as archive:
        with archive.open("labels.npy", "w") as member:
            np.lib.format.write_array(member, labels)
        with archive.open("cube.npy", "w", force_zip64=True) as member:
            np.lib.format.write_array_header_1_0(member, header)
            for row in range(CUBE_ROWS):
                member.write((ramp + np.float32(row)).tobytes())


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak from /proc")
def test_a_large_cube_needs_little_memory(tmp_path):
    """Peak resident memory, mapped pages included, of reading all of a cube of 20,000 galaxies,
    and of a join with it."""
    every = CUBE_ROWS // MATCHED
    identifiers = np.array(
        [
            spec_object_identifier(266 + k // 1000, 51630, k % 1000 + 1, "26")
            for k in range(CUBE_ROWS)
        ],
        dtype=np.uint64,
    )
    write_large_cube(tmp_path / "sdss.npz", identifiers)
    chosen = np.arange(0, CUBE_ROWS, every)
    plate = 266 + chosen // 1000
    with h5py.File(tmp_path / "spectra.h5", "w") as file:
        file["loglam"] = LOGLAM
        file["flux"] = np.stack([flux(k) for k in chosen]).astype(np.float32)
        file["ivar"] = np.ones((MATCHED, len(LOGLAM)), np.float32)
        columns = {"specobjid": identifiers[chosen], "plate": plate, "fiber": chosen % 1000 + 1}
        columns |= {"mjd": np.full(MATCHED, 51630), "zwarning": np.zeros(MATCHED, int)}
        columns |= {"ra": chosen / 100, "dec": chosen / 1e3, "z": np.full(MATCHED, 0.1)}
        columns |= {"cls": np.full(MATCHED, b"GALAXY"), "subclass": np.full(MATCHED, b"")}
        for name, values in columns.items():
            file[name] = values
    survey = tmp_path / "survey.h5"
    inputs = ["--spectra", tmp_path / "spectra.h5", "--images", tmp_path / "sdss.npz"]
    command = [
        sys.executable,
        "-c",
        REPORT_PEAK,
        tmp_path / "sdss.npz",
        CUBE_ROWS,
        survey,
        *inputs,
        "--workers",
        "1",
    ]
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    peak = int(result.stdout.split()[-1])
    print(f"peak {peak / 2**30:.2f} GiB for a cube of {CUBE_ROWS * 64 * 64 * 20 / 2**30:.2f} GiB")
    assert peak < 2 * 2**30 and peak < 64 * 64 * 20 * CUBE_ROWS / 2  # the cube was never held
    built = Survey(survey)
    assert built.catalogue["identifier"].tolist() == identifiers[chosen].tolist()
    assert built.read("images", np.arange(MATCHED))[:, 0, 0, 0].tolist() == chosen.tolist()
