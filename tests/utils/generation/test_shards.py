"""Shards: the same spectra as one by one, whatever the processes, kills and damages."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import weakref
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import torch
from astropy.table import Table

import generate
from datasets.cutouts.conversion import CutoutFormat
from datasets.cutouts.reader import CutoutReader
from datasets.survey import Survey
from datasets.survey_description import SurveyDescription
from tests.support import ROOT
from utils import shards as command
from utils.core.interruption import REQUEUE
from utils.generation import input_files, sharded_run
from utils.generation.fits_output import read_spectrum
from utils.generation.pipeline import Pipeline
from utils.generation.shards import read_shards

GALAXIES = 7


@pytest.fixture
def one_thread():
    """Sums, and so last bits, depend on the threads of a batch. It has more than one where a run,
    or a shard, has fewer batches than there are cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def cube(tiny_survey, tmp_path_factory):
    """Seven cutouts in one HDF5 file, the last one not usable."""
    survey = Survey(tiny_survey)
    rows = survey.indices("test")[:GALAXIES]
    images = survey.read("images", rows)
    images[-1] = np.nan
    path = tmp_path_factory.mktemp("cube") / "cube.h5"
    with h5py.File(path, "w") as file:
        file["images"] = images
        file["ra"] = survey.catalogue["ra"][rows]
        file["identifier"] = survey.catalogue["identifier"][rows]
        file.attrs["bands"] = ",".join(survey.bands)
        file.attrs["pixel_scale_arcsec"] = SurveyDescription.of(survey).pixel_scale_arcsec
        file.attrs["unit"] = "nanomaggy"
    return path


def arguments(cutouts, checkpoint, output, *more):
    given = [cutouts, "--checkpoint", checkpoint, "--output", output, "--device", "cpu"]
    return [*map(str, given), "--batch-size", "2", "--allow-rejects", *more]


def run(*given):
    return generate.main(arguments(*given))


@pytest.fixture(scope="module")
def sharded(cube, tiny_generator, tmp_path_factory):
    """Shards of three galaxies, by one process."""
    folder = tmp_path_factory.mktemp("sharded") / "out"
    assert run(cube, tiny_generator, folder, "--shards", "3") == 0
    return folder


def shard_names(folder):
    return sorted(path.name for path in (folder / "shards").iterdir())


def assert_same_bits(ours, theirs):
    assert shard_names(ours) == shard_names(theirs)
    for a, b in zip(read_shards(ours), read_shards(theirs), strict=True):
        assert a.name == b.name
        for name in ("candidates", "mean", "sigma", "scores", "redshifts"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def test_shards_hold_what_single_files_would(cube, sharded, tiny_generator, tmp_path, capsys):
    assert shard_names(sharded) == [f"shard_{k:06d}.h5" for k in range(3)]
    assert run(cube, tiny_generator, tmp_path / "single", "--no-pictures") == 0
    assert command.main(["export", str(sharded), str(tmp_path / "exported")]) == 0
    ours, theirs = (
        {path.name: read_spectrum(path) for path in folder.iterdir()}
        for folder in (tmp_path / "exported", tmp_path / "single" / "spectra")
    )
    assert len(ours) == GALAXIES - 1 and ours.keys() == theirs.keys()
    for name, spectrum in ours.items():
        for field, value in vars(theirs[name]).items():
            own = getattr(spectrum, field)
            if field == "redshift_pdf":
                own, value = np.concatenate(own), np.concatenate(value)
            if isinstance(value, np.ndarray):  # of other batches: rounding differs
                np.testing.assert_allclose(own, value, rtol=1e-4, atol=1e-5)
            elif field in ("scale", "image_p_value", "image_colours"):
                assert own == pytest.approx(value, rel=1e-4, nan_ok=True), field
            else:
                np.testing.assert_equal(own, value, field)
    tables = [Table.read(f / "catalogue.fits") for f in (sharded, tmp_path / "single")]
    assert tables[0].colnames == tables[1].colnames
    assert sorted(tables[0]["identifier"]) == sorted(tables[1]["identifier"])
    rejected = [(f / "rejected.csv").read_text() for f in (sharded, tmp_path / "single")]
    assert rejected[0] == rejected[1] and "cube.h5#6" in rejected[0]


def test_an_exported_file_equals_that_of_a_single_run_byte_for_byte(
    cube, tiny_generator, tmp_path, one_thread
):
    assert run(cube, tiny_generator, tmp_path / "one", "--shards", "8") == 0  # the same batches
    assert run(cube, tiny_generator, tmp_path / "single", "--no-pictures") == 0
    assert command.main(["export", str(tmp_path / "one"), str(tmp_path / "exported")]) == 0
    for path in (tmp_path / "single" / "spectra").iterdir():
        assert path.read_bytes() == (tmp_path / "exported" / path.name).read_bytes()


def test_several_processes_make_the_same_bits_and_one_may_go_on(
    cube, sharded, tiny_generator, tmp_path
):
    out = tmp_path / "out"
    given = arguments(cube, tiny_generator, out, "--shards", "3")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    subprocess.run([*torchrun, "generate.py", *given], cwd=ROOT, env=environment, check=True)
    assert_same_bits(sharded, out)
    assert len(Table.read(out / "catalogue.fits")) == GALAXIES - 1
    (out / "shards" / "shard_000001.h5").unlink()
    assert generate.main([*given, "--resume"]) == 0
    assert_same_bits(sharded, out)


def test_what_a_process_writes_is_settled_before_any_of_them_writes(tmp_path, monkeypatch):
    for name in ("broadcast_object_list", "barrier", "destroy_process_group"):
        monkeypatch.setattr(f"torch.distributed.{name}", lambda *_, **__: None)
    products = SimpleNamespace(folder=tmp_path)
    run = sharded_run.ShardedRun(products, None, None, blocks=(None,) * 5, rank=1, world=2)
    with run.open({}, True):
        (tmp_path / "shards").mkdir()
        (tmp_path / "shards" / "shard_000000.h5").touch()  # by a faster process
        assert run.missing == [1, 2, 3, 4] and run.own == (1, 3)


def test_a_run_that_is_stopped_goes_on_without_loss(
    cube, sharded, tiny_generator, tmp_path, monkeypatch, capsys
):
    out = tmp_path / "out"
    original, calls = sharded_run.write_shard, []

    def killed(*given):
        calls.append(None)
        if len(calls) == 2:
            raise KeyboardInterrupt
        original(*given)

    with monkeypatch.context() as patch:
        patch.setattr(sharded_run, "write_shard", killed)
        with pytest.raises(KeyboardInterrupt):
            run(cube, tiny_generator, out, "--shards", "3")
    assert shard_names(out) == ["shard_000000.h5"]
    assert command.main(["check", str(out)]) == 1
    assert "1 of 3 shards, 3 galaxies" in capsys.readouterr().out
    assert run(cube, tiny_generator, out, "--shards", "3") == 2
    assert run(cube, tiny_generator, out, "--shards", "2", "--resume") == 2
    assert "galaxies_per_shard" in capsys.readouterr().err
    assert run(cube, tiny_generator, out, "--resume") == 2  # single files instead
    assert run(cube, tiny_generator, out, "--shards", "3", "--resume") == 0
    assert command.main(["check", str(out)]) == 0
    assert_same_bits(sharded, out)


def test_other_cutouts_are_refused_for_they_would_shift_the_blocks(
    cube, sharded, tiny_generator, tiny_survey, capsys
):
    given = arguments(cube, tiny_generator, sharded, "--shards", "3", "--resume")
    assert generate.main([str(tiny_survey), *given]) == 2
    assert "other values of cutouts" in capsys.readouterr().err


def test_merged_shards_read_as_the_shards(sharded, tmp_path, capsys):
    merged = tmp_path / "all.h5"
    assert command.main(["merge", str(sharded), str(merged)]) == 0
    for a, b in zip(read_shards(sharded), read_shards(merged), strict=True):
        assert (a.name, a.assumptions, a.provenance) == (b.name, b.assumptions, b.provenance)
        np.testing.assert_array_equal(a.candidates, b.candidates)
    with h5py.File(merged) as file:
        assert len(file["catalogue/redshift"]) == GALAXIES - 1
        assert file["rejected/file"][0].decode().endswith("cube.h5#6")
    assert command.main(["merge", str(sharded), str(merged)]) == 2
    blocks = list(input_files.join_blocks(input_files.read_blocks(merged)))
    assert sum(len(block.names) for block in blocks) == GALAXIES - 1
    names = [spectrum.name for spectrum in read_shards(merged)][:2]
    given = ["export", str(merged), str(tmp_path / "two"), "--names", *names]
    assert command.main(given) == 0 and len(list((tmp_path / "two").iterdir())) == 2


@pytest.mark.parametrize("damage", ["truncated", "flipped", "doubled"])
def test_damage_is_found_and_named(cube, tiny_generator, tmp_path, damage, capsys):
    out = tmp_path / "out"
    assert run(cube, tiny_generator, out, "--shards", "3", "--no-measure") == 0
    path = out / "shards" / "shard_000001.h5"
    contents = bytearray(path.read_bytes())
    if damage == "truncated":
        path.write_bytes(contents[: len(contents) // 2])
    elif damage == "flipped":
        with h5py.File(path) as file:
            place = file["candidates"].id.get_chunk_info(1).byte_offset
        contents[place + 5] ^= 1
        path.write_bytes(contents)
    else:
        path.write_bytes((out / "shards" / "shard_000000.h5").read_bytes())
    assert command.main(["check", str(out)]) == 2
    message = capsys.readouterr().err
    assert "3 galaxies are there twice" in message if damage == "doubled" else str(path) in message


def test_a_second_run_in_the_same_folder_is_refused(cube, sharded, tiny_generator, capsys):
    with open(sharded / ".lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert run(cube, tiny_generator, sharded, "--shards", "3", "--resume") == 2
    assert "another run is writing here" in capsys.readouterr().err
    assert run(cube, tiny_generator, sharded, "--shards", "3", "--resume") == 0


@pytest.mark.parametrize("shards", [["--shards", "3"], []], ids=["shards", "single files"])
def test_a_signal_asks_for_another_start(
    cube, sharded, tiny_generator, tmp_path, monkeypatch, capsys, shards
):
    original, calls = Pipeline.generate, []

    def signalled(self, *given, **options):
        calls.append(None)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGUSR1)
        return original(self, *given, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Pipeline, "generate", signalled)
        assert run(cube, tiny_generator, tmp_path / "out", *shards) == REQUEUE
    assert "stopped by SIGUSR1: go on with --resume" in capsys.readouterr().err
    assert run(cube, tiny_generator, tmp_path / "out", *shards, "--resume") == 0
    if shards:
        assert_same_bits(sharded, tmp_path / "out")
    else:
        assert len(list((tmp_path / "out" / "spectra").iterdir())) == GALAXIES - 1


def test_too_little_memory_halves_the_batch(cube, sharded, tiny_generator, tmp_path, monkeypatch):
    original, sizes, filling = Pipeline.generate, [], []

    def small_memory(self, images, *given, **options):
        assert not any(kept() is not None for kept in filling)  # freed before the next attempt
        sizes.append((len(images), self.rows_at_once))
        if len(images) > 1:
            activations = torch.zeros(1)
            filling.append(weakref.ref(activations))
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(self, images, *given, **options)

    monkeypatch.setattr(Pipeline, "generate", small_memory)
    assert run(cube, tiny_generator, tmp_path / "out", "--shards", "3") == 0
    assert sizes[:3] == [(2, 64), (1, 32), (1, 32)]
    assert [s.name for s in read_shards(tmp_path / "out")] == [s.name for s in read_shards(sharded)]
    for a, b in zip(read_shards(sharded), read_shards(tmp_path / "out"), strict=True):
        np.testing.assert_allclose(np.sort(a.redshifts), np.sort(b.redshifts), rtol=1e-4)


def test_a_galaxy_that_never_fits_is_an_error(cube, tiny_generator, tmp_path, monkeypatch, capsys):
    def no_memory(self, *given, **options):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(Pipeline, "generate", no_memory)
    assert run(cube, tiny_generator, tmp_path / "out") == 2
    assert "does not fit into the memory" in capsys.readouterr().err


def test_blocks_hold_every_cutout_once(cube, tmp_path):
    with h5py.File(cube) as file:
        images = file["images"][:-1]
    np.savez(tmp_path / "a.npz", images=images)
    np.savez_compressed(tmp_path / "b.npz", images=images)
    np.save(tmp_path / "c.npy", images)
    np.save(tmp_path / "d.npy", images[0])
    (tmp_path / "e.npz").write_text("damaged")
    bands = tuple("ugriz"[: images.shape[1]])
    target = CutoutFormat(bands, 0.396, images.shape[-1], bands, 0.396, "nanomaggy")
    reader = CutoutReader(tmp_path, target)
    whole = list(reader)
    blocks = reader.blocks(4)
    assert [len(block) for block in blocks] == [4, 4, 4, 4, 4]
    parts = [item for block in blocks for item in block]
    assert [getattr(item, "name", "rejected") for item in parts] == [
        getattr(item, "name", "rejected") for item in whole
    ]
    assert len(whole) == 20
    for ours, theirs in zip(parts[:-1], whole[:-1], strict=True):
        np.testing.assert_array_equal(ours.image, theirs.image)


def test_the_record_says_how_many_shards_there_are(sharded):
    record = json.loads((sharded / "generate.json").read_text())
    assert (record["shards"], record["galaxies_per_shard"]) == (3, 3)
