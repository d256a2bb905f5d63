"""Identities of caches notice what changes results, and nothing else."""

import re

import h5py
import numpy as np
import pytest

from tests.support import ROOT
from utils.evaluation import baselines, cache_identity, candidates, measurement_cache
from utils.evaluation.cache_identity import array_digest, code_digest, differences, label

SOURCE = '''"""Doc."""

def f(x):
    """More."""
    return 2 * x  # twice
'''


@pytest.fixture
def digest_of(tmp_path, monkeypatch):
    """The digest of a package with one module."""
    monkeypatch.setattr(cache_identity, "ROOT", tmp_path)
    (tmp_path / "package").mkdir()

    def digest(source):
        (tmp_path / "package" / "module.py").write_text(source)
        code_digest.cache_clear()
        return code_digest("package")

    yield digest
    code_digest.cache_clear()


def test_changed_code_has_another_digest(digest_of):
    assert digest_of(SOURCE) != digest_of(SOURCE.replace("2 * x", "3 * x"))
    assert digest_of(SOURCE) == digest_of(SOURCE)


def test_comments_and_docstrings_do_not_count(digest_of):
    edited = SOURCE.replace("Doc", "Text").replace("# twice", "# doubled").replace("More", "Less")
    assert digest_of(SOURCE) == digest_of(edited)


@pytest.mark.parametrize("module", [baselines, candidates, measurement_cache])
def test_the_code_that_fills_each_cache_exists(module):
    for path in module.CODE:
        assert (cache_identity.ROOT / path).exists(), path
    assert len(code_digest(*module.CODE)) == 16


def test_all_data_that_spectroscopy_imports_counts():
    files = (ROOT / "utils" / "spectroscopy").glob("*.py")
    imported = {name for file in files for name in re.findall(r"datasets\.\w+", file.read_text())}
    harmless = ("errors", "atomic_files", "fits_input", "process_pool", "processors")
    paths = {
        f"{name.replace('.', '/')}.py" for name in imported - {f"datasets.{n}" for n in harmless}
    }
    assert "datasets/line_list.py" in paths and paths <= set(measurement_cache.CODE)


def test_differences_are_named(tmp_path):
    with h5py.File(tmp_path / "cache.h5", "w") as file:
        label(file, {"survey": "a", "range": (0.0, 1.0), "seed": None})
        assert differences(file, {"survey": "a", "range": (0.0, 1.0), "seed": None}) == []
        assert differences(file, {"survey": "b", "range": (0.0, 1.0), "code": "c"}) == [
            "survey", "code", "seed",
        ]  # fmt: skip
        assert differences(file.create_group("new"), {"survey": "a"}) == ["survey"]


def test_arrays_differ_by_value_shape_and_type():
    values = np.arange(6.0)
    others = (values + 1e-9, values.reshape(2, 3), values.astype("f4"))
    assert len({array_digest(a) for a in (values, *others)}) == 4
    assert array_digest(values) == array_digest(np.arange(6.0))
