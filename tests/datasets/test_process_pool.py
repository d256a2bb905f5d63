"""Processes that share work: one that is killed is reported, and none outlives its parent."""

import os
import signal
import subprocess
import sys
import time

import pytest

from datasets.errors import UserError
from datasets.process_pool import process_pool
from tests.support import ROOT


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def threads():
    return os.environ["OMP_NUM_THREADS"]


def test_tasks_run_in_processes_of_one_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    with process_pool(2) as pool:
        assert pool.submit(threads).result() == "1"
        assert pool.submit(os.getpid).result() != os.getpid()


@pytest.mark.parametrize("start", [None, die])
def test_the_death_of_a_process_is_an_error_with_its_remedy(start):
    with (
        pytest.raises(UserError, match="lack of memory: use fewer --workers"),
        process_pool(1, start) as pool,
    ):
        pool.submit(die).result()


def test_processes_end_with_the_one_that_started_them():
    code = """
import os, signal
from datasets.process_pool import process_pool
if __name__ == "__main__":
    with process_pool(1) as pool:
        print(pool.submit(os.getpid).result(), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
"""
    output = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=ROOT).stdout
    deadline = time.monotonic() + 30
    with pytest.raises(ProcessLookupError):
        while time.monotonic() < deadline:
            os.kill(int(output), 0)
            time.sleep(0.05)
