"""The examples of the documentation run, on files that generate.py has just written."""

from __future__ import annotations

import functools
import json
import re
import shutil
import subprocess
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.units import UnitsWarning

import generate
from datasets.cutouts.export import export
from datasets.survey import Survey
from tests.support import ROOT
from utils.generation.column_meanings import meaning

FITSVERIFY = shutil.which("fitsverify")


def blocks(page):
    return re.findall(r"```python\n(.*?)```", (ROOT / "docs" / page).read_text(), flags=re.DOTALL)


@pytest.fixture(scope="module")
def folder(tiny_survey, tiny_generator, tmp_path_factory):
    folder = tmp_path_factory.mktemp("examples")
    export(Survey(tiny_survey), folder / "cutouts", "test", 3)
    given = [str(folder / "cutouts"), "--checkpoint", str(tiny_generator), "--device", "cpu"]
    for more in (["spectra"], ["shards", "--shards"]):
        assert generate.main([*given, "--output", str(folder / more[0]), *more[1:]]) == 0
    return folder


def test_the_examples_for_other_programs_run(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    variables: dict = {}
    found = blocks("files.md")
    assert len(found) >= 7
    for block in found:
        if "# needs ppxf" in block:
            try:
                import ppxf  # noqa: F401
            except ImportError:
                continue
        exec(block, variables)
    printed = capsys.readouterr().out
    assert "Angstrom" in printed and "(4500, 3)" in printed
    assert printed.count("galaxy") >= 3  # of the shards


def test_the_tutorials_python_runs(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    for block in blocks("tutorial.md"):
        exec(block, {})
    assert "Halpha_ew" in capsys.readouterr().out


def test_the_notebook_runs(capsys, monkeypatch):
    monkeypatch.setattr("matplotlib.pyplot.subplots", functools.partial(plt.subplots, dpi=50))
    variables: dict = {}
    for cell in json.loads((ROOT / "docs" / "example.ipynb").read_text())["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), variables)
    printed = capsys.readouterr().out
    assert "(8, 4500)" in printed and "Dn4000" in printed
    np.testing.assert_allclose(variables["given"][0].redshifts, variables["known"][0], rtol=1e-6)
    plt.close("all")


def test_topcat_finds_units_ucds_and_descriptions(folder):
    with fits.open(folder / "spectra" / "catalogue.fits") as hdus:
        header, names = hdus[1].header, hdus[1].columns.names
    for number, name in enumerate(names, start=1):
        ucd, description = meaning(name)
        assert (header[f"TUCD{number}"], header[f"TCOMM{number}"]) == (ucd, description)
    assert header[f"TUCD{names.index('ra') + 1}"] == "pos.eq.ra;meta.main"
    assert meaning("Halpha_ew_err") == ("stat.error;spect.line.eqWidth", "uncertainty of Halpha_ew")


def test_all_columns_of_a_spectrum_have_ucds(folder):
    path = min((folder / "spectra" / "spectra").glob("*.fits"))
    with fits.open(path) as hdus:
        for name in ("SPECTRUM", "SCORES", "REDSHIFT_PDF"):
            table = hdus[name]
            for number in range(1, len(table.columns) + 1):
                assert table.header[f"TUCD{number}"] and table.header[f"TCOMM{number}"]


def test_tables_come_back_as_they_were(folder, tmp_path):
    table = Table.read(folder / "spectra" / "catalogue.fits")
    for name in ("again.fits", "again.ecsv", "again.vot"):
        options = {"format": "votable"} if name.endswith("vot") else {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UnitsWarning)  # VOTable calls erg deprecated
            table.write(tmp_path / name, **options)
            again = Table.read(tmp_path / name)
        assert again.colnames == table.colnames
        assert list(again["identifier"]) == list(table["identifier"])
        assert str(again["ra"].unit) == "deg"


@pytest.mark.skipif(FITSVERIFY is None, reason="fitsverify is not installed here")
def test_fitsverify_finds_nothing(folder):
    paths = [*(folder / "spectra" / "spectra").iterdir(), folder / "spectra" / "catalogue.fits"]
    found = subprocess.run([FITSVERIFY, *map(str, paths)], capture_output=True, text=True)
    assert found.stdout.count("found 0 warning(s) and 0 error(s)") == len(paths)
