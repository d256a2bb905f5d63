"""The identity of a survey follows its content, and large surveys are not read as a whole."""

import shutil
import time

import h5py
import numpy as np
import pytest

from datasets.survey import Survey
from tests.support import make_tiny_survey
from utils.core.survey_identity import survey_identity

GALAXIES = 200  # more than the sampled rows


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return make_tiny_survey(tmp_path_factory.mktemp("survey") / "a.h5", GALAXIES)


def changed(original, folder, change):
    """The identity of a copy in which `change(file)` was made."""
    path = shutil.copy(original, folder / "b.h5")
    with h5py.File(path, "r+") as file:
        change(file)
    return survey_identity(Survey(path))


def test_a_copy_has_the_same_identity(original, tmp_path):
    assert changed(original, tmp_path, lambda file: None) == survey_identity(Survey(original))


@pytest.mark.parametrize("name", ["images", "spectra", "truth/noiseless"])
@pytest.mark.parametrize("row", [0, GALAXIES - 1])
def test_a_changed_pixel_of_a_sampled_row_is_noticed(original, tmp_path, name, row):
    def change(file):
        file[name][row, ..., 7] += 1e-3

    assert changed(original, tmp_path, change) != survey_identity(Survey(original))


@pytest.mark.parametrize("row", [0, 101, GALAXIES - 1])
def test_a_changed_catalogue_value_is_noticed(original, tmp_path, row):
    def change(file):
        file["catalogue/z"][row] += 1e-6

    assert changed(original, tmp_path, change) != survey_identity(Survey(original))


def test_another_length_or_setting_is_noticed(original, tmp_path):
    longer = make_tiny_survey(tmp_path / "longer.h5", GALAXIES + 1)
    assert survey_identity(Survey(longer)) != survey_identity(Survey(original))

    def change(file):
        file.attrs["settings"] = file.attrs["settings"].replace("0.396", "0.4")

    assert changed(original, tmp_path, change) != survey_identity(Survey(original))


def test_a_hundred_gigabytes_take_no_time(original, tmp_path):
    count = 1_000_000

    def grow(file):
        for name in ("images", "spectra"):
            shape = file[name].shape[1:]
            del file[name]
            file.create_dataset(name, (count, *shape), "f4", chunks=(1, *shape))
        z = np.linspace(0, 1, count)
        for name in file["catalogue"]:
            dtype = file["catalogue"][name].dtype
            del file["catalogue"][name]
            file["catalogue"][name] = z.astype(dtype)

    begun = time.perf_counter()
    changed(original, tmp_path, grow)
    assert time.perf_counter() - begun < 20  # reading it all takes many minutes
