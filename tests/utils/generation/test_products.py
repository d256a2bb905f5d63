"""Files made in other processes equal those made in this one; reading ahead changes nothing."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from datasets.cutouts.reader import Cutout
from datasets.errors import UserError
from datasets.spectra import METHOD_GRID, Preparation
from datasets.survey_description import SurveyDescription
from utils.generation.candidates import Candidates
from utils.generation.generated_spectrum import Provenance
from utils.generation.products import (
    Finisher,
    Generated,
    Made,
    Products,
    read_ahead,
    start_workers,
)

SURVEY = SurveyDescription(tuple("ugriz"), 0.396, 64, "nanomaggy", METHOD_GRID, Preparation(), "s")
PROVENANCE = Provenance(1, 4, "adams, 2 steps", ("best.pt 01",), "0", "median", 2.0)


def products(folder: Path) -> Products:
    for name in ("spectra", "pictures"):
        (folder / name).mkdir(parents=True)
    return Products(folder, SURVEY, PROVENANCE, kept=3)


def cutout(name: str) -> Cutout:
    image = np.random.default_rng(len(name)).normal(1.0, 0.1, (5, 64, 64)).astype(np.float32)
    return Cutout(name, image, Path(f"{name}.fits"))


def candidates(galaxies: int) -> Candidates:
    rng = np.random.default_rng(0)
    shape = galaxies, PROVENANCE.sampled
    return Candidates(
        flux=rng.normal(1.0, 0.1, (*shape, METHOD_GRID.count)).astype(np.float32),
        scores=np.sort(rng.random(shape, dtype=np.float32))[:, ::-1],
        numbers=np.tile(np.arange(shape[1]), (galaxies, 1)),
        redshift=rng.uniform(0.05, 0.15, shape).astype(np.float32),
        snr=rng.uniform(5, 15, shape).astype(np.float32),
        wavelength_angstrom=METHOD_GRID.angstrom,
        image_p_value=rng.random(galaxies, dtype=np.float32),
        image_flag=np.zeros(galaxies, dtype=bool),
        redshift_pdf=rng.random((galaxies, 4), dtype=np.float32),
        redshift_edges=np.linspace(0.05, 0.15, 5, dtype=np.float32),
    )


def test_kept_candidates_are_the_best_and_the_spread_is_of_all(tmp_path):
    order, pixels = np.array([3, 6, 1, 7, 2, 5, 0, 4]), np.ones((1, METHOD_GRID.count), np.float32)
    flux, numbers = order[:, None] * pixels, order[None]
    of_eight = replace(
        candidates(1), flux=flux[None], numbers=numbers, scores=1 - np.arange(8)[None] / 10,
        redshift=numbers / 100, snr=numbers * 10,
    )  # fmt: skip
    made = products(tmp_path).spectrum(cutout("a"), of_eight)
    assert made.redshifts.tolist() == [0.03, 0.06, 0.01]
    assert made.snrs.tolist() == [30, 60, 10]
    assert made.numbers.tolist() == [3, 6, 1]
    assert made.scores.tolist() == [1.0, 0.9, 0.8]
    np.testing.assert_array_equal(made.best, 3)
    np.testing.assert_array_equal(made.mean, 3.5)
    np.testing.assert_allclose(made.sigma, 2.38)


def assert_same_rows(here: dict, there: dict) -> None:
    assert here.keys() == there.keys() and "Dn4000" in here
    for column, values in here.items():
        np.testing.assert_array_equal(values, there[column], column)


def test_other_processes_write_the_same_bytes(tmp_path):
    made, made_of = candidates(3), {}
    for workers in (0, 2):
        done: list[Made] = []
        target = products(tmp_path / str(workers))
        with start_workers(workers) as pool, Finisher(target, pool, done.append) as finisher:
            finisher.finish([Generated(cutout("one"), made.of_galaxy(0), True)])
            more = enumerate(("two", "three"), start=1)
            finisher.finish([Generated(cutout(n), made.of_galaxy(k), True, True) for k, n in more])
        made_of[workers] = done
    for here, there in zip(made_of[0], made_of[2], strict=True):
        assert_same_rows(here.rows, there.rows)
        assert here.entries == there.entries
    assert [len(one.rows["name"]) for one in made_of[0]] == [1, 2]
    assert [[entry["name"] for entry in one.entries] for one in made_of[0]] == [
        [],
        ["two", "three"],
    ]
    names = [path.relative_to(tmp_path / "0") for path in (tmp_path / "0").rglob("*.*")]
    assert len(names) == 7  # with the contact sheet
    for name in names:
        assert (tmp_path / "0" / name).read_bytes() == (tmp_path / "2" / name).read_bytes(), name


def test_a_spectrum_that_is_there_is_read_for_its_row_and_its_missing_picture(tmp_path):
    made, target = candidates(2), products(tmp_path / "run")
    galaxies = [Generated(cutout(n), made.of_galaxy(k), False) for k, n in enumerate(("a", "bb"))]
    rows = target.make(galaxies).rows
    written = target.spectrum_path("a").read_bytes()
    again = target.make([Generated(galaxy.cutout, None, True) for galaxy in galaxies])
    assert_same_rows(again.rows, rows)
    assert target.spectrum_path("a").read_bytes() == written
    assert target.picture_path("a").exists() and target.picture_path("bb").exists()


def test_a_picture_that_was_there_before_its_spectrum_is_drawn_again(tmp_path):
    made, target = candidates(1), products(tmp_path / "run")
    target.picture_path("one").write_bytes(b"of another run")
    target.make([Generated(cutout("one"), made, True)])
    assert target.picture_path("one").read_bytes().startswith(b"\x89PNG")


def test_candidates_of_a_galaxy_are_its_own():
    made = candidates(3)
    one = made.of_galaxy(1)
    np.testing.assert_array_equal(one.flux[0], made.flux[1])
    assert one.image_p_value.tolist() == [made.image_p_value[1]]
    assert one.redshift_edges is made.redshift_edges


def test_an_error_in_another_process_ends_the_run(tmp_path):
    made, target = candidates(1), products(tmp_path / "run")
    (tmp_path / "run" / "spectra").rmdir()
    with (
        pytest.raises(FileNotFoundError),
        start_workers(1) as workers,
        Finisher(target, workers, int) as finisher,
    ):
        finisher.finish([Generated(cutout("one"), made, False)])


@pytest.mark.parametrize("count", [1, 3])
def test_a_killed_process_is_reported_with_the_remedy(tmp_path, count):
    made, target = candidates(1), products(tmp_path / "run")
    with (
        pytest.raises(UserError, match="with --resume, and fewer --workers"),
        start_workers(count) as workers,
        Finisher(target, workers, int) as finisher,
    ):
        finisher.finish([Generated(cutout("one"), made, False)])
        os.kill(next(iter(workers._processes)), signal.SIGKILL)
        for _ in range(100):
            time.sleep(0.05)
            finisher.finish([Generated(cutout("two"), made, False)])


def test_processes_begin_with_their_imports_and_leave_signals_to_this_one():
    with start_workers(1) as workers:
        loaded = workers.submit(eval, "sorted(__import__('sys').modules)").result()
        held = workers.submit(signal.pthread_sigmask, signal.SIG_BLOCK, ()).result()
    assert {"utils.generation.fits_output", "matplotlib.backends.backend_agg"} <= set(loaded)
    assert "torch" not in loaded
    assert {signal.SIGINT, signal.SIGTERM} <= held
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_after_an_error_their_imports_are_not_waited_for():
    with pytest.raises(ZeroDivisionError), start_workers(2) as workers:
        processes = list(workers._processes.values())
        raise ZeroDivisionError
    assert [process.exitcode for process in processes] == [-signal.SIGKILL] * 2


def test_after_their_imports_they_end_by_themselves():
    with pytest.raises(ZeroDivisionError), start_workers(1) as workers:
        processes = list(workers._processes.values())
        workers.imports[0].result()
        raise ZeroDivisionError
    assert [process.exitcode for process in processes] == [0]


def test_reading_ahead_keeps_order_and_errors():
    def items():
        yield from range(5)
        raise ValueError("damaged")

    ahead = read_ahead(items(), 2)
    assert list(islice(ahead, 5)) == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="damaged"):
        next(ahead)
    assert list(read_ahead(range(100), 3)) == list(range(100))


def test_reading_ahead_stays_within_its_limit():
    taken = []
    ahead = read_ahead((taken.append(i) or i for i in range(1000)), 4)
    assert next(ahead) == 0
    time.sleep(0.5)
    assert len(taken) <= 6
    ahead.close()
