"""The galaxies and the random numbers of a training step: pure functions of seeds.

The order of the galaxies is a function of (seed, epoch); the random numbers of a step are a
function of (seed, process, iteration). So a resumed run equals one that never stopped.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import ignite.distributed as idist
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from datasets.errors import UserError, out_of_memory
from datasets.hashing import mix
from utils.core.config import Config
from utils.training.interruption import ignore_warning


@contextmanager
def lack_of_memory_reported() -> Iterator[None]:
    """Turn the error when memory does not suffice for a step, and those that follow when a worker
    of a loader was killed, into one for the user.

    Raises:
        UserError: that happened.
    """
    try:
        yield
    except (RuntimeError, ConnectionError, EOFError) as error:
        if out_of_memory(error):
            raise UserError(
                "out of memory: lower optimiser.batch_size or, other than in stage 1, raise "
                "optimiser.accumulate, which divides the batch"
            ) from error
        if isinstance(error, RuntimeError) and not str(error).startswith("DataLoader worker"):
            raise
        raise UserError(
            "a process that loads batches was killed, perhaps for lack of memory: go on with "
            "--resume, and fewer data.workers"
        ) from error


def notice_deaths_of_workers_later() -> None:
    """Let torch find a dead worker when it waits for it, within seconds. By default it raises an
    error wherever the process is at that moment, in the middle of a message for example. To be
    called when the loader's workers have been started."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


class EpochBatches(Sampler[Tensor]):
    """The training set in an order that is a pure function of (seed, epoch), batch by batch; a last
    partial batch is left out.

    Args:
        count: Galaxies in the training split.
        size: Of a batch of this process.
        seed: Seed of the run.
        rank, world: This process and the number of processes: each takes every world-th galaxy.
    """

    def __init__(self, count: int, size: int, seed: int, rank: int = 0, world: int = 1):
        self.count, self.size, self.seed, self.rank, self.world = count, size, seed, rank, world
        self.epoch = 0
        self.first = 0  # batch of the epoch with which a resumed run begins

    def __len__(self) -> int:
        return self.count // self.world // self.size

    def __iter__(self) -> Iterator[Tensor]:
        generator = torch.Generator().manual_seed(mix(self.seed, self.epoch))
        order = torch.randperm(self.count, generator=generator)
        own = order[: self.count // self.world * self.world][self.rank :: self.world]
        return iter(own[: len(self) * self.size].split(self.size)[self.first :])


def training_loader(dataset: Dataset, config: Config, device: torch.device) -> DataLoader:
    """Batches of the training split in the order of (seed, epoch).

    The dataset takes the positions of a whole batch; `optimiser.batch_size` counts the galaxies of
    all processes.

    Raises:
        UserError: the training split is smaller than one batch, or a batch cannot be divided evenly
            among the processes.
    """
    rank, world = idist.get_rank(), idist.get_world_size()
    optimiser = config.optimiser
    if len(dataset) < optimiser.batch_size:
        raise UserError(
            f"{len(dataset)} training galaxies are fewer than optimiser.batch_size = "
            f"{optimiser.batch_size}: lower it"
        )
    if optimiser.batch_size % (world * optimiser.accumulate):
        parts = (
            f" × optimiser.accumulate {optimiser.accumulate}" if optimiser.accumulate > 1 else ""
        )
        raise UserError(
            f"optimiser.batch_size = {optimiser.batch_size} is not a multiple of the {world} "
            f"processes{parts}"
        )
    in_gpu_memory = getattr(dataset, "held_on", None) == device and device.type == "cuda"
    workers = 0 if in_gpu_memory else config.data.workers
    return DataLoader(
        dataset,
        batch_size=None,
        sampler=EpochBatches(
            len(dataset), optimiser.batch_size // world, config.run.seed, rank, world
        ),
        num_workers=workers,
        pin_memory=device.type == "cuda" and not in_gpu_memory,
        persistent_workers=workers > 0,
        worker_init_fn=ignore_warning,
    )
