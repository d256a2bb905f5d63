"""The engine: schedule, order, averaging, exact resuming, guards."""

from __future__ import annotations

import math
import multiprocessing
import os
import shutil
import signal
import time
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.tensorboard import SummaryWriter

import train_contrastive
import train_generative
from datasets.errors import UserError
from datasets.hashing import mix
from tests.small_training import ContrastiveStage, DiffusionStage, fit
from tests.support import GOLDEN, make_tiny_survey, tiny
from utils.core.checkpoints import read_checkpoint
from utils.core.config import ContrastiveConfig, GenerativeConfig, OptimiserConfig
from utils.core.folder_lock import lock_folder
from utils.core.interruption import REQUEUE, Interrupted
from utils.core.run_log import MetricsTable
from utils.training.contrastive_task import ContrastiveObjective, ContrastiveTask
from utils.training.data_order import EpochBatches, training_loader
from utils.training.feature_cache import NewViews
from utils.training.interruption import Interruption
from utils.training.optimiser import MovingAverage, rate_factor
from utils.training.parameter_task import ParameterTask
from utils.training.spectrum_task import SpectrumTask
from utils.training.trainer import AtomicSaver


@pytest.mark.parametrize(
    ("name", "iterations", "warmup"),
    [("polynomial_101", 101, 0), ("polynomial_1000", 1000, 0),
     ("linear_warmup_polynomial_1000", 1000, 100)],
)  # fmt: skip
def test_learning_rate_is_the_published_schedule(name, iterations, warmup):
    config = OptimiserConfig(learning_rate=1e-4, final_learning_rate=1e-6, warmup_iterations=warmup)
    factor = rate_factor(config, iterations)
    ours = [1e-4 * factor(iteration) for iteration in range(iterations)]
    np.testing.assert_allclose(ours, np.load(GOLDEN / "schedules.npz")[name], rtol=1e-6)


def test_order_is_a_function_of_seed_and_epoch_and_covers_all():
    batches = EpochBatches(50, 10, seed=1)
    first = order(batches)
    assert sorted(first) == list(range(50)) and first == order(batches)
    batches.epoch = 1
    assert order(batches) != first
    assert order(EpochBatches(50, 10, seed=2)) != first


def order(batches):
    return torch.cat(list(batches)).tolist()


def test_a_partial_batch_is_left_out():
    batches = EpochBatches(50, 8, seed=1)
    assert [len(batch) for batch in batches] == [8] * 6 and len(batches) == 6


def test_processes_share_out_an_epoch_without_overlap():
    parts = [order(EpochBatches(51, 5, 1, rank, 2)) for rank in range(2)]
    assert len(parts[0]) == len(parts[1]) == 25 and not set(parts[0]) & set(parts[1])


def test_mix_separates_neighbouring_seeds():
    seeds = {mix(a, b, c) for a in range(10) for b in range(10) for c in range(10)}
    assert len(seeds) == 1000 and all(0 <= seed < 2**63 for seed in seeds)


def averages(values, decay):
    """The average after each of the `values` that a weight takes."""
    network = nn.Linear(1, 1, bias=False)
    average = MovingAverage(network, decay)
    for value in values:
        nn.init.constant_(network.weight, value)
        average.update_parameters(network)
        yield average.module.weight.item()


def test_average_warms_up():
    # Decays 2/11, 3/12 and 4/13 after the first value, which is copied.
    expected = [1, 20 / 11, 119 / 44, 515 / 143]
    assert list(averages([1.0, 2.0, 3.0, 4.0], 0.5)) == pytest.approx(expected, rel=1e-6)


def test_average_reaches_its_decay():
    *_, before, after = averages([0.0] * 100 + [1.0], 0.9)
    assert (before, after) == (0.0, pytest.approx(0.1, rel=1e-6))


def weights_of(path):
    """Raw and averaged weights of a `last.pt`."""
    checkpoint = torch.load(path, weights_only=True)
    return {**checkpoint["network"], **checkpoint["average"]}


def assert_same_weights(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


@pytest.fixture
def contrastive_run(tiny_survey, tiny_towers):
    return tiny_towers.parent, [tiny("contrastive"), f"--data.survey={tiny_survey}"]


def stop_at_call(patch, owner, method, number, chosen=lambda *_: True):
    """Let the `number`-th of the `chosen` calls of a method end the process as Ctrl-C does."""
    original, calls = getattr(owner, method), []

    def counted(self, *arguments):
        calls.extend([None] * chosen(*arguments))
        if len(calls) == number:
            raise KeyboardInterrupt
        return original(self, *arguments)

    patch.setattr(owner, method, counted)


def assert_same_run(whole, stopped):
    for file in ("last.pt", "best.pt"):
        checkpoints = (torch.load(run / file, weights_only=True) for run in (whole, stopped))
        assert_same_weights(*(checkpoint["network"] for checkpoint in checkpoints))
    assert_same_weights(weights_of(whole / "last.pt"), weights_of(stopped / "last.pt"))
    rows = [MetricsTable(folder / "metrics.csv").rows for folder in (whole, stopped)]
    for before, after in zip(*rows, strict=True):
        assert {**before, "seconds": 0} == {**after, "seconds": 0}


def check_resume(main, arguments, whole, stopped, monkeypatch, point):
    """A run stopped at a point and resumed equals `whole`, which never stopped."""
    arguments = [*arguments, "--optimiser.epochs=3", f"--run.output={stopped}", "--resume"]
    with monkeypatch.context() as patch:
        stop_at_call(patch, *point)
        with pytest.raises(KeyboardInterrupt):
            main(arguments)
    assert main(arguments) == 0
    assert_same_run(whole, stopped)


def last_checkpoint(checkpoint, name, metadata):
    return name == "last.pt"


STOPS = {  # three steps an epoch, a validation before the first step and after every epoch
    "before the first step": (ContrastiveStage, "validate", 1),
    "in the first epoch": (ContrastiveStage, "prepare", 2),
    "before the first checkpoint": (AtomicSaver, "__call__", 1, last_checkpoint),
    "in the second epoch": (ContrastiveStage, "prepare", 5),
    "in a validation": (ContrastiveStage, "validate", 3),
    "between table and checkpoint": (AtomicSaver, "__call__", 2, last_checkpoint),
    "in a preview": (ContrastiveStage, "preview", 1),
}


@pytest.mark.parametrize("point", STOPS)
def test_a_training_stopped_anywhere_ends_as_if_it_never_was(tmp_path, monkeypatch, point):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    fit(ContrastiveStage(), whole)
    with monkeypatch.context() as patch:
        stop_at_call(patch, *STOPS[point])
        with pytest.raises(KeyboardInterrupt):
            fit(ContrastiveStage(), stopped)
    fit(ContrastiveStage(), stopped, resume=(stopped / "last.pt").exists())
    assert_same_run(whole, stopped)


@pytest.mark.parametrize("step", [2, 5], ids=["in the first epoch", "in the second epoch"])
def test_contrastive_resume_is_exact(contrastive_run, tmp_path, monkeypatch, step):
    whole, arguments = contrastive_run
    point = (ContrastiveObjective, "forward", step)
    main = train_contrastive.main
    check_resume(main, arguments, whole, tmp_path / "stopped", monkeypatch, point)


@pytest.mark.parametrize(
    ("views", "task", "step"),  # in the second epoch of either diffusion
    [(0, SpectrumTask, 5), (2, SpectrumTask, 5), (0, ParameterTask, 7), (2, ParameterTask, 7)],
)
def test_generative_resume_is_exact(
    contrastive_run, tiny_survey, tmp_path, monkeypatch, views, task, step
):
    towers, _ = contrastive_run
    arguments = [
        tiny("generative"),
        f"--data.survey={tiny_survey}",
        f"--diffusion.contrastive={towers / 'best.pt'}",
        f"--diffusion.condition_views={views}",
    ]
    whole = tmp_path / "whole"
    main = train_generative.main
    assert main([*arguments, "--optimiser.epochs=3", f"--run.output={whole}"]) == 0
    stopped = tmp_path / "stopped"
    check_resume(main, arguments, whole, stopped, monkeypatch, (task, "prepare", step))
    assert_same_run(whole / "parameters", stopped / "parameters")
    changed = ["--parameters.optimiser.epochs=6", "--sampling.candidates=5", "--resume"]
    assert main([*arguments, "--optimiser.epochs=3", f"--run.output={whole}", *changed]) == 0
    best, parameters = (read_checkpoint(p / "best.pt") for p in (whole, whole / "parameters"))
    assert best["about"]["config"]["sampling"]["candidates"] == 5
    for name, weights in parameters["network"].items():
        torch.testing.assert_close(best["parameters"][name], weights, rtol=0, atol=0)
    sizes = [read_checkpoint(p / "best.pt")["network"].keys() for p in (whole, stopped)]
    assert sizes[0] == sizes[1]


def test_epochs_may_be_a_fraction(contrastive_run, tmp_path, capsys):
    _, arguments = contrastive_run
    folder = tmp_path / "part"
    asked = [*arguments, "--optimiser.epochs=1.5", f"--run.output={folder}"]
    assert train_contrastive.main(asked) == 0
    one, half = MetricsTable(folder / "metrics.csv").rows[1:]
    length = int(one["iteration"])
    assert int(half["iteration"]) == round(1.5 * length)
    assert float(half["loss"]) > 0.5 * float(one["loss"])  # a mean over the steps there were
    assert train_contrastive.main([*asked, "--resume"]) == 0
    assert "all 1.5 epochs are done" in capsys.readouterr().out


def test_a_run_has_at_least_one_step(contrastive_run, tmp_path):
    _, arguments = contrastive_run
    assert (
        train_contrastive.main([*arguments, "--optimiser.epochs=0.1", f"--run.output={tmp_path}"])
        == 0
    )
    assert read_checkpoint(tmp_path / "best.pt")["trainer"]["iteration"] == 1


def test_a_finished_run_resumed_does_nothing(contrastive_run, capsys):
    folder, arguments = contrastive_run
    before = (folder / "last.pt").read_bytes()
    again = [*arguments, "--optimiser.epochs=3", f"--run.output={folder}", "--resume"]
    assert train_contrastive.main(again) == 0
    assert (folder / "last.pt").read_bytes() == before
    assert "all 3 epochs are done" in capsys.readouterr().out


def test_a_run_is_not_overwritten(contrastive_run, capsys):
    folder, arguments = contrastive_run
    assert train_contrastive.main([*arguments, f"--run.output={folder}"]) == 2
    assert "--resume" in capsys.readouterr().err


def test_a_second_training_in_the_same_folder_is_refused(contrastive_run, capsys):
    folder, arguments = contrastive_run
    given = [*arguments, f"--run.output={folder}", "--optimiser.epochs=3", "--resume"]
    with lock_folder(folder):
        assert train_contrastive.main(given) == 2
    assert "another run is writing here" in capsys.readouterr().err


def test_a_run_resumes_only_as_it_began(contrastive_run, capsys):
    folder, arguments = contrastive_run
    changed = [*arguments, "--optimiser.epochs=3", "--run.seed=5", "--resume"]
    assert train_contrastive.main([*changed, f"--run.output={folder}"]) == 2
    assert "run.seed: 1 -> 5" in capsys.readouterr().err


def test_a_loss_that_explodes_stops_the_run_and_keeps_the_last_weights(
    tiny_survey, tmp_path, monkeypatch, capsys
):
    calls = []
    forward = ContrastiveObjective.forward

    def poisoned(self, *inputs):
        calls.append(None)
        loss = forward(self, *inputs)
        return loss * float("nan") if len(calls) == 5 else loss

    monkeypatch.setattr(ContrastiveObjective, "forward", poisoned)
    arguments = [
        tiny("contrastive"),
        f"--data.survey={tiny_survey}",
        f"--run.output={tmp_path / 'r'}",
    ]
    assert train_contrastive.main([*arguments, "--optimiser.epochs=3"]) == 2
    assert "iteration 5" in capsys.readouterr().err
    saved = weights_of(tmp_path / "r" / "last.pt")
    assert all(torch.isfinite(tensor).all() for tensor in saved.values())


def test_a_nan_score_never_counts_as_best(tiny_survey, tmp_path, monkeypatch):
    validate = ContrastiveTask.validate
    calls = []

    def poisoned(self, network):
        calls.append(None)
        figures = validate(self, network)
        return figures | {"validation_loss": float("nan")} if len(calls) > 2 else figures

    monkeypatch.setattr(ContrastiveTask, "validate", poisoned)
    arguments = [
        tiny("contrastive"),
        f"--data.survey={tiny_survey}",
        f"--run.output={tmp_path / 'r'}",
    ]
    assert train_contrastive.main([*arguments, "--optimiser.epochs=3"]) == 0
    assert read_checkpoint(tmp_path / "r" / "best.pt")["trainer"]["iteration"] == 3
    assert read_checkpoint(tmp_path / "r" / "last.pt")["trainer"]["iteration"] == 9


def test_a_longer_run_goes_on_with_the_longer_schedule(contrastive_run, tiny_survey, tmp_path):
    folder, (tiny_file, _) = contrastive_run
    longer = shutil.copytree(folder, tmp_path / "longer")
    survey = shutil.copy(tiny_survey, tmp_path / "moved.h5")
    arguments = [tiny_file, f"--data.survey={survey}", f"--run.output={longer}", "--resume"]
    assert train_contrastive.main([*arguments, "--optimiser.epochs=4"]) == 0
    rows = MetricsTable(longer / "metrics.csv").rows
    assert [row["iteration"] for row in rows] == [0, 3, 6, 9, 12]
    config = OptimiserConfig()
    first, final = config.learning_rate, config.final_learning_rate
    rates = [final + (first - final) * (1 - i / 11) for i in (9, 10, 11)]
    assert rows[-1]["learning_rate"] == pytest.approx(np.mean(rates), rel=1e-6)


def test_another_survey_under_the_same_name_is_refused(contrastive_run, tmp_path, capsys):
    folder, (tiny_file, _) = contrastive_run
    other = make_tiny_survey(tmp_path / "tiny.h5", seed=1)
    arguments = [tiny_file, f"--data.survey={other}", f"--run.output={folder}", "--resume"]
    assert train_contrastive.main([*arguments, "--optimiser.epochs=4"]) == 2
    assert "another survey" in capsys.readouterr().err


def test_failing_pictures_and_curves_do_not_stop_a_run(contrastive_run, tmp_path, monkeypatch):
    def full(*_):
        raise OSError("disk full")

    def unready(*_):
        raise ValueError("more steps than the schedule has")

    monkeypatch.setattr(SummaryWriter, "add_scalar", full)
    monkeypatch.setattr(ContrastiveTask, "preview", unready)
    whole, arguments = contrastive_run
    folder = tmp_path / "run"
    arguments += ["--run.tensorboard=true", "--run.preview_every_epochs=2"]
    assert train_contrastive.main([*arguments, f"--run.output={folder}"]) == 0
    assert_same_weights(weights_of(whole / "last.pt"), weights_of(folder / "last.pt"))
    log = (folder / "log.txt").read_text()
    assert log.count("TensorBoard failed") == 1 and "(disk full)" in log
    assert "preview_0002.png failed" in log and "ValueError: more steps than" in log


def test_only_the_first_process_writes(tmp_path, monkeypatch):
    fit(ContrastiveStage(), tmp_path)
    (tmp_path / "metrics.csv").write_text("of the first process")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr("ignite.distributed.get_rank", lambda: 1)
    fit(ContrastiveStage(), tmp_path, resume=True)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.slow
def test_two_processes_train_both_stages(tiny_survey, tmp_path):
    common = [f"--data.survey={tiny_survey}", "--optimiser.epochs=1", "--run.processes=2"]
    towers, network = tmp_path / "towers", tmp_path / "network"
    first = [tiny("contrastive"), *common, f"--run.output={towers}"]
    assert train_contrastive.main(first) == 0
    second = [tiny("generative"), *common, f"--run.output={network}"]
    given = f"--diffusion.contrastive={towers / 'last.pt'}"
    assert train_generative.main([*second, given]) == 0
    for folder in (towers, network):
        assert read_checkpoint(folder / "last.pt")["trainer"]["iteration"] == 3
        before, after = MetricsTable(folder / "metrics.csv").rows
        assert np.isfinite([before["validation_loss"], *after.values()]).all()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_frozen_encoder_computes_in_the_precision_of_the_run(precision, monkeypatch):
    inside = []
    monkeypatch.setattr(
        "utils.training.feature_cache.image_features",
        lambda *_: inside.append(torch.is_autocast_enabled("cpu")),
    )
    towers = Mock()
    towers.images.mean = torch.zeros(5)
    NewViews(towers, precision)({"image": torch.zeros(1)}, torch.Generator())
    assert inside == [precision == "bfloat16"]


def test_dry_run_leaves_nothing(contrastive_run, tmp_path, capsys):
    _, arguments = contrastive_run
    arguments += ["--run.tensorboard=true", f"--run.output={tmp_path / 'r'}", "--dry-run"]
    assert train_contrastive.main(arguments) == 0
    assert not (tmp_path / "r").exists()
    assert "weights to train" in capsys.readouterr().out


def test_dry_run_refuses_what_a_run_refuses(contrastive_run, tmp_path, capsys):
    folder, arguments = contrastive_run
    new = f"--run.output={tmp_path / 'r'}"
    for more, complaint in (
        ([new, "--optimiser.batch_size=10000"], "fewer than optimiser.batch_size = 10000"),
        ([f"--run.output={folder}"], "already holds a run"),
        ([f"--run.output={folder}", "--resume", "--run.seed=5"], "run.seed: 1 -> 5"),
    ):
        assert train_contrastive.main([*arguments, "--dry-run", *more]) == 2
        assert complaint in capsys.readouterr().err


def test_a_batch_is_divided_evenly_among_processes(contrastive_run, monkeypatch):
    monkeypatch.setattr("ignite.distributed.get_world_size", lambda: 3)
    config = ContrastiveConfig(optimiser=OptimiserConfig(batch_size=16))
    with pytest.raises(UserError, match="batch_size = 16 is not a multiple of the 3 processes"):
        training_loader(range(50), config, torch.device("cpu"))


def test_a_batch_is_divided_evenly_into_parts(monkeypatch):
    monkeypatch.setattr("ignite.distributed.get_world_size", lambda: 2)
    config = GenerativeConfig(optimiser=OptimiserConfig(batch_size=16, accumulate=4))
    assert len(training_loader(range(50), config, torch.device("cpu"))) == 3
    config.optimiser.accumulate = 3
    with pytest.raises(UserError, match=r"of the 2 processes × optimiser\.accumulate 3"):
        training_loader(range(50), config, torch.device("cpu"))


def test_missing_survey_says_how_to_make_one(tmp_path, capsys):
    assert train_contrastive.main([f"--data.survey={tmp_path / 'no.h5'}"]) == 2
    assert "datasets.mock" in capsys.readouterr().err


def interrupted_by(patch, number, action):
    """Call `action` when the `number`-th batch is prepared."""
    original, calls = ContrastiveStage.prepare, []

    def counted(self, *arguments):
        calls.append(None)
        if len(calls) == number:
            action()
        return original(self, *arguments)

    patch.setattr(ContrastiveStage, "prepare", counted)


def test_too_little_memory_is_an_error_with_the_remedy(tmp_path, monkeypatch):
    def fill():
        raise torch.OutOfMemoryError("CUDA out of memory")

    interrupted_by(monkeypatch, 2, fill)
    with pytest.raises(UserError, match=r"out of memory: lower optimiser\.batch_size"):
        fit(ContrastiveStage(), tmp_path / "run")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
@pytest.mark.parametrize("step", [1, 3, 5], ids=["first", "end of an epoch", "second epoch"])
def test_a_signal_saves_and_the_run_goes_on_with_the_next_step(tmp_path, monkeypatch, step, number):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    fit(ContrastiveStage(), whole)
    with monkeypatch.context() as patch:
        interrupted_by(patch, step, lambda: os.kill(os.getpid(), number))
        with pytest.raises(Interrupted, match=f"{number.name} after iteration {step} of") as error:
            fit(ContrastiveStage(), stopped)
    assert error.value.status == REQUEUE
    assert torch.load(stopped / "last.pt", weights_only=True)["trainer"]["iteration"] == step
    fit(ContrastiveStage(), stopped, resume=True)
    assert_same_run(whole, stopped)


@pytest.mark.parametrize("stage", [ContrastiveStage, DiffusionStage])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_run_may_be_interrupted_after_every_step(tmp_path, stage, precision):
    options = {"precision": precision, "accumulate": 2 if stage is DiffusionStage else 1}
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    fit(stage(), whole, **options)
    stops = 0
    while True:
        try:
            fit(stage(), stopped, resume=stops > 0, deadline=0.0, **options)
            break
        except Interrupted:
            stops += 1
    assert stops >= 5
    assert_same_run(whole, stopped)


def test_the_contrastive_loss_needs_the_whole_batch(contrastive_run, capsys):
    _, arguments = contrastive_run
    with pytest.raises(SystemExit) as error:
        train_contrastive.main([*arguments, "--optimiser.accumulate=2"])
    assert error.value.code == 2
    assert "compares the galaxies of a whole batch" in capsys.readouterr().err


def test_a_run_killed_within_an_epoch_goes_on_from_there(tmp_path, monkeypatch):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    fit(ContrastiveStage(), whole)
    monkeypatch.setattr(Interruption, "due", lambda self, iteration: (True, False))
    with monkeypatch.context() as patch:
        stop_at_call(patch, ContrastiveStage, "prepare", 3)
        with pytest.raises(KeyboardInterrupt):
            fit(ContrastiveStage(), stopped)
    assert torch.load(stopped / "last.pt", weights_only=True)["trainer"]["iteration"] == 2
    fit(ContrastiveStage(), stopped, resume=True)
    assert_same_run(whole, stopped)


def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path, caplog):
    whole, damaged = tmp_path / "whole", tmp_path / "damaged"
    fit(ContrastiveStage(), whole)
    shutil.copytree(whole, damaged)
    contents = (whole / "last.pt").read_bytes()
    (damaged / "last.pt").write_bytes(contents[: len(contents) // 2])
    fit(ContrastiveStage(), damaged, resume=True)
    assert "last.pt: damaged" in caplog.text
    assert_same_run(whole, damaged)
    (damaged / "last.pt").unlink()
    fit(ContrastiveStage(), damaged, resume=True)
    assert_same_run(whole, damaged)
    for name in ("last.pt", "previous.pt"):
        (damaged / name).write_bytes(b"")
    with pytest.raises(UserError, match=r"neither last\.pt nor previous\.pt can be read"):
        fit(ContrastiveStage(), damaged, resume=True)


def test_a_time_limit_asks_for_another_start(contrastive_run, tmp_path, capsys):
    whole, arguments = contrastive_run
    arguments = [*arguments, "--optimiser.epochs=3", f"--run.output={tmp_path / 'stopped'}"]
    assert train_contrastive.main([*arguments, "--time-limit=1e-9"]) == REQUEUE
    assert "stopped by --time-limit after iteration 1 of" in capsys.readouterr().err
    assert train_contrastive.main([*arguments, "--resume"]) == 0
    assert_same_run(whole, tmp_path / "stopped")


def test_checkpoints_come_every_so_many_minutes(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    some, none = (Interruption(minutes, math.inf, torch.device("cpu")) for minutes in (10, 0))
    now[0] = 599.0
    assert some.due(1) == (False, False)
    now[0] = 600.0
    assert some.due(2) == (True, False)
    assert none.due(2) == (False, False)
    some.saved = now[0]
    assert some.due(3) == (False, False)


def test_the_warning_of_a_scheduler_leaves_workers_alone(
    contrastive_run, tmp_path, monkeypatch, capsys
):
    _, arguments = contrastive_run
    forward, calls = ContrastiveObjective.forward, []

    def signalled(self, *inputs):
        calls.append(None)
        if len(calls) == 2:
            workers = multiprocessing.active_children()
            assert workers
            for pid in (*(worker.pid for worker in workers), os.getpid()):
                os.kill(pid, signal.SIGUSR1)
            time.sleep(0.5)
            assert all(worker.is_alive() for worker in workers)
        return forward(self, *inputs)

    monkeypatch.setattr(ContrastiveObjective, "forward", signalled)
    output = tmp_path / "run"
    more = ["--data.workers=1", "--data.in_memory=false", f"--run.output={output}"]
    assert train_contrastive.main([*arguments, *more]) == REQUEUE
    assert "stopped by SIGUSR1" in capsys.readouterr().err
    assert (output / "last.pt").exists()
