"""Data in the original's layout: order, exact identifiers, its split, nothing unpickled."""

import csv
import os

import numpy as np
import pytest
import torch
from torch.utils.data import random_split

from datasets.sdss.sources import SourceError
from datasets.sdss.spec_files import spec_object_identifier
from datasets.spectra import NATIVE_GRID, Preparation, prepare_spectrum
from datasets.survey import Survey
from utils.original.__main__ import main
from utils.original.layout import looks_exact, match, read_loglam

COUNT = 12
WAVELENGTH = NATIVE_GRID.angstrom
PIXEL = np.arange(64)


def identifier(k):
    return spec_object_identifier(2974, 54592, k + 1, "26")


def flux(k):
    return (2 + k % 7 + np.sin(WAVELENGTH / 300 + k)).astype(np.float32)


def image(k, bands=5):
    level = np.random.default_rng(k).uniform(1, 2, bands)
    return (level * np.hypot(PIXEL[:, None] - 20, PIXEL - 40)[..., None]).astype(np.float32)


def write(folder, name, k, **other):
    arrays = {
        "images": image(k),
        "spectra": flux(k),
        "indices": [np.float64(identifier(k)), 0.05 + 1e-3 * k],
    }
    for kind, array in (arrays | other).items():
        (folder / kind).mkdir(parents=True, exist_ok=True)
        if array is not None:
            np.save(folder / kind / f"{name}.npy", array)


@pytest.fixture
def folder(tmp_path):
    for k in range(COUNT):
        write(tmp_path / "data", str(k), k)
    return tmp_path / "data"


@pytest.fixture
def catalogue(tmp_path):
    """As pandas writes it: with a column without a name, in another order."""
    with open(tmp_path / "catalogue.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["", "z", "ra", "dec", "specObjID", "objID"])
        for k in reversed(range(COUNT + 3)):
            table.writerow([k, 0.05 + 1e-3 * k, 10 + k, -5 + k, identifier(k), 2**60 + k])
    return tmp_path / "catalogue.csv"


def run(folder, *options):
    output = folder.parent / "survey.h5"
    status = main(["import", str(folder), str(output), *map(str, options)])
    refused = output.with_suffix(".refused.csv")
    reasons = {}
    if refused.exists():
        with open(refused) as file:
            reasons = {row["source"]: row["reason"] for row in csv.DictReader(file)}
    return status, reasons


def test_everything_comes_back_in_the_originals_order(folder, catalogue):
    options = ["--catalogue", catalogue, "--split", "sky"]
    assert run(folder, *options) == (0, {})
    survey = Survey(folder.parent / "survey.h5")
    names = sorted(str(k) for k in range(COUNT))
    assert names[:4] == ["0", "1", "10", "11"]
    columns = survey.catalogue
    assert columns["original_name"].tolist() == names
    assert columns["identifier"].tolist() == [identifier(int(name)) for name in names]
    assert columns["identifier"].dtype == np.uint64 and columns["identifier_exact"].all()
    for row, k in enumerate(map(int, names)):
        prepared = prepare_spectrum(WAVELENGTH, flux(k), preparation=Preparation.original())
        np.testing.assert_array_equal(survey.read("spectra", [row])[0], prepared.flux)
        np.testing.assert_array_equal(survey.read("images", [row])[0], image(k).transpose(2, 0, 1))
        assert columns["z"][row] == 0.05 + 1e-3 * k
        assert (columns["ra"][row], columns["objid"][row]) == (10 + k, 2**60 + k)
    assert survey.preparation == Preparation.original()
    assert (survey.bands, survey.pixel_scale_arcsec) == (("u", "g", "r", "i", "z"), 0.396)


def test_galaxies_that_cannot_be_used_are_listed(folder, catalogue):
    hidden = np.array([{"a": 1}], dtype=object)
    broken = image(4)
    broken[3, 3, 3] = np.nan
    (folder / "spectra" / "1.npy").unlink()
    write(folder, "2", 2, spectra=flux(2)[:2000])
    write(folder, "3", 3, images=hidden)
    write(folder, "4", 4, images=broken)
    write(folder, "5", 5, indices=[np.float64(identifier(99)), 0.1])
    write(folder, "6", 6, indices=[np.nan, 0.1])
    write(folder, "7", 7, spectra=-flux(7))
    status, refused = run(folder, "--catalogue", catalogue, "--split", "sky")
    assert status == 0 and refused.keys() == set("1234567")
    expected = {
        "1": "no file in spectra",
        "2": "wavelengths must be as many as fluxes",
        "3": "not an array of numbers",
        "4": "values that are not finite",
        "5": f"no specObjID of the catalogue rounds to {identifier(99)}",
        "6": "is not a specObjID",
        "7": "mean over 6900-6950",
    }
    for name, reason in expected.items():
        assert reason in refused[name]
    assert len(Survey(folder.parent / "survey.h5")) == COUNT - 7


def test_the_published_split(tmp_path):
    """Without coordinates; on the spectra that are positive everywhere after the preparation.

    Identifiers whose digits are lost are marked.
    """
    folder, count, tiny = tmp_path / "data", 600, np.zeros((64, 64, 5), np.float32)
    for k in range(count):
        spectrum = flux(k)
        if k % 20 == 0:
            spectrum[2000:2040] = -1
        known = np.float64(identifier(k))
        indices = [np.float64(np.float32(known)) if k % 3 == 0 else known, 0.1]
        images = tiny + image(k)[:1, :1]
        write(folder, str(k), k, spectra=spectrum, images=images, indices=indices)
    assert run(folder) == (0, {})
    survey = Survey(tmp_path / "survey.h5")
    columns = survey.catalogue
    assert np.isnan(columns["ra"]).all()
    k = columns["original_name"].astype(int)
    true = np.array([identifier(int(one)) for one in k], dtype=np.uint64)
    np.testing.assert_array_equal(columns["identifier_exact"], k % 3 > 0)
    np.testing.assert_array_equal(columns["identifier"] == true, k % 3 > 0)

    positive = [name for name in sorted(map(str, range(count))) if int(name) % 20]
    held_out = int(0.1 * len(positive) + 512)
    generators = [torch.Generator().manual_seed(1) for _ in range(2)]
    sizes = [len(positive) - held_out, held_out]
    train, rest = random_split(positive, sizes, generator=generators[0])
    validation, test = random_split(rest, [512, len(rest) - 512], generator=generators[1])
    for split, expected in {"train": train, "validation": validation, "test": test}.items():
        names = survey.catalogue["original_name"][survey.indices(split)]
        assert names.tolist() == sorted(expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "too few for the original's split"),
        (["--split", "sky"], "--split sky needs coordinates: give --catalogue"),
        (["--preparation", "median"], "prepared as the original's"),
        (["--catalogue", "none.csv"], "none.csv: no such file"),
    ],
)
def test_what_cannot_be_done_is_said(folder, options, message, capsys):
    status, _ = run(folder, *options)
    assert status == 2 and message in capsys.readouterr().err
    assert not (folder.parent / "survey.h5").exists()


def test_catalogues_need_coordinates(folder, tmp_path, capsys):
    (tmp_path / "short.csv").write_text("specObjID,z\n1,0.1\n")
    assert run(folder, "--catalogue", tmp_path / "short.csv")[0] == 2
    assert "lacks the columns dec, ra" in capsys.readouterr().err


def test_other_folders_are_refused(tmp_path, capsys):
    assert run(tmp_path / "nothing")[0] == 2
    assert "no NAME.npy in each of images, spectra, indices" in capsys.readouterr().err


def test_colour_pictures(folder, catalogue):
    for k in range(COUNT):
        picture = np.random.default_rng(k).integers(0, 256, (64, 64, 3)).astype(np.uint8)
        write(folder, str(k), k, images=picture)
    options = ["--split", "sky", "--preparation", "native", "--catalogue", catalogue]
    assert run(folder, *options) == (0, {})
    survey = Survey(folder.parent / "survey.h5")
    assert (survey.bands, survey.grid) == (("R", "G", "B"), NATIVE_GRID)
    expected = np.moveaxis(np.load(folder / "images" / "0.npy"), -1, 0) / np.float32(255)
    np.testing.assert_array_equal(survey.read("images", [0])[0], expected)


def test_floats_find_their_identifier_or_none():
    reference = np.sort(np.array([identifier(k) for k in range(900)], dtype=np.uint64))
    for row in (0, 17, 899):
        assert match(float(reference[row]), reference) == row
        assert match(float(np.float32(reference[row])), reference) == row  # fibers stay apart
    assert "no specObjID" in match(float(reference[0]) + 2**20, reference)
    assert "no specObjID" in match(1.0, reference)
    twins = np.array([identifier(0), identifier(0) + 1024], dtype=np.uint64)
    assert match(float(twins[1]), twins) == 1
    assert "2 specObjIDs" in match(float(np.float32(twins[1])), twins)


def test_lost_digits_are_told_without_a_catalogue():
    known = identifier(5)
    assert looks_exact(float(known))
    assert not looks_exact(float(np.float32(known)))
    assert not looks_exact(float(known) + 512)  # no multiple of 1024
    assert not looks_exact(float(1 << 63 | known))  # 54 bits do not fit a float64
    assert not looks_exact(float(spec_object_identifier(2974, 50001, 1, "26")))  # before the survey


class Malicious:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


def test_wavelengths_are_plain_arrays_or_nothing(tmp_path):
    loglam = np.log10(WAVELENGTH)
    np.savez(tmp_path / "plain.npz", np.stack([loglam, loglam]))
    np.save(tmp_path / "plain.npy", loglam.astype(np.float32))
    np.testing.assert_array_equal(read_loglam(tmp_path / "plain.npz"), loglam)
    np.testing.assert_allclose(read_loglam(tmp_path / "plain.npy"), loglam, rtol=1e-7)
    rows = np.empty(2, dtype=object)
    rows[:] = [loglam, Malicious(tmp_path / "made")]
    np.savez(tmp_path / "loglam_uniform1.npz", rows)
    with pytest.raises(SourceError, match="never opened") as refusal:
        read_loglam(tmp_path / "loglam_uniform1.npz")
    assert "np.savez('loglam.npz'" in str(refusal.value)
    assert not (tmp_path / "made").exists()


def test_given_wavelengths_are_used(folder, catalogue):
    np.save(folder.parent / "loglam.npy", np.log10(WAVELENGTH) + 1e-4)
    options = ["--catalogue", catalogue, "--split", "sky", "--loglam", folder.parent / "loglam.npy"]
    assert run(folder, *options) == (0, {})
    shifted = prepare_spectrum(WAVELENGTH * 10**1e-4, flux(0), preparation=Preparation.original())
    found = Survey(folder.parent / "survey.h5").read("spectra", [0])[0]
    np.testing.assert_allclose(found, shifted.flux, rtol=1e-5)
