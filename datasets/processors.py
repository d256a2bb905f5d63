"""The processor cores and the memory that this process, and those that it starts, may use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

THREAD_LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of a container: "QUOTA PERIOD" or "max PERIOD"


def usable_cores() -> int:
    """Cores that the affinity mask and the container's quota leave, at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        quota, period = _QUOTA.read_text().split()
        cores = min(cores or 1, int(quota) // int(period))
    except (OSError, ValueError):  # no such file, or no limit
        pass
    return max(cores or 1, 1)


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Processes that are started within the block compute with one thread each: several threads of
    several processes would wait for each other."""
    before = {name: os.environ.get(name) for name in THREAD_LIMITS}
    os.environ.update(dict.fromkeys(THREAD_LIMITS, "1"))  # which the processes inherit
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def use_huge_pages() -> None:
    """Let torch, which looks at its first tensor, keep large ones in pages of 2 MB where Linux has
    them. With pages of 4 kB, generating spectra on a CPU takes a tenth longer."""
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
