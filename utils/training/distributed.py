"""Processes and devices of a training run."""

from __future__ import annotations

import io
import os
import socket
import sys
from collections.abc import Callable
from typing import TypeVar

import ignite.distributed as idist
import torch
import torch.distributed as dist
from torch.multiprocessing import ProcessRaisedException

from datasets.errors import UserError
from datasets.survey import SurveyError
from utils.core.command_line import Flags
from utils.core.config import Config, RunConfig
from utils.core.device import pick_device
from utils.core.run_log import log_to

Result = TypeVar("Result")


def launch(run: Callable[..., None], config: Config, flags: Flags) -> int:
    """Call `run(rank, config, flags)` in this process, or in `config.run.processes` of them.

    Returns:
        0, or 1 after an error that the user can mend, printed in one line.
    """
    log_to(None)
    try:
        _in_processes(run, config, flags)
    except (UserError, SurveyError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except ProcessRaisedException as error:  # what a process raised, as text
        print(f"error: {str(error).strip().splitlines()[-1]}", file=sys.stderr)
        return 1
    return 0


def _in_processes(run: Callable[..., None], config: Config, flags: Flags) -> None:
    """Ignite's launcher: spawned here, or joined to the processes of torchrun."""
    backend = "nccl" if pick_device(config.run.device).type == "cuda" else "gloo"
    if config.run.processes > 1:
        with idist.Parallel(
            backend=backend,
            nproc_per_node=config.run.processes,
            master_addr="127.0.0.1",
            master_port=_free_port(),
        ) as parallel:
            parallel.run(_share_cores, run, config, flags)
    elif torch.distributed.is_torchelastic_launched():
        with idist.Parallel(backend=backend) as parallel:
            parallel.run(run, config, flags)
    else:
        run(0, config, flags)


def device_of(config: RunConfig) -> torch.device:
    """Where this process computes: one GPU each where there are several processes on GPUs."""
    device = pick_device(config.device)
    several = idist.get_world_size() > 1 and device.type == "cuda"
    return idist.device() if several else device


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
        result, buffer = compute(), io.BytesIO()
        torch.save(result, buffer)
        dist.broadcast_object_list([buffer.getvalue()], src=0)
        return result
    received = [None]
    dist.broadcast_object_list(received, src=0)
    return torch.load(io.BytesIO(received[0]), map_location=device, weights_only=True)


def _free_port() -> int:
    """A port that no other run on this machine listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _share_cores(rank: int, run: Callable[..., None], config: Config, flags: Flags) -> None:
    """Call `run` in one of several processes, with its share of the machine's cores.

    On CPUs processes are better than threads: a second thread makes a training step of the demo's
    U-Net in bfloat16 only 1.3 times as fast, and where other load holds a core, the barriers in the
    backward pass of its convolutions wait for it again and again.
    """
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // config.run.processes))
    if rank == 0:
        log_to(None)
    run(rank, config, flags)
