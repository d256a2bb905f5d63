"""Rendered images for real spectra: real colours inside the fibre, honest provenance."""

from __future__ import annotations

import csv

import h5py
import numpy as np
import pytest

from datasets.constants import SDSS_FIBRE_ARCSEC, SDSS_PIXEL_ARCSEC
from datasets.errors import UserError
from datasets.kcorrect_templates import read_templates
from datasets.mock import images
from datasets.mock.catalogue import distance_modulus
from datasets.mock.semisynthetic import build as semisynthetic
from datasets.mock.semisynthetic.__main__ import main
from datasets.mock.semisynthetic.moved import Moved
from datasets.sdss.spec_files import SpectrumFileError
from datasets.survey import Survey
from datasets.synthetic_photometry import filter_weights
from tests.support import REAL_DATA, needs_real_data

FIBRE = np.array([[20.0, 90.0, 200.0, 290.0, 370.0], [15.0, 40.0, 60.0, 70.0, 75.0]])
LOGLAM = 3.58 + 1e-4 * np.arange(3500)


def _collection(path, count=40, **changes):
    """A collection of flat spectra with the colours of FIBRE."""
    text = {"cls": "GALAXY", "subclass": "STARFORMING", "morph": "Sp"}
    flux = FIBRE[np.arange(count) % 2]
    columns = {
        "loglam": LOGLAM,
        "flux": np.full((count, LOGLAM.size), 9.0, np.float32),
        "ivar": np.ones((count, LOGLAM.size), np.float32),
        "calibflux": flux.astype(np.float32),
        "spectroflux": flux.astype(np.float32),
        "specobjid": (np.arange(count) + 1).astype(np.uint64) << np.uint64(50),
        "ra": np.linspace(100, 200, count),
        "dec": np.zeros(count),
        "z": np.full(count, 0.04),
        "zwarning": np.zeros(count, np.int32),
        "plate": np.full(count, 266, np.int32),
        "mjd": np.full(count, 51630, np.int32),
        "fiber": np.arange(count, dtype=np.int32),
        **{name: np.full(count, value, "S24") for name, value in text.items()},
    }
    for name, (row, value) in changes.items():
        columns[name][row] = value
    with h5py.File(path, "w") as file:
        for name, values in columns.items():
            file[name] = values
    return path


def _shape(count: int) -> tuple[dict, list[np.random.Generator]]:
    streams = [np.random.default_rng([4, i]) for i in range(count)]
    kind = np.arange(count) % 3
    fibre = FIBRE[np.arange(count) % 2]
    return semisynthetic._appearance(fibre, np.full(count, 0.03), kind, streams), streams


def test_fibre_aperture_holds_the_measured_fluxes(monkeypatch):
    """Noiseless cutouts without neighbours, summed over the 3 arcsec aperture, band by band."""
    nobody = np.empty(0, int), np.zeros((0, 1, 1), np.complex64), np.zeros((0, 5))
    monkeypatch.setattr(images, "add_noise", lambda cutouts, streams: cutouts)
    monkeypatch.setattr(
        images, "neighbours",
        lambda streams: (nobody[0], np.zeros((0, 80, 41), np.complex64), nobody[2]),
    )  # fmt: skip
    shape, streams = _shape(12)
    fibre = FIBRE[np.arange(12) % 2]
    cutouts, inside_fibre = semisynthetic.render(shape, fibre, streams)
    np.testing.assert_array_equal(inside_fibre, fibre)
    fine = (np.arange(64 * 10) + 0.5) / 10 - 0.5 - 32
    for cutout, x0, y0, flux in zip(cutouts, shape["x0"], shape["y0"], fibre, strict=True):
        inside = np.hypot(fine - x0, fine[:, None] - y0) < SDSS_FIBRE_ARCSEC / 2 / SDSS_PIXEL_ARCSEC
        weight = inside.reshape(64, 10, 64, 10).mean((1, 3))
        np.testing.assert_allclose((cutout * weight).sum((1, 2)), flux, rtol=0.015)


def test_young_discs_are_bluer_outside_than_inside():
    shape, streams = _shape(12)
    spiral = np.arange(12) % 3 == semisynthetic.SPIRAL
    cutouts, _ = semisynthetic.render(shape, np.tile(FIBRE[1], (12, 1)), streams)
    pixel = np.arange(64) - 31.5
    radius = np.hypot(pixel, pixel[:, None])
    inner, outer = (
        (cutouts * part).sum((2, 3))[:, [1, 3]]
        for part in (radius < 3, (radius > 5) & (radius < 15))
    )
    g_i = [2.5 * np.log10(flux[:, 1] / flux[:, 0]) for flux in (inner, outer)]
    assert np.mean(g_i[0][spiral] - g_i[1][spiral]) > 0.05


def test_survey_of_a_collection(tmp_path):
    source = _collection(
        tmp_path / "spectra.h5",
        calibflux=(3, np.array([20, -1, 200, 290, 370])),
        spectroflux=(5, np.array([20, 90, 500, 290, 370])),
        cls=(7, b"QSO"),
        specobjid=(9, 0),
        ivar=((11, slice(2500, None)), 0),
    )
    path = tmp_path / "semi.h5"
    skipped = semisynthetic.make_semisynthetic(path, source, seed=2)
    assert [one["row"] for one in skipped] == [3, 5, 7, 9, 11]
    with open(f"{path}.skipped.csv", encoding="utf-8") as file:
        assert [int(row["row"]) for row in csv.DictReader(file)] == [3, 5, 7, 9, 11]
    survey = Survey(path)
    assert len(survey) == 35
    assert survey.catalogue["identifier"].dtype == np.uint64
    assert survey.catalogue["identifier"][0] == 1 << 50
    assert survey.provenance["kind"].startswith("semi-synthetic")
    assert "not observed" in survey.provenance["description"]
    assert set(survey.catalogue["morph"]) == {"Sp"}
    np.testing.assert_array_equal(survey.catalogue["sn"], 9.0)  # from flux and ivar
    with pytest.raises(UserError, match="exists"):
        semisynthetic.make_semisynthetic(path, source)


def test_a_galaxy_does_not_depend_on_the_others(tmp_path):
    source = _collection(tmp_path / "all.h5")
    fewer = _collection(tmp_path / "fewer.h5", cls=(0, b"STAR"))
    for name, spectra in (("one", source), ("two", fewer)):
        semisynthetic.make_semisynthetic(tmp_path / f"{name}.h5", spectra)
    one, two = (Survey(tmp_path / f"{name}.h5") for name in ("one", "two"))
    np.testing.assert_allclose(
        one.read("images", np.arange(1, 31)), two.read("images", np.arange(30)), atol=1e-4
    )


def test_command_names_what_is_missing(tmp_path, capsys):
    source = _collection(tmp_path / "spectra.h5")
    with h5py.File(source, "a") as file:
        del file["calibflux"]
    with pytest.raises(SpectrumFileError, match="calibflux"):
        semisynthetic.make_semisynthetic(tmp_path / "out.h5", source)
    assert main([str(tmp_path / "out.h5"), "--spectra", str(source)]) == 2
    assert "calibflux" in capsys.readouterr().err
    assert not (tmp_path / "out.h5").exists()


@needs_real_data
def test_real_colours_are_those_of_real_galaxies(tmp_path):
    """Of 96 real galaxies: aperture colours of the noisy cutouts against calibflux."""
    source = REAL_DATA / "sdss_spectra.h5"
    with h5py.File(source) as file, h5py.File(tmp_path / "part.h5", "w") as part:
        for name, values in file.items():
            part[name] = values[:] if name == "loglam" else values[:96]
    path = tmp_path / "semi.h5"
    semisynthetic.make_semisynthetic(path, tmp_path / "part.h5")
    survey = Survey(path)
    pixel = np.arange(64) - 31.5
    aperture = np.hypot(pixel, pixel[:, None]) < SDSS_FIBRE_ARCSEC / 2 / SDSS_PIXEL_ARCSEC
    flux = (survey.read("images", np.arange(len(survey))) * aperture).sum((2, 3))
    measured = 2.5 * np.log10(flux[:, 2] / flux[:, 1])
    expected = survey.catalogue["fibermag_g"] - survey.catalogue["fibermag_r"]
    assert np.median(np.abs(measured - expected)) < 0.02
    assert np.corrcoef(measured, expected)[0, 1] > 0.97


def test_copies_are_the_same_galaxies_farther_away(tmp_path):
    source = _collection(tmp_path / "spectra.h5", count=12)
    wavelength = 10**LOGLAM
    with h5py.File(source, "a") as file:
        file["flux"][:] = 9.0 + 90.0 * np.exp(-0.5 * ((wavelength - 5000 * 1.04) / 8) ** 2)
        file["ivar"][3, wavelength < 4000] = 0  # begins where the grid does
    skipped = semisynthetic.make_semisynthetic(tmp_path / "semi.h5", source, moved=2)
    assert [(one["row"], "cannot be moved" in one["reason"]) for one in skipped] == [(3, True)] * 2
    survey = Survey(tmp_path / "semi.h5")
    catalogue, step = survey.catalogue, np.uint64(1 << 50)
    original, copy = catalogue["identifier"] // step, catalogue["identifier"] % step
    assert sorted(set(copy)) == [0, 1, 2] and len(survey) == 12 + 2 * 11
    largest = 1.04 * 4000 / wavelength[0] - 1
    for galaxy in range(1, 13):
        rows = np.flatnonzero(original == galaxy)
        assert len(set(catalogue["split"][rows])) == 1
        z = catalogue["z"][rows]
        assert z[0] == 0.04 and np.all((z[1:] > 0.04) & (z[1:] < largest))
        line = survey.grid.angstrom[survey.read("spectra", rows).argmax(axis=1)]
        np.testing.assert_allclose(line, 5000 * (1 + z), atol=1.5)
        magnitude = catalogue["fibermag_r"][rows]
        assert np.all(magnitude[1:] > magnitude[0])
    assert "2 copies" in survey.provenance["moved"]


def test_a_moved_galaxy_keeps_its_light_and_its_size():
    """A galaxy of one template, at both redshifts, as F_λ of a source of the same luminosity."""
    z, there = np.array([0.02]), np.array([0.06])
    rest, templates = read_templates()
    angstrom = np.arange(2960.0, 11300.0, 1.0)
    metres = [10 ** (0.2 * float(distance_modulus(redshift)[0])) for redshift in (z, there)]
    seen = [
        np.interp(angstrom / (1 + r[0]), rest, templates[2]) / (1 + r[0]) / d**2
        for r, d in zip((z, there), metres, strict=True)
    ]
    weights = filter_weights(angstrom)
    here, farther = (np.trapezoid(one * weights, angstrom) for one in seen)
    moved = Moved.of(here[None] * 50 / here.mean(), z, there)
    np.testing.assert_allclose(moved.flux[0], farther / here, rtol=0.003)
    ratio = metres[0] / (1 + z) ** 2 / (metres[1] / (1 + there) ** 2)
    np.testing.assert_allclose(moved.size, ratio, rtol=1e-6)


def test_more_copies_than_identifiers_are_refused(tmp_path):
    with pytest.raises(UserError, match="0 to 1023"):
        semisynthetic.make_semisynthetic(
            tmp_path / "o.h5", _collection(tmp_path / "s.h5"), moved=1024
        )
