"""Processes of a run: where they compute, what they compute together, how they fail."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from datasets.errors import USER_ERROR, UserError
from tests.small_training import CPU, pretend_gpus, train_all
from tests.support import ROOT, tiny
from utils.core.command_line import Flags
from utils.core.config import ContrastiveConfig, RunConfig
from utils.core.interruption import REQUEUE, Interrupted
from utils.core.run_log import MetricsTable
from utils.training import distributed
from utils.training.distributed import launch, on_first_rank, place


@pytest.mark.parametrize(
    ("device", "processes", "gpus", "expected"),
    [
        ("cpu", 1, 1, ("cpu", 1)),
        ("cpu", 2, 1, ("cpu", 2)),
        ("auto", 2, 0, ("cpu", 2)),
        ("auto", 1, 4, ("cuda", 1)),
        ("auto", 2, 1, ("cuda", 1)),  # the demo on a machine with one GPU
        ("auto", 2, 4, ("cuda", 2)),
        ("cuda", 4, 4, ("cuda", 4)),
        ("cuda:3", 1, 4, ("cuda:3", 1)),
    ],
)
def test_device_and_number_of_processes(monkeypatch, device, processes, gpus, expected):
    pretend_gpus(monkeypatch.setattr, gpus)
    placed = place(RunConfig(device=device, processes=processes))
    assert placed == (torch.device(expected[0]), expected[1])


@pytest.mark.parametrize(
    ("device", "processes", "complaint"),
    [("cuda", 2, r"run.processes = 2.* GPUs for 1"), ("cuda:0", 2, "cuda:0 is one GPU")],
)
def test_more_processes_than_gpus_are_refused(monkeypatch, device, processes, complaint):
    pretend_gpus(monkeypatch.setattr, 1)
    with pytest.raises(UserError, match=complaint):
        place(RunConfig(device=device, processes=processes))


def test_torchrun_decides_how_many_processes_there_are(monkeypatch):
    pretend_gpus(monkeypatch.setattr, 1)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert place(RunConfig(device="cpu")) == (CPU, 2)
    with pytest.raises(UserError, match=r"torchrun --nproc-per-node 2.* GPUs for 1"):
        place(RunConfig(device="auto"))
    with pytest.raises(UserError, match=r"run.processes = 3"):
        place(RunConfig(device="cpu", processes=3))


def test_one_process_computes_itself():
    assert on_first_rank(lambda: {"a": 1}, CPU) == {"a": 1}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The same training in one and in two processes, on a machine with a GPU: folders and error."""
    folders = {n: tmp_path_factory.mktemp(f"processes_{n}") for n in (1, 2)}
    errors = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stderr(errors):
        patch.setenv("PRETEND_GPUS", "1")
        for processes, folder in folders.items():
            run = RunConfig(output=str(folder), device="cpu", processes=processes)
            status = launch(train_all, ContrastiveConfig(run=run), Flags())
            assert status == (0 if processes == 1 else USER_ERROR)  # see `train_all`
    return folders | {"error": errors.getvalue()}


@pytest.mark.parametrize("stage", ["contrastive", "diffusion"])
def test_two_processes_train_as_one_with_the_whole_batch(trained, stage):
    one, two = (trained[processes] / stage for processes in (1, 2))
    assert_same_training(one, two)
    losses = [row["loss"] for row in MetricsTable(one / "metrics.csv").rows if "loss" in row]
    assert losses[1] < losses[0] - 1e-2  # the weights did move


@pytest.mark.parametrize("processes", [1, 2])
def test_a_batch_in_parts_trains_as_the_whole_one(trained, processes):
    assert_same_training(trained[1] / "diffusion", trained[processes] / "accumulated")


def assert_same_training(one, two):
    """The same weights, gradients of the last step, and losses and gradient norms of the epochs."""
    for name in ("network", "average"):
        weights = [torch.load(run / "last.pt", weights_only=True)[name] for run in (one, two)]
        torch.testing.assert_close(*weights, rtol=0, atol=1e-6)
    gradients = [torch.load(run / "gradient.pt", weights_only=True) for run in (one, two)]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-6)
    assert max(gradient.abs().max() for gradient in gradients[0].values()) > 1e-2
    tables = [MetricsTable(run / "metrics.csv").rows for run in (one, two)]
    for a, b in zip(*tables, strict=True):
        assert a | {"seconds": 0} == pytest.approx(b | {"seconds": 0}, abs=1e-6)


@pytest.mark.parametrize("processes", [1, 2])
def test_resuming_is_exact_with_several_processes(trained, processes):
    whole, resumed = (trained[processes] / name for name in ("contrastive", "resumed"))
    before, after = (torch.load(run / "last.pt", weights_only=True) for run in (whole, resumed))
    for name in ("network", "average"):
        torch.testing.assert_close(before[name], after[name], rtol=0, atol=0)
    rows = [MetricsTable(run / "metrics.csv").rows for run in (whole, resumed)]
    for a, b in zip(*rows, strict=True):
        assert a | {"seconds": 0} == b | {"seconds": 0}


def test_the_first_process_computes_for_all(trained):
    expected = {"rank": 0, "weights": (torch.arange(3).half(), [0.5])}
    for rank in range(2):
        sent = torch.load(trained[2] / f"sent_{rank}.pt", weights_only=True)
        torch.testing.assert_close(sent, expected, rtol=0, atol=0)


def test_an_error_in_a_process_reaches_the_user_whole(trained):
    assert trained["error"] == "error: two lines:\n  the second\n"


def failing_processes(monkeypatch, error):
    """Pretend to start two processes; the second raises an error."""

    def spawn(process, arguments, nprocs, join):
        with pytest.raises(type(error)):
            process(1, *arguments)
        raise torch.multiprocessing.ProcessRaisedException("", 0, 0)

    def join(device, run, config, flags):
        raise error

    monkeypatch.setattr(distributed.mp, "spawn", spawn)
    monkeypatch.setattr(distributed, "_join", join)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    for name in ("MASTER_ADDR", "MASTER_PORT", "RANK", "LOCAL_RANK", "WORLD_SIZE"):
        monkeypatch.setenv(name, "")  # to be restored
    return ContrastiveConfig(run=RunConfig(device="cpu", processes=2))


def test_an_interrupted_process_asks_for_another_start(monkeypatch, capsys):
    config = failing_processes(monkeypatch, Interrupted("stopped by SIGTERM"))
    assert launch(train_all, config, Flags()) == REQUEUE
    assert capsys.readouterr().err == "stopped by SIGTERM\n"


def test_a_bug_in_a_process_shows_its_traceback(monkeypatch):
    config = failing_processes(monkeypatch, KeyError("a bug"))
    with pytest.raises(RuntimeError, match=r"(?s)in a process:.*in join.*KeyError: 'a bug'"):
        launch(train_all, config, Flags())


def srun(tmp_path, arguments):
    """The exit statuses of two tasks, with the variables that `srun --ntasks=2` sets."""
    scontrol = tmp_path / "scontrol"
    scontrol.write_text('#!/bin/sh\n[ "$*" = "show hostnames localhost" ] && echo localhost\n')
    scontrol.chmod(0o755)
    variables = os.environ | {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_STEP_ID": "0",
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_STEP_NUM_TASKS": "2",
        "OMP_NUM_THREADS": "1",
    }
    tasks = [
        subprocess.Popen(
            [sys.executable, "train_contrastive.py", *arguments],
            cwd=ROOT,
            env=variables | {"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)},
        )
        for rank in range(2)
    ]
    return [task.wait(timeout=120) for task in tasks]


def test_srun_starts_the_processes_and_asks_for_another_start(tiny_survey, tmp_path):
    arguments = [tiny("contrastive"), f"--data.survey={tiny_survey}", "--optimiser.epochs=4"]
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    two = [*arguments, f"--run.output={whole}", "--run.processes=2", "--run.device=cpu"]
    assert subprocess.call([sys.executable, "train_contrastive.py", *two], cwd=ROOT) == 0
    arguments += [f"--run.output={stopped}", "--run.device=cpu", "--resume"]
    assert srun(tmp_path, [*arguments, "--time-limit=1e-9"]) == [REQUEUE, REQUEUE]
    assert srun(tmp_path, arguments) == [0, 0]
    same = [torch.load(run / "last.pt", weights_only=True) for run in (whole, stopped)]
    torch.testing.assert_close(same[0]["network"], same[1]["network"], rtol=0, atol=0)


def test_srun_without_its_tools_is_an_error(monkeypatch, capsys):
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    monkeypatch.delenv("SLURM_STEP_NODELIST", raising=False)
    assert launch(train_all, ContrastiveConfig(), Flags()) == USER_ERROR
    assert "start them with torchrun" in capsys.readouterr().err


def test_a_signal_outside_the_training_asks_for_another_start(capsys):
    def signalled(rank, config, flags):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)

    assert launch(signalled, ContrastiveConfig(), Flags()) == REQUEUE
    assert "stopped by SIGTERM: go on with --resume" in capsys.readouterr().err


def killed(rank, config, flags):
    if rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(30)


def test_a_killed_process_ends_the_training_with_a_remedy(capsys):
    config = ContrastiveConfig(run=RunConfig(processes=2, device="cpu"))
    assert launch(killed, config, Flags()) == USER_ERROR
    assert "a process of the training was ended by SIGKILL" in capsys.readouterr().err


def children(parent: int) -> set[int]:
    """Processes started by `parent`, and by those."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(path.read_text().rpartition(")")[2].split()[1]) == parent:
                child = int(path.parent.name)
                found |= {child} | children(child)
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's /proc")
def test_processes_end_when_the_one_that_started_them_is_killed(tiny_survey, tmp_path):
    arguments = [tiny("contrastive"), f"--data.survey={tiny_survey}", f"--run.output={tmp_path}/r"]
    command = [sys.executable, "train_contrastive.py", *arguments, "--run.processes=2"]
    with subprocess.Popen([*command, "--optimiser.epochs=10000"], cwd=ROOT) as started:
        while not (tmp_path / "r" / "metrics.csv").exists():
            assert started.poll() is None
            time.sleep(0.1)
        own = children(started.pid)
        assert len(own) >= 2
        started.kill()
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{child}").exists() for child in own) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not [child for child in own if Path(f"/proc/{child}").exists()]
