"""The survey file: exactness, statistics, atomicity, memory, and reading in worker processes."""

import os
import pickle
import signal
import subprocess
import sys

import h5py
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from datasets.constants import SPLITS
from datasets.errors import USER_ERROR, UserError
from datasets.spectra import Preparation, WavelengthGrid
from datasets.splits import EXCLUDED, assign_splits
from datasets.survey import Survey, SurveyError, main, read_rows
from datasets.survey_dataset import SurveyDataset
from datasets.survey_writer import SurveyWriter
from tests.support import ROOT

GRID = WavelengthGrid(count=40)
BANDS = ("g", "r", "i")
COUNT = 60


def galaxies(count=COUNT, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "images": rng.normal(50, 2, (count, 3, 64, 64)).astype(np.float32),
        "spectra": rng.normal(1, 0.1, (count, 40)).astype(np.float32),
        "catalogue": {
            "identifier": np.arange(count, dtype=np.uint64) + np.uint64(2**63 + 1),
            "ra": rng.uniform(0, 360, count),
            "dec": rng.uniform(-60, 60, count),
            "z": rng.uniform(0.05, 0.15, count),
            "morphology": np.array(["spiral", "Sérsic"] * (count // 2)),
        },
        "normalisation": rng.uniform(1, 90, count),
        "interpolated": rng.random((count, 40)) < 0.1,
        "truth": {"mass": rng.normal(10, 1, count), "noiseless": rng.normal(1, 1, (count, 40))},
    }


def part(columns, rows):
    """The same galaxies, fewer rows."""
    return {k: part(v, rows) if isinstance(v, dict) else v[rows] for k, v in columns.items()}


def writer(path, **options):
    return SurveyWriter(path, BANDS, 0.396, GRID, Preparation(), **options)


@pytest.fixture
def survey_path(tmp_path):
    path = tmp_path / "survey.h5"
    with writer(path, provenance={"source": "test"}, fractions=(0.2, 0.2)) as file:
        for rows in np.array_split(np.arange(COUNT), 7):
            file.append(**part(galaxies(), rows))
    return path


def test_everything_comes_back_exactly(survey_path):
    survey, expected = Survey(survey_path), galaxies()
    assert len(survey) == COUNT
    assert (survey.bands, survey.pixel_scale_arcsec, survey.image_unit) == (
        BANDS,
        0.396,
        "nanomaggy",
    )
    assert (survey.grid, survey.preparation) == (GRID, Preparation())
    assert survey.provenance == {"source": "test"}
    for name, values in expected["catalogue"].items():
        assert survey.catalogue[name].dtype.kind == values.dtype.kind
        np.testing.assert_array_equal(survey.catalogue[name], values)
    everything = np.arange(COUNT)
    for name in ("images", "spectra", "normalisation", "interpolated"):
        np.testing.assert_array_equal(survey.read(name, everything), expected[name])
    assert survey.truth_names == ("mass", "noiseless")
    np.testing.assert_array_equal(survey.truth("mass"), expected["truth"]["mass"])
    np.testing.assert_array_equal(
        survey.truth("noiseless", [5, 3]), expected["truth"]["noiseless"][[5, 3]]
    )


@pytest.mark.parametrize("name", ["split", "g/r"])
def test_names_that_no_column_can_have_are_refused_at_once(tmp_path, name):
    columns = galaxies()
    columns["catalogue"][name] = np.zeros(COUNT)
    with (
        pytest.raises(SurveyError, match=rf"survey\.h5: a catalogue column is called {name}"),
        writer(tmp_path / "survey.h5") as file,
    ):
        file.append(**columns)


def test_the_folder_is_made_if_needed(tmp_path):
    with writer(tmp_path / "data" / "new" / "survey.h5", fractions=(0.2, 0.2)) as file:
        file.append(**galaxies())
    assert len(Survey(tmp_path / "data" / "new" / "survey.h5")) == COUNT


def test_splits_are_those_of_the_rule(survey_path):
    survey = Survey(survey_path)
    rule = assign_splits(
        *(survey.catalogue[name] for name in ("identifier", "ra", "dec")), 1, (0.2, 0.2)
    )
    np.testing.assert_array_equal(survey.catalogue["split"], rule)
    rows = [survey.indices(name) for name in ("train", "validation", "test")]
    assert all(len(r) for r in rows)
    assert sorted(np.concatenate(rows)) == list(range(COUNT))


def test_the_published_split_goes_by_positive_spectra_and_needs_no_coordinates(tmp_path):
    columns = galaxies(600)
    columns["images"] = columns["images"][..., :8, :8]
    columns["spectra"] = np.abs(columns["spectra"])
    columns["spectra"][::20, 3] = [*np.zeros(15), *-np.ones(15)]
    columns["catalogue"]["ra"][:] = np.nan
    with writer(tmp_path / "survey.h5", split_rule="original") as file:
        file.append(**part(columns, slice(0, 250)))
        file.append(**part(columns, slice(250, 600)))
    split = Survey(tmp_path / "survey.h5").catalogue["split"]
    np.testing.assert_array_equal(np.flatnonzero(split == EXCLUDED), np.arange(0, 600, 20))
    assert np.bincount(split[split >= 0]).tolist() == [570 - 569, 512, 569 - 512]
    assert SPLITS == {"train": 0, "validation": 1, "test": 2}


def test_split_rules_that_cannot_be_followed_are_refused(tmp_path):
    with pytest.raises(ValueError, match="'sky' or 'original', not 'random'"):
        writer(tmp_path / "survey.h5", split_rule="random")
    few = writer(tmp_path / "survey.h5", split_rule="original")
    with pytest.raises(SurveyError, match="too few for the original's split"), few as file:
        file.append(**galaxies())
    assert not (tmp_path / "survey.h5").exists()


def test_statistics_are_those_of_the_training_split_in_float64(survey_path):
    survey = Survey(survey_path)
    train = galaxies()["images"][survey.indices("train")].astype(np.float64)
    np.testing.assert_allclose(survey.image_mean, train.mean(axis=(0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(survey.image_sigma, train.std(axis=(0, 2, 3)), rtol=1e-12)
    whole = galaxies()["images"].astype(np.float64).mean(axis=(0, 2, 3))
    assert (survey.image_mean != whole).all()


def test_the_same_galaxies_give_the_same_file(survey_path, tmp_path):
    """However they are cut into pieces, and whenever they are written."""
    with writer(tmp_path / "b.h5", provenance={"source": "test"}, fractions=(0.2, 0.2)) as file:
        file.append(**galaxies())
    with h5py.File(survey_path) as one, h5py.File(tmp_path / "b.h5") as other:
        assert dict(one.attrs) == dict(other.attrs)
        names = []
        one.visit(names.append)
        for name in names:
            if isinstance(one[name], h5py.Dataset):
                np.testing.assert_array_equal(one[name][:], other[name][:])
    assert len(names) > 12


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on a machine with one core
@pytest.mark.parametrize("in_memory", [True, False, None])
@pytest.mark.parametrize("workers", [0, 2])
def test_data_set_and_loader(survey_path, in_memory, workers):
    survey, expected = Survey(survey_path), galaxies()
    dataset = SurveyDataset(survey, survey.indices("train"), in_memory)
    seen = []
    batches = torch.randperm(len(dataset)).split(16)
    for batch in DataLoader(dataset, None, sampler=batches, num_workers=workers):
        rows = batch["index"].numpy()
        seen.extend(rows)
        assert batch["image"].dtype == batch["spectrum"].dtype == torch.float32
        np.testing.assert_array_equal(batch["image"], expected["images"][rows])
        np.testing.assert_array_equal(batch["spectrum"], expected["spectra"][rows])
    assert sorted(seen) == survey.indices("train").tolist()


def test_pickled_data_sets_read_the_file_and_stay_small(survey_path):
    survey = Survey(survey_path)
    dataset = SurveyDataset(survey, survey.indices("test"), in_memory=True)
    packed = pickle.dumps(dataset)
    assert len(packed) < 20_000
    positions = torch.tensor([1, 0])
    torch.testing.assert_close(pickle.loads(packed)[positions], dataset[positions])


@pytest.mark.parametrize("rows", [[], [7], [9, 2, 2, 40], list(range(59, -1, -3))])
def test_rows_in_any_order(survey_path, rows):
    with h5py.File(survey_path) as file:
        expected = file["spectra"][:][np.array(rows, dtype=int)]
        np.testing.assert_array_equal(read_rows(file["spectra"], rows), expected)


def test_an_existing_file_is_not_overwritten(survey_path):
    before = survey_path.read_bytes()
    with pytest.raises(UserError, match="choose another name"):
        writer(survey_path)
    assert survey_path.read_bytes() == before
    with writer(survey_path, overwrite=True) as file:
        file.append(**part(galaxies(), np.arange(20)))
    assert len(Survey(survey_path)) == 20


def test_an_error_leaves_no_file(tmp_path):
    with pytest.raises(RuntimeError), writer(tmp_path / "a.h5") as file:
        file.append(**galaxies())
        raise RuntimeError
    with pytest.raises(SurveyError, match="no galaxy"), writer(tmp_path / "a.h5"):
        pass
    assert not list(tmp_path.iterdir())


def test_a_killed_writer_leaves_nothing_under_the_name(tmp_path):
    path = tmp_path / "a.h5"
    code = (
        "import os, signal, sys; sys.path[:0] = ['.', 'tests/datasets']\n"
        "from test_survey import writer, galaxies\n"
        "with writer(sys.argv[1]) as file:\n"
        "    file.append(**galaxies()); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(path)], cwd=ROOT)
    assert killed.returncode == -signal.SIGKILL
    assert not path.exists()
    with writer(path) as file:  # what it left behind does not stand in the way
        file.append(**galaxies())
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.h5"]


def test_memory_does_not_grow_with_the_number_of_galaxies(tmp_path):
    """128 MB are written by a process that grows by less than 40 MB meanwhile."""
    code = (
        "import resource, sys; sys.path[:0] = ['.', 'tests/datasets']\n"
        "from test_survey import writer, galaxies, part\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024\n"
        "some = galaxies(64)\n"
        "with writer(sys.argv[1]) as file:\n"
        "    file.append(**some); early = peak()\n"
        "    for _ in range(40): file.append(**some)\n"
        "print(peak() - early)\n"
    )
    path = tmp_path / "a.h5"
    run = [sys.executable, "-c", code, str(path)]
    growth = float(subprocess.run(run, cwd=ROOT, capture_output=True, check=True).stdout)
    assert path.stat().st_size > 128e6
    assert growth < 40


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda g: g["catalogue"].pop("ra"), "'ra'"),
        (lambda g: g["catalogue"].update(ra=np.zeros(COUNT, np.float32)), "64 bits"),
        (lambda g: g["catalogue"].update(identifier=np.zeros(COUNT)), "64 bits"),
        (lambda g: g["catalogue"].update(dec=np.full(COUNT, np.nan)), "finite"),
        (lambda g: g["images"].__setitem__((0, 0, 0, 0), np.nan), "finite"),
        (lambda g: g.update(images=g["images"][:, :2]), "images"),
        (lambda g: g.update(spectra=g["spectra"][:, :2]), "spectra"),
        (lambda g: g.update(normalisation=g["normalisation"][1:]), "rows"),
    ],
)
def test_galaxies_that_do_not_fit_are_refused(tmp_path, change, message):
    columns = galaxies()
    change(columns)
    with pytest.raises(ValueError, match=message), writer(tmp_path / "a.h5") as file:
        file.append(**columns)


def test_later_pieces_need_the_same_columns(tmp_path):
    columns = galaxies()
    with pytest.raises(ValueError, match="truth/mass"), writer(tmp_path / "a.h5") as file:
        file.append(**columns)
        file.append(**{**columns, "truth": {"noiseless": columns["truth"]["noiseless"]}})


def test_files_that_are_no_surveys_are_named(tmp_path, survey_path):
    with pytest.raises(FileNotFoundError, match=r"missing\.h5"):
        Survey(tmp_path / "missing.h5")
    (tmp_path / "text.h5").write_text("not HDF5")
    with pytest.raises(SurveyError, match=r"text\.h5 is not a readable HDF5"):
        Survey(tmp_path / "text.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["a"] = 1
    with pytest.raises(SurveyError, match="build_survey"):
        Survey(tmp_path / "other.h5")
    with h5py.File(survey_path, "a") as file:
        file.attrs["schema_version"] = 99
    with pytest.raises(SurveyError, match="survey format 99, this code reads 1"):
        Survey(survey_path)


def test_description_command(survey_path):
    command = [sys.executable, "-m", "datasets.survey", str(survey_path)]
    text = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True, env=dict(os.environ)
    ).stdout
    assert text.strip() == Survey(survey_path).describe()
    assert main([str(survey_path.with_name("missing.h5"))]) == USER_ERROR
    assert f"{COUNT} (" in text and "g r i, 64 x 64 px, 0.396 arcsec/px" in text
