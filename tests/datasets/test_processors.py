"""The cores that a process may use: affinity mask and quota; and what it starts."""

import os
import subprocess
import sys

import pytest

from datasets import processors
from tests.support import ROOT


@pytest.mark.parametrize(
    ("quota", "cores"),
    [("max 100000", 6), ("200000 100000", 2), ("50000 100000", 1), ("900000 100000", 6), (None, 6)],
)
def test_the_smaller_of_mask_and_quota_counts(quota, cores, monkeypatch, tmp_path):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(6)), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    if quota:
        (tmp_path / "cpu.max").write_text(quota)
    monkeypatch.setattr(processors, "_QUOTA", tmp_path / "cpu.max")
    assert processors.usable_cores() == cores


def test_processes_of_the_block_inherit_one_thread_and_nothing_else_changes(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    before = dict(os.environ)
    code = f"import os; print([os.environ[name] for name in {processors.THREAD_LIMITS!r}])"
    with pytest.raises(KeyError), processors.one_thread_each():
        seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        raise KeyError
    assert seen.stdout.strip() == "['1', '1', '1']"
    assert dict(os.environ) == before


@pytest.mark.parametrize(
    ("script", "arguments"),
    [("generate", ["-", "--output", "-"]), ("train_contrastive", []), ("train_generative", [])],
)
def test_torch_is_asked_for_huge_pages_unless_the_user_says_otherwise(script, arguments):
    code = f"""import os, sys, {script} as script
sys.meta_path.insert(0, type("", (), dict(find_spec=staticmethod(find))))
script.main({arguments!r})
"""
    find = """
def find(name, *_):
    if name == "torch":
        import os
        print("found", os.environ["THP_MEM_ALLOC_ENABLE"], flush=True)
        os._exit(0)
"""
    for value, found in ((None, "1"), ("0", "0")):
        environment = dict(os.environ, THP_MEM_ALLOC_ENABLE=value or "")
        if value is None:
            del environment["THP_MEM_ALLOC_ENABLE"]
        command = [sys.executable, "-c", find + code]
        seen = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT)
        assert seen.stdout.splitlines()[-1:] == [f"found {found}"], seen.stderr
