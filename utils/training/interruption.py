"""When a training saves within an epoch, and when it stops before its end."""

from __future__ import annotations

import signal
import time

import ignite.distributed as idist
import torch

AGREE_ITERATIONS = 10  # between two agreements of several processes


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
