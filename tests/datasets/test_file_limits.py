"""Files that declare more than they hold are refused alone, before memory is spent on them."""

import resource
import zipfile
import zlib
from contextlib import contextmanager, nullcontext

import h5py
import numpy as np
import pytest
from astropy.io import fits
from PIL import Image

from datasets.cutouts.conversion import CutoutFormat
from datasets.cutouts.reader import Cutout, CutoutReader, Rejected
from datasets.errors import UserError
from datasets.file_limits import MAX_ARRAY_BYTES, npy_header
from datasets.sdss.spec_files import read_spectra_collection
from datasets.spectra import METHOD_GRID, Preparation
from datasets.survey import Survey, SurveyError
from datasets.survey_writer import SurveyWriter

UGRIZ = CutoutFormat(("u", "g", "r", "i", "z"), 0.396)
HUGE = (64, 10_000, 10_000)  # within the limits of a side and of bands: 24 GiB of float32


@contextmanager
def little_memory():
    """At most the limit of one array and a half more of address space than now."""
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + 3 * MAX_ARRAY_BYTES // 2, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def npy_bytes(shape, items: bytes = b"") -> bytes:
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + items


def as_hdf5(folder):
    with h5py.File(folder / "bomb.h5", "w") as file:
        file.create_dataset("images", HUGE, "f4", chunks=(1, 100, 100), compression="gzip")


def as_hdf5_of_many(folder):
    with h5py.File(folder / "bomb.h5", "w") as file:
        shape = (10**7, 5, 64, 64)
        file.create_dataset("images", shape, "f4", chunks=(1, 5, 64, 64), compression="gzip")


def as_compressed_fits(folder):
    fits.CompImageHDU(np.zeros((2, 8, 8), np.float32), tile_shape=(1, 8, 8)).writeto(
        folder / "bomb.fits.fz"
    )
    with fits.open(folder / "bomb.fits.fz", "update", disable_image_compression=True) as hdus:
        for axis, side in enumerate(HUGE[::-1], start=1):
            hdus[1].header[f"ZNAXIS{axis}"] = side


def as_npz(folder):
    with zipfile.ZipFile(folder / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", npy_bytes(HUGE))


def as_npz_with_a_huge_column(folder):
    """Of an identifier per image, declared in a header of 128 bytes."""
    with zipfile.ZipFile(folder / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", npy_bytes((2, 5, 9, 9), bytes(2 * 5 * 9 * 9 * 4)))
        archive.writestr("ra.npy", npy_bytes((10**10,)))


def as_npy(folder):
    with open(folder / "bomb.npy", "wb") as file:
        file.write(npy_bytes(HUGE))
        file.truncate(4 * np.prod(HUGE, dtype=np.int64) + 128)  # a hole: no bytes on the disk


def as_png(folder):
    """The header of a picture of 10,000 × 10,000 px, and its first row."""
    Image.new("RGB", (8, 8)).save(folder / "bomb.png")
    content = bytearray((folder / "bomb.png").read_bytes())
    content[16:24] = (10_000).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    (folder / "bomb.png").write_bytes(content)


BOMBS = [
    as_hdf5, as_hdf5_of_many, as_compressed_fits, as_npz, as_npz_with_a_huge_column, as_npy, as_png,
]  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_file_that_declares_too_much_is_refused_alone(bomb, tmp_path):
    bomb(tmp_path)
    good = np.random.default_rng(0).normal(size=(5, 64, 64))
    np.save(tmp_path / "good.npy", good)
    # an .npy is mapped, which takes address space but not memory
    with nullcontext() if bomb is as_npy else little_memory():
        results = list(CutoutReader(tmp_path, UGRIZ))
    assert [r.name for r in results if isinstance(r, Cutout)] == ["good"]
    rejected = [r for r in results if isinstance(r, Rejected)]
    assert rejected and all("bomb" in r.path for r in rejected)
    if bomb is not as_npz_with_a_huge_column:  # its column is left out, its images are constant
        assert "declares" in rejected[0].reason


def test_fits_cubes_of_many_are_read_one_at_a_time(tmp_path):
    stack = np.random.default_rng(0).normal(size=(3, 5, 64, 64)).astype(np.float32)
    fits.PrimaryHDU(stack).writeto(tmp_path / "many.fits")
    cutouts = list(CutoutReader(tmp_path, UGRIZ))
    assert [c.name for c in cutouts] == ["many#0", "many#1", "many#2"]
    np.testing.assert_array_equal([c.image for c in cutouts], stack)


def test_a_collection_that_declares_too_much_is_refused(tmp_path):
    with h5py.File(tmp_path / "spectra.h5", "w") as file:
        file["loglam"] = np.linspace(3.6, 3.9, 3000)
        file.create_dataset("flux", (10**7, 3000), "f4", chunks=(1, 3000))
    with (
        little_memory(),
        pytest.raises(UserError, match=r"spectra\.h5: /flux declares"),
    ):
        read_spectra_collection(tmp_path / "spectra.h5")


def test_a_catalogue_that_declares_too_much_is_refused(tmp_path):
    path = tmp_path / "survey.h5"
    write_survey(path)
    with h5py.File(path, "a") as file:
        file.create_dataset("catalogue/bomb", (10**10,), "f8", chunks=(1000,))
    with little_memory(), pytest.raises(SurveyError, match="/catalogue/bomb declares"):
        Survey(path)


def write_survey(path):
    catalogue = {"identifier": np.arange(4), "ra": np.arange(4.0), "dec": np.zeros(4)}
    images = np.random.default_rng(0).normal(size=(4, 5, 8, 8))
    with SurveyWriter(path, UGRIZ.bands, 0.396, METHOD_GRID, Preparation()) as writer:
        writer.append(images, np.ones((4, METHOD_GRID.count)), catalogue, np.ones(4))


@pytest.mark.parametrize("kind", ["link", "storage", "virtual"])
def test_other_files_are_not_followed(kind, tmp_path):
    pixels = np.random.default_rng(0).normal(size=(5, 64, 64)).astype(np.float32)
    with h5py.File(tmp_path / "secret.hdf", "w") as file:
        file["pixels"] = pixels
    (tmp_path / "secret.bin").write_bytes(pixels.tobytes())
    with h5py.File(tmp_path / "user.h5", "w") as file:
        file["note"] = 1.0
        if kind == "link":
            file["images"] = h5py.ExternalLink("secret.hdf", "/pixels")
        elif kind == "storage":
            external = [(str(tmp_path / "secret.bin"), 0, h5py.h5f.UNLIMITED)]
            file.create_dataset("images", pixels.shape, "f4", external=external)
        else:
            layout = h5py.VirtualLayout(pixels.shape, "f4")
            layout[:] = h5py.VirtualSource(tmp_path / "secret.hdf", "pixels", pixels.shape)
            file.create_virtual_dataset("images", layout)
    (rejected,) = CutoutReader(tmp_path / "user.h5", UGRIZ)
    assert "no array named images" in rejected.reason


def test_arrays_of_objects_and_in_fortran_order_have_no_header(tmp_path):
    for name, array in {"objects": np.array([{}]), "fortran": np.ones((2, 3), order="F")}.items():
        np.save(tmp_path / f"{name}.npy", array, allow_pickle=True)
        with (
            open(tmp_path / f"{name}.npy", "rb") as file,
            pytest.raises(UserError, match="C order"),
        ):
            npy_header(file)
