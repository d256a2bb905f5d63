"""The DeepDIP cube: plain and compressed, without unpickling and without loading it."""

import tracemalloc
import zipfile

import numpy as np
import pytest

from datasets.errors import UserError
from datasets.sdss.deepdip import iterate_images, read_identifiers

COUNT = 50


def labels():
    """A record array of 64 columns, as the public file has it."""
    names = ["specObjID", "z", "name", *(f"column{i}" for i in range(61))]
    formats = ["u8", "f4", "U8", *["f8"] * 61]
    records = np.zeros(COUNT, dtype=list(zip(names, formats, strict=True))).view(np.recarray)
    records["specObjID"] = (np.arange(COUNT, dtype=np.uint64) + np.uint64(2**52)) * np.uint64(1024)
    return records


def cube():
    return np.random.default_rng(0).normal(size=(COUNT, 64, 64, 5)).astype(np.float32)


@pytest.fixture(scope="module", params=[np.savez, np.savez_compressed])
def path(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("cube") / "sdss.npz"
    request.param(path, cube=cube(), labels=labels())
    return path


@pytest.mark.parametrize("rows", [[], [0], [3, 4, 17, 30, 49], list(range(COUNT))])
def test_images_are_read_exactly_bands_first(path, rows):
    blocks = list(iterate_images(path, rows, batch_size=4))
    assert all(len(block) <= 4 and block.dtype == np.float32 for block in blocks)
    images = np.concatenate([np.empty((0, 5, 64, 64), np.float32), *blocks])
    np.testing.assert_array_equal(images, cube()[rows].transpose(0, 3, 1, 2))


def test_identifiers(path):
    assert read_identifiers(path).dtype == np.uint64
    np.testing.assert_array_equal(read_identifiers(path), labels()["specObjID"])


def test_the_cube_is_never_loaded(path):
    tracemalloc.start()
    for _ in iterate_images(path, np.arange(COUNT), batch_size=2):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < cube().nbytes / 4


def test_rows_must_increase(path):
    with pytest.raises(ValueError, match="increase"):
        next(iterate_images(path, [3, 3]))


def test_other_files_are_named(tmp_path, path):
    (tmp_path / "text.npz").write_text("no zip")
    np.savez(tmp_path / "objects.npz", cube=cube()[:2], labels=np.array([None, 1]))
    np.savez(tmp_path / "bands.npz", cube=cube()[..., :3])
    for name in ("text.npz", "objects.npz", "missing.npz", "bands.npz"):
        with pytest.raises(UserError, match=f"{name} is not an npz file with cube and labels"):
            read_identifiers(tmp_path / name)
    with pytest.raises(UserError, match=r"bands\.npz.*not \(N, height, width, 5\)"):
        next(iterate_images(tmp_path / "bands.npz", [0]))
    with pytest.raises(UserError, match=r"text\.npz.*cannot be read"):
        next(iterate_images(tmp_path / "text.npz", [0]))
    with zipfile.ZipFile(tmp_path / "short.npz", "w") as archive:
        header = {"descr": "<f4", "fortran_order": False, "shape": (10**9, 64, 64, 5)}
        with archive.open("cube.npy", "w") as member:
            np.lib.format.write_array_header_1_0(member, header)
            member.write(cube().tobytes())
    with pytest.raises(UserError, match=r"short\.npz.*declares 78,125,000 MiB"):
        next(iterate_images(tmp_path / "short.npz", [0]))
    (tmp_path / "cut.npz").write_bytes(path.read_bytes()[:-100_000])
    with pytest.raises(UserError, match=r"cut\.npz"):
        list(iterate_images(tmp_path / "cut.npz", np.arange(COUNT)))
