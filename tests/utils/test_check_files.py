"""The report on a folder of survey data: what is counted, and what is refused."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from astropy.io import fits
from PIL import Image

from datasets.constants import SDSS_BANDS
from datasets.file_check import check_folder
from datasets.sdss.spec_files import spec_object_identifier
from tests.spec_files import write_spec_file
from tests.support import REAL_DATA, needs_real_data
from utils.check_files import main
from utils.spectroscopy.ssp_library import LAYOUTS

LOGLAM = 3.58 + 1e-4 * np.arange(3600)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "spectra").mkdir()
    for fiber, part in enumerate((LOGLAM, LOGLAM[:2000])):
        identifier = spec_object_identifier(266, 51630, fiber, "26")
        path = tmp_path / "spectra" / f"spec-0266-51630-000{fiber}.fits"
        write_spec_file(path, identifier, part, np.ones(part.size))
    generator = np.random.default_rng(1)
    cutouts = generator.normal(size=(3, 5, 64, 64)).astype(np.float32)
    cutouts[1, 2] = 0
    np.savez(tmp_path / "cutouts.npz", cube=cutouts)
    Image.fromarray(generator.integers(0, 255, (64, 64, 3), np.uint8)).save(tmp_path / "one.png")
    (tmp_path / "README.md").write_text("not data")
    return tmp_path


def test_usable_and_refused_are_counted_by_place_and_kind(folder):
    tallies, damaged = check_folder(folder, LAYOUTS)
    assert not damaged
    counted = {key: (tally.pop(None, 0), tally.total()) for key, tally in tallies.items()}
    assert counted == {
        ("spectra", "spectrum"): (1, 1),
        ("cutouts.npz", "ugriz cutout"): (2, 1),
        ("one.png", "colour picture"): (1, 0),
    }
    (reason,) = tallies["spectra", "spectrum"]
    assert "good pixels span" in reason and not any(c.isdigit() for c in reason)


def test_cutouts_of_band_files_and_in_hdf5_are_usable(tmp_path):
    cutouts = np.random.default_rng(1).normal(size=(2, 5, 64, 64)).astype(np.float32)
    (tmp_path / "bands").mkdir()
    for number, cutout in enumerate(cutouts):
        for band, plane in zip(SDSS_BANDS, cutout, strict=True):
            fits.writeto(tmp_path / "bands" / f"{number}-{band}.fits", plane)
    with h5py.File(tmp_path / "many.h5", "w") as file:
        file["images"] = cutouts
    usable = {("bands", "ugriz cutout"): {None: 2}, ("many.h5", "ugriz cutout"): {None: 2}}
    assert check_folder(tmp_path, LAYOUTS) == (usable, [])


def test_unreadable_files_are_named_and_set_the_status(folder, capsys):
    assert main([str(folder)]) == 0
    (folder / "spectra" / "spec-0001-50000-0001.fits").write_text("nothing")
    (folder / "frame-r-000001-1-0001.fits").write_text("nothing")
    assert main([str(folder)]) == 1
    captured = capsys.readouterr()
    assert "spec-0001-50000-0001.fits" in captured.err and "frame-r" in captured.err
    assert "good pixels span" in captured.out
    assert main([str(folder / "nowhere")]) == 2


@needs_real_data
@pytest.mark.slow
def test_all_real_files_are_read():
    tallies, damaged = check_folder(REAL_DATA, LAYOUTS)
    assert not damaged
    counted = {key: (tally.pop(None, 0), tally.total()) for key, tally in tallies.items()}
    assert counted["spec_files", "spectrum"] == counted["pairs", "colour picture"] == (12, 0)
    assert sum(counted["sdss_spectra.h5", "spectrum"]) == 1386
    assert counted["cutouts_field_5112.npz", "ugriz cutout"] == (40, 0)
    assert counted["frames", "SDSS frame"] == (5, 0)
    assert counted["ssp", "stellar population"] == (54, 0)
