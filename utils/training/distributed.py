"""Processes and devices of a training run.

Several processes share each batch (torch's `DistributedDataParallel`): one per GPU (NCCL), or some
on the cores of a CPU (gloo). They are started here (`run.processes`), by torchrun, or by SLURM's
srun, on one or several machines.
"""

from __future__ import annotations

import io
import logging
import os
import socket
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import ignite.distributed as idist
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.distributed import is_torchelastic_launched

from datasets.errors import UserError, out_of_memory, run_command
from datasets.process_pool import end_with_parent
from datasets.processors import usable_cores
from utils.core.command_line import Flags
from utils.core.config import Config, RunConfig
from utils.core.device import pick_device
from utils.core.interruption import (
    Interrupted,
    handle_signals,
    stop_at_signals,
    stopped_by,
)
from utils.core.process_group import join, started_elsewhere
from utils.core.run_log import LOGGER, log_to

Result = TypeVar("Result")


def launch(run: Callable[..., None], config: Config, flags: Flags) -> int:
    """Call `run(rank, config, flags)` in this process, or in several.

    Returns:
        The exit status: 0, or `USER_ERROR` after an error that the user can mend.
    """
    log_to(None)
    return run_command(_launch, run, config, flags)


def _launch(run: Callable[..., None], config: Config, flags: Flags) -> int:
    device, processes = place(config.run)
    if started_elsewhere():
        with stop_at_signals():
            _join(device, run, config, flags)
    elif processes > 1:
        _spawn(device, processes, run, config, flags)
    else:
        with stop_at_signals():
            run(0, config, flags)
    return 0


def place(run: RunConfig) -> tuple[torch.device, int]:
    """The device of a run, and the number of its processes on this machine: at most one per GPU.

    Raises:
        UserError: there are fewer GPUs than processes, and neither can be changed here.
    """
    device, processes, asked = pick_device(run.device), run.processes, "run.processes ="
    if started_elsewhere() and processes > 1:
        raise UserError(f"run.processes = {processes}: torchrun or srun starts them, leave it at 1")
    if is_torchelastic_launched():
        processes, asked = int(os.environ["LOCAL_WORLD_SIZE"]), "torchrun --nproc-per-node"
    if device.type == "cpu" or processes == 1:
        return device, processes
    if device.index is not None:
        raise UserError(f"run.device {device} is one GPU, for one process; {asked} {processes}")
    gpus = torch.cuda.device_count()
    if processes <= gpus:
        return device, processes
    if run.device == "auto" and not started_elsewhere():
        LOGGER.info("run.processes %d: reduced to %d, one for each GPU", processes, gpus)
        return device, gpus
    raise UserError(
        f"{asked} {processes}, but there are GPUs for {gpus} of them: start as many as there are "
        "GPUs, or choose --run.device cpu"
    )


def _spawn(
    device: torch.device, processes: int, run: Callable[..., None], config: Config, flags: Flags
) -> None:
    """Run in new processes of this machine; an error in one of them is raised here."""
    failures = mp.get_context("spawn").SimpleQueue()
    arguments = (device, processes, _free_port(), failures, run, config, flags)
    signals: list[int] = []
    try:
        context = mp.spawn(_process, arguments, nprocs=processes, join=False)

        def pass_on(number: int) -> None:
            signals.append(number)
            for process in context.processes:
                if process.is_alive():
                    os.kill(process.pid, number)

        with handle_signals(pass_on):
            while not context.join():
                pass
    except (mp.ProcessRaisedException, mp.ProcessExitedException) as error:
        # The first failure; those of the others follow from it.
        kind, text = (None, "") if failures.empty() else failures.get()
        if signals and kind is None:  # before they could handle it
            raise stopped_by(signals[0]) from None
        killer = getattr(error, "signal_name", None)
        # Torch ends the others with a signal, too, and they report that.
        if kind is None or killer == "SIGKILL" or (killer and kind is Interrupted):
            raise UserError(
                f"a process of the training was ended by {killer or 'the system'}, perhaps for "
                "lack of memory: go on with --resume, or with fewer run.processes"
            ) from None
        raise kind(f"in a process:\n{text}" if kind is RuntimeError else text) from None


def _process(
    rank: int,
    device: torch.device,
    processes: int,
    port: int,
    failures: mp.SimpleQueue,
    run: Callable[..., None],
    config: Config,
    flags: Flags,
) -> None:
    """One of several processes, with its share of the machine's cores.

    On CPUs, processes are better than threads: a second thread makes a training step of the demo's
    U-Net in bfloat16 only 1.3 times as fast, and on a loaded machine threads stall at the barriers
    in the backward pass of its convolutions.
    """
    end_with_parent()
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes)}
    torch.set_num_threads(max(1, usable_cores() // processes))
    try:
        with stop_at_signals():
            _join(device, run, config, flags)
    except Exception as error:
        mendable = isinstance(error, UserError | OSError) or out_of_memory(error)
        kind = Interrupted if isinstance(error, Interrupted) else UserError
        failures.put((kind, str(error)) if mendable else (RuntimeError, traceback.format_exc()))
        raise


def _join(device: torch.device, run: Callable[..., None], config: Config, flags: Flags) -> None:
    """Call `run` in this process, as one of those that the environment variables describe."""
    join(device)
    idist.sync()
    log_to(None, logging.INFO if dist.get_rank() == 0 else logging.WARNING)
    run(dist.get_rank(), config, flags)
    dist.destroy_process_group()


def device_of(config: RunConfig) -> torch.device:
    """Where this process computes."""
    if idist.get_world_size() == 1:
        return pick_device(config.device)
    if dist.get_backend() == "nccl":
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


def on_first_rank(compute: Callable[[], Result], device: torch.device) -> Result:
    """The result of `compute`, which runs in the first process only and is sent to the others.

    Every process must call this. Without several processes it is `compute()`. The random state of
    the other processes does not advance: let `compute` use a generator that it makes itself.

    Args:
        compute: Returns tensors, numbers, strings, and dicts, lists and tuples of these (the
            `state_dict` of a module, not the module).
        device: Where the tensors lie in the other processes.
    """
    if idist.get_world_size() == 1:
        return compute()
    if idist.get_rank() == 0:
        with _all_cores():  # the other processes wait
            result = compute()
        buffer = io.BytesIO()
        torch.save(result, buffer)
        dist.broadcast_object_list([buffer.getvalue()], src=0)
        return result
    received = [None]
    dist.broadcast_object_list(received, src=0)
    return torch.load(io.BytesIO(received[0]), map_location=device, weights_only=True)


@contextmanager
def _all_cores() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(usable_cores())
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _free_port() -> int:
    """A port that no other run on this machine listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
