"""Processes that share work, and end with the process that started them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import wait

from datasets.errors import UserError
from datasets.processors import one_thread_each


@contextmanager
def process_pool(
    count: int, start: Callable[..., object] | None = None, *arguments: object
) -> Iterator[ProcessPoolExecutor]:
    """Up to `count` processes of one thread each, until the end of the block.

    Args:
        count: ≥ 1.
        start: Called in each process, with `arguments`, before its first task.

    Raises:
        UserError: one of them was killed.
    """
    # Spawned, not forked: safe beside threads and the same on every platform.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(count, context, _follow_the_parent, (start, *arguments))
    try:
        with one_thread_each():
            yield pool
    except BrokenProcessPool as error:
        raise UserError(
            "a process was killed, perhaps for lack of memory: use fewer --workers"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _follow_the_parent(start: Callable[..., object] | None, *arguments: object) -> None:
    """Leave Ctrl-C to the process that started this one, and end when it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
    if start:
        start(*arguments)


def end_with_parent() -> None:
    """End this process when the one that started it is killed: it would go on alone, and write
    into the folder of a run that is started again."""
    if parent := multiprocessing.parent_process():

        def watch() -> None:
            wait([parent.sentinel])
            os._exit(1)

        threading.Thread(target=watch, daemon=True).start()
