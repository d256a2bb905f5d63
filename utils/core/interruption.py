"""Runs that end before they are done, because SLURM, or a user, asks them to.

SLURM sends SIGTERM before it ends a job, and with `--signal=USR1@120` SIGUSR1 two minutes earlier.
A run then saves what it has, and exits with the status `REQUEUE`; started again with `--resume`, it
goes on where it was.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from datasets.errors import UserError

REQUEUE = 75  # exit status EX_TEMPFAIL of sysexits.h: not done, start me again
SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


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


class _Stop(BaseException):
    """A signal, in whatever line it came: nobody's `except Exception` may take it for an error."""


@contextmanager
def stop_at_signals() -> Iterator[None]:
    """End the block at SIGTERM and SIGUSR1; it has nothing left to save.

    Raises:
        Interrupted: one of them came.
    """

    def stop(number: int) -> None:
        raise _Stop(number)

    try:
        with handle_signals(stop):
            yield
    except _Stop as error:
        raise stopped_by(*error.args) from None


def stopped_by(number: int) -> Interrupted:
    """The error of a run that the signal `number` ended."""
    return Interrupted(f"stopped by {signal.Signals(number).name}: go on with --resume")
