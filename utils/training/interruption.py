"""Runs that end before they are done: by a signal of the scheduler, or at a time limit.

SLURM sends SIGTERM before it ends a job, and with `--signal=USR1@120` SIGUSR1 two minutes earlier.
A training then saves, and exits with the status `REQUEUE`; started again with `--resume`, it goes
on with the next step.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import ignite.distributed as idist
import torch

from datasets.errors import UserError

REQUEUE = 75  # exit status EX_TEMPFAIL of sysexits.h: not done, start me again
SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
AGREE_ITERATIONS = 10  # between two agreements of several processes


class Interrupted(UserError):
    """A run that was asked to stop and has saved everything it needs to go on."""

    status = REQUEUE


@contextmanager
def handle_signals(handler: Callable[[int], None]) -> Iterator[None]:
    """Call `handler(number)` for SIGTERM and SIGUSR1 within the block, in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {n: signal.signal(n, lambda number, _: handler(number)) for n in SIGNALS}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous or signal.SIG_DFL)  # None: not of Python


def stop_now(number: int) -> None:
    """End a run that a signal reaches outside its steps, where there is nothing to save.

    Raises:
        Interrupted: always.
    """
    name = signal.Signals(number).name
    raise Interrupted(f"stopped by {name} between trainings; go on with --resume")


def ignore_warning(worker: int = 0) -> None:
    """Let a loader's worker outlive SIGUSR1 to all processes of a job: its batches are needed until
    the run has saved. SIGTERM has to end it: that is how the run itself ends its workers."""
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)


class Interruption:
    """Whether a checkpoint is due within an epoch, and whether the run is to stop after it.

    Args:
        minutes: Between two checkpoints; 0 makes none within an epoch.
        deadline: Value of `time.monotonic()` at which the run stops.
        device: Of the tensors on which several processes agree.
    """

    def __init__(self, minutes: float, deadline: float, device: torch.device):
        self.seconds, self.deadline, self.device = 60 * minutes, deadline, device
        self.saved = time.monotonic()
        self.reason = ""

    def by_signal(self, number: int) -> None:
        """Remember that a signal asks the run to stop."""
        self.reason = signal.Signals(number).name

    def due(self, iteration: int) -> tuple[bool, bool]:
        """Whether to save after this iteration, and whether to stop; the same in all processes."""
        several = idist.get_world_size() > 1
        if several and iteration % AGREE_ITERATIONS:
            return False, False
        now = time.monotonic()
        if not self.reason and now >= self.deadline:
            self.reason = "--time-limit"
        stop = bool(self.reason)
        save = stop or 0 < self.seconds <= now - self.saved
        if several:
            flags = torch.tensor([save, stop], dtype=torch.float32, device=self.device)
            save, stop = (flag > 0 for flag in idist.all_reduce(flags, "MAX").tolist())
            self.reason = self.reason or ("another process" if stop else "")
        return save, stop
