"""Spectra from files of every kind keep their identifiers; unreadable files are named."""

from __future__ import annotations

from dataclasses import replace

import h5py
import numpy as np
import pytest

from datasets.errors import UserError
from datasets.sdss.spec_files import spec_object_identifier
from datasets.spectra import METHOD_GRID, NATIVE_GRID, Preparation
from datasets.survey_writer import SurveyWriter
from tests.spec_files import write_spec_file
from tests.utils.generation.test_fits_output import spectrum
from utils.generation.fits_output import write_spectrum
from utils.generation.input_files import find_files, join_blocks, read_blocks

EBOSS = spec_object_identifier(9403, 58018, 485, "v5_13_0")  # ≥ 2^63, as of all plates > 8191
LEGACY = spec_object_identifier(266, 51602, 1, "26")


def spec_files(folder):
    flux, loglam = np.ones(NATIVE_GRID.count), np.log10(NATIVE_GRID.angstrom)
    for number, identifier in enumerate((EBOSS, LEGACY)):
        yield write_spec_file(folder / f"{number}.fits", identifier, loglam, flux)


def generated(folder):
    for number, identifier in enumerate((EBOSS, 0)):
        path = folder / f"{number}.fits"
        write_spectrum(path, replace(spectrum(), identifier=identifier))
        yield path


def survey(folder):
    spectra = np.ones((2, METHOD_GRID.count), np.float32)
    with SurveyWriter(
        folder / "survey.h5", ("g",), 0.396, METHOD_GRID, Preparation(), seed=0
    ) as writer:
        columns = {"identifier": np.array([EBOSS, LEGACY], np.uint64)}
        columns |= {"ra": np.array([10.0, 20.0]), "dec": np.zeros(2)}
        writer.append(np.ones((2, 1, 64, 64), np.float32), spectra, columns, np.ones(2))
    yield folder / "survey.h5"


def collection(folder):
    flux = np.ones((2, NATIVE_GRID.count), np.float32)
    columns = {"loglam": np.log10(NATIVE_GRID.angstrom), "flux": flux, "ivar": flux}
    columns |= {"specobjid": np.array([EBOSS, LEGACY], np.uint64), "z": np.zeros(2)}
    with h5py.File(folder / "collection.h5", "w") as file:
        file.update(columns)
    yield folder / "collection.h5"


@pytest.mark.parametrize(
    ("write", "second"),
    [(spec_files, LEGACY), (generated, 0), (survey, LEGACY), (collection, LEGACY)],
)
def test_identifiers_stay_exact_side_by_side(write, second, tmp_path):
    (block,) = join_blocks(block for path in write(tmp_path) for block in read_blocks(path))
    assert block.identifier.dtype == np.uint64
    assert block.identifier.tolist() == [EBOSS, second]
    assert EBOSS >= 2**63


def test_an_unreadable_file_is_named(tmp_path):
    for name, content in (("a.fits", b"text"), ("b.h5", b"text"), ("c.fits", b"")):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(UserError, match=name):
            list(read_blocks(path))
    with pytest.raises(UserError, match="no spectra found"):
        find_files([])
