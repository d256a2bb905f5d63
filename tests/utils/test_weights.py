"""The weights that come with the project: whole, described, and chosen by the cutouts' bands."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

import generate
from tests.support import ROOT
from tests.test_start_up import modules_of
from utils import export, export_cutouts, weights
from utils.core import shipped_weights
from utils.core.provenance import file_digest
from utils.generation.fits_output import read_spectrum


@pytest.fixture(scope="module")
def box(tiny_generator, tmp_path_factory):
    """A folder like `weights/`, with one file."""
    folder = tmp_path_factory.mktemp("weights")
    assert export.main([str(tiny_generator), str(folder / "mock-ugriz.safetensors")]) == 0
    (folder / "mock-ugriz.md").write_text("# A model card")
    digest = file_digest(folder / "mock-ugriz.safetensors")
    (folder / "digests.json").write_text(json.dumps({"mock-ugriz": digest}))
    return folder


@pytest.fixture(autouse=True)
def use_box(box, monkeypatch):
    monkeypatch.setattr(shipped_weights, "FOLDER", box)
    monkeypatch.setattr(weights, "FOLDER", box)
    monkeypatch.setattr(weights, "DIGESTS", box / "digests.json")


@pytest.fixture(scope="module")
def cutouts(tiny_survey, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cutouts")
    assert export_cutouts.main([str(tiny_survey), str(folder), "--count", "2"]) == 0
    return folder


def run(cutouts, output, *more):
    arguments = [str(cutouts), "--output", str(output), "--candidates", "2", "--steps", "1"]
    return generate.main([*arguments, "--no-measure", "--no-pictures", *more])


def test_generate_needs_cutouts_alone(cutouts, tmp_path, capsys):
    assert run(cutouts, tmp_path / "out") == 0
    assert "mock-ugriz.safetensors" in capsys.readouterr().out
    spectrum = read_spectrum(next((tmp_path / "out" / "spectra").iterdir()))
    assert np.isfinite(spectrum.best).all() and 0 < spectrum.image_p_value <= 1
    assert spectrum.provenance.checkpoints[0].startswith("mock-ugriz.safetensors ")


def test_cutouts_unlike_the_training_images_are_flagged(cutouts, tmp_path, capsys):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "static.npy", rng.normal(0, 1e4, (5, 64, 64)).astype(np.float32))
    assert run(tmp_path / "static.npy", tmp_path / "out") == 0
    assert "warning: unlike the training images: 1 of 1" in capsys.readouterr().err
    path = next((tmp_path / "out" / "spectra").iterdir())
    spectrum, header = read_spectrum(path), fits.getheader(path)
    assert spectrum.image_flag is header["IMGFLAG"] is True
    table = Table.read(tmp_path / "out" / "catalogue.fits")
    assert table["image_flag"][0] and table["image_p_value"][0] == header["IMGPVAL"]


def test_names_and_files_are_taken(box, cutouts, tmp_path, capsys):
    for number, name in enumerate(("mock-ugriz", str(box / "mock-ugriz.safetensors"))):
        assert run(cutouts, tmp_path / str(number), "--weights", name) == 0
    assert run(cutouts, tmp_path / "no", "--weights", "hsc") == 2
    assert "hsc: neither a file nor weights" in capsys.readouterr().err


def test_cutouts_that_fit_none_are_reported_with_the_reason(tmp_path, capsys):
    np.save(tmp_path / "four.npy", np.ones((4, 64, 64), np.float32))
    assert run(tmp_path / "four.npy", tmp_path / "out") == 2
    message = capsys.readouterr().err
    assert "none of the weights" in message and "mock-ugriz (u g r i z): " in message


def test_list_describe_and_check(capsys):
    assert weights.main([]) == 0
    assert "mock-ugriz   u g r i z  0.396 arcsec/px" in capsys.readouterr().out
    assert weights.main(["describe", "mock-ugriz"]) == 0
    assert "# A model card" in capsys.readouterr().out
    assert weights.main(["check"]) == 0
    assert "mock-ugriz: whole" in capsys.readouterr().out


def test_check_finds_damage(box, tmp_path, monkeypatch, capsys):
    copy = tmp_path / "box"
    shutil.copytree(box, copy)
    for module in (shipped_weights, weights):
        monkeypatch.setattr(module, "FOLDER", copy)
    file = copy / "mock-ugriz.safetensors"
    changed = bytearray(file.read_bytes())
    changed[-1] ^= 1
    file.write_bytes(changed)
    assert weights.main(["check"]) == 2
    assert "missing or damaged" in capsys.readouterr().err


def test_recorded_digests_are_those_of_the_files(box, tmp_path, monkeypatch):
    expected = (box / "digests.json").read_text()
    monkeypatch.setattr(weights, "DIGESTS", tmp_path / "digests.json")
    assert weights.main(["record"]) == 0
    assert json.loads((tmp_path / "digests.json").read_text()) == json.loads(expected)


def test_the_weights_of_the_project_are_whole_and_small(monkeypatch, capsys):
    for module in (shipped_weights, weights):
        monkeypatch.setattr(module, "FOLDER", ROOT / "weights")
    monkeypatch.setattr(weights, "DIGESTS", ROOT / "weights" / "digests.json")
    assert weights.main(["check"]) == 0
    assert capsys.readouterr().out.count("whole") == len(shipped_weights.shipped_weights()) == 3
    files = list(shipped_weights.shipped_weights().values())
    assert sum(file.stat().st_size for file in files) <= 20e6
    assert all(file.with_suffix(".md").is_file() for file in files)


def test_the_list_needs_no_torch():
    assert "torch" not in modules_of("utils.weights", "list")
