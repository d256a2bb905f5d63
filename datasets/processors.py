"""The number of processor cores that this process may use."""

from __future__ import annotations

import os
from pathlib import Path

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
