"""Damaged and hostile files for every reader: each is used, or refused with a reason.

    python -m tests.fuzz --count 10000 --seed 1

Takes valid files of every kind that the commands read, and changes them: bytes, truncation, header
cards, shapes, types, values that are not finite, links, sizes that are declared but not there.
Reports how many were used and refused, the slowest file, and the memory; anything else is a
failure, kept in the folder that it names. The same seed gives the same files.
"""

from __future__ import annotations

import argparse
import io
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
from astropy.io import fits
from astropy.table import Table
from PIL import Image
from tqdm import tqdm

from datasets.command_parser import CommandParser
from datasets.cutouts.conversion import CutoutFormat
from datasets.cutouts.reader import Cutout, CutoutReader
from datasets.errors import UserError
from datasets.sdss.spec_files import read_spec_file, read_spectra_collection
from datasets.survey import Survey
from datasets.tables import read_catalogue
from tests.spec_files import write_spec_file
from tests.support import make_tiny_survey

SLOWEST_SECONDS = 1.0
MEMORY_BYTES = 3 << 30  # of address space above that of the libraries
BANDS = ("u", "g", "r", "i", "z")
PICTURES = CutoutFormat(("R", "G", "B"), 0.396)
IMAGES = CutoutFormat(BANDS, 0.396)
CARDS = (
    "NAXIS", "NAXIS1", "NAXIS2", "NAXIS3", "BITPIX", "BSCALE", "BZERO", "CD1_1", "CDELT1", "CTYPE1",
    "CUNIT1", "CRVAL1", "CRPIX1", "PIXSCALE", "BUNIT", "BANDS", "FILTER", "EXTNAME", "OBJID", "Z",
    "MAGZERO", "BSOFTEN", "TFORM1", "TTYPE1", "TDIM1", "PCOUNT", "GCOUNT", "EXTEND", "SIMPLE",
)  # fmt: skip
VALUES = (
    "0", "-1", "1", "3", "2147483648", "99999999999", "-32", "1E30", "NaN", "''", "'RA---TAN'",
    "'GLON-CAR'", "'nJy'", "'MJy/sr'", "'u,g,r,i,z'", "T", "'\x7f'", "1.0E-300", "'10000E'",
)  # fmt: skip
NUMBERS = (np.nan, np.inf, -np.inf, 1e38, -1e38, 0.0, 1e-45)


def image() -> np.ndarray:
    """(5, 64, 64): a galaxy."""
    y, x = np.mgrid[:64, :64] - 31.5
    profile = np.exp(-(x**2 + y**2) / 50)
    noise = np.random.default_rng(0).normal(0, 1e-3, (5, 64, 64))
    return (np.arange(1, 6)[:, None, None] * profile + noise).astype(np.float32)


def corpus(folder: Path) -> dict[Path, Callable[[Path], object]]:
    """Valid files of all kinds, and what reads each."""
    folder.mkdir(parents=True, exist_ok=True)
    header = fits.Header({"BANDS": "ugriz", "BUNIT": "nanomaggy", "PIXSCALE": 0.396, "OBJID": 7})
    fits.PrimaryHDU(image(), header).writeto(folder / "cube.fits")
    planes = [fits.ImageHDU(p, name=b) for b, p in zip(BANDS, image(), strict=True)]
    fits.HDUList([fits.PrimaryHDU(), *planes]).writeto(folder / "planes.fits")
    packed = [fits.CompImageHDU(p, name=b) for b, p in zip(BANDS, image(), strict=True)]
    fits.HDUList([fits.PrimaryHDU(), *packed]).writeto(folder / "packed.fits.fz")
    np.save(folder / "array.npy", image())
    np.savez(folder / "arrays.npz", images=np.stack([image()] * 2), objid=[1, 2], bands=BANDS)
    np.savez_compressed(folder / "small.npz", cube=image(), redshift=0.1)
    with h5py.File(folder / "stamps.h5", "w") as file:
        file["images"], file["identifier"] = np.stack([image()] * 2), np.array([1, 2], np.uint64)
        file.attrs["bands"] = "ugriz"
    pixels = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for suffix in ("jpg", "png"):
        Image.fromarray(pixels).save(folder / f"picture.{suffix}")
    loglam = np.arange(35500, 39500) * 1e-4
    write_spec_file(folder / "spec-0266-51630-0007.fits", 299548501317019648, loglam,
                    np.ones(len(loglam)))  # fmt: skip
    with h5py.File(folder / "collection.h5", "w") as file:
        file["loglam"], file["specobjid"] = loglam, np.array([1024], np.uint64)
        file["flux"], file["ivar"] = np.ones((2, 1, len(loglam)), np.float32)
        for name in ("plate", "mjd", "fiber", "z", "zwarning", "ra", "dec"):
            file[name] = np.ones(1)
        file["cls"] = file["subclass"] = np.array([b"GALAXY"])
    make_tiny_survey(folder / "survey.h5", count=12)
    columns = {"specobjid": [1024, 2048], "ra": [1.0, 2.0], "z": [0.1, np.nan], "name": ["a", "b"]}
    for name in ("table.csv", "table.fits", "table.vot", "table.ecsv"):
        form = {"csv": "ascii.csv", "ecsv": "ascii.ecsv", "vot": "votable"}.get(name[6:], "fits")
        Table(columns).write(folder / name, format=form)
    return {path: reader_of(path) for path in sorted(folder.iterdir())}


def reader_of(path: Path) -> Callable[[Path], object]:
    """What a command would read a file of the corpus with."""
    if path.name.startswith("spec-"):
        return read_spec_file
    if path.name.startswith("table"):
        return read_catalogue
    if path.name.startswith("collection"):
        return read_spectra_collection
    if path.name.startswith("survey"):
        return read_survey
    return read_cutouts


def read_cutouts(path: Path) -> list:
    """The cutouts of a file; UserError with the reason if none can be used."""
    target = PICTURES if path.suffix in (".jpg", ".png") else IMAGES
    results = list(CutoutReader(path, target))
    used = [result for result in results if isinstance(result, Cutout)]
    if not used:
        raise UserError(results[0].reason if results else "no cutouts")
    return used


def read_survey(path: Path) -> object:
    """The description and the first galaxies of a survey."""
    survey = Survey(path)
    rows = np.arange(min(len(survey), 3))
    return survey.describe(), survey.read("images", rows), survey.read("spectra", rows)


def change(data: bytes, path: Path, random: np.random.Generator) -> bytes:
    """The bytes of a file, changed in one to three ways."""
    changes = [flip, cut, repeat, numbers]
    if ".fits" in path.name:
        changes += [card] * 4
    if path.suffix == ".csv":
        changes += [words] * 4
    for _ in range(random.integers(1, 4)):
        data = changes[random.integers(len(changes))](data, random)
    return data


def flip(data: bytes, random: np.random.Generator) -> bytes:
    """Some bytes, more often near the beginning, where headers are."""
    changed = bytearray(data)
    for _ in range(random.integers(1, 20)):
        place = int(len(changed) * random.random() ** random.integers(1, 4))
        if place < len(changed):
            changed[place] = random.integers(256)
    return bytes(changed)


def cut(data: bytes, random: np.random.Generator) -> bytes:
    """The beginning of a file."""
    return data[: random.integers(len(data) + 1)]


def repeat(data: bytes, random: np.random.Generator) -> bytes:
    """A part of a file twice, or left out."""
    start, stop = np.sort(random.integers(len(data) + 1, size=2))
    return data[:stop] + data[start:] if random.random() < 0.5 else data[:start] + data[stop:]


def numbers(data: bytes, random: np.random.Generator) -> bytes:
    """Numbers that are not finite, or out of range, in either byte order."""
    changed = bytearray(data)
    for _ in range(random.integers(1, 10)):
        form = ("<f4", ">f4", "<f8", ">f8")[random.integers(4)]
        value = np.array(NUMBERS[random.integers(len(NUMBERS))], form).tobytes()
        place = random.integers(max(len(changed) - 8, 1))
        changed[place : place + len(value)] = value
    return bytes(changed)


def card(data: bytes, random: np.random.Generator) -> bytes:
    """A header card, changed where the file has it, else in the place of another."""
    key, value = (options[random.integers(len(options))] for options in (CARDS, VALUES))
    text = f"{key:<8}= {value:>20}".ljust(80).encode("latin-1")[:80]
    place = data.find(f"{key:<8}=".encode())
    if place < 0:
        place = 80 * int(random.integers(max(len(data) // 80, 1)))
    return data[:place] + text + data[place + 80 :]


def words(data: bytes, random: np.random.Generator) -> bytes:
    """Words of a table."""
    parts = data.split(b",")
    choices = (b"", b"null", b"1e30", b"9" * 40, b'"', b"\n", b"\xff\xfe", b"-9999", b"#", b";")
    parts[random.integers(len(parts))] = choices[random.integers(len(choices))]
    return b",".join(parts)


def hostile(folder: Path) -> dict[Path, Callable[[Path], object]]:
    """Files that no damage makes: bombs, links, sizes that are declared only."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, shape in (("a.npy", (1 << 20, 5, 64, 64)), ("b.npy", (5, 60000, 60000))):
        header = io.BytesIO()
        about = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(header, about)
        (folder / name).write_bytes(header.getvalue())
    with zipfile.ZipFile(folder / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        header = io.BytesIO()
        about = {"descr": "<f4", "fortran_order": False, "shape": (5, 9000, 9000)}
        np.lib.format.write_array_header_1_0(header, about)
        with archive.open("cube.npy", "w", force_zip64=True) as member:
            member.write(header.getvalue())
            for _ in range(200):
                member.write(bytes(1 << 20))
    np.save(folder / "objects.npy", np.array([{}], object), allow_pickle=True)
    (folder / "secret.bin").write_bytes(image().tobytes())
    with h5py.File(folder / "external.h5", "w") as file:
        file.create_dataset(
            "images", (5, 64, 64), "f4", external=[("secret.bin", 0, h5py.h5f.UNLIMITED)]
        )
    with h5py.File(folder / "linked.h5", "w") as file:
        file["images"] = h5py.ExternalLink("survey.h5", "/images")
    with h5py.File(folder / "declared.h5", "w") as file:
        file.create_dataset("images", (10**7, 5, 64, 64), "f4", chunks=(1, 5, 64, 64))
    (folder / "loop.fits").symlink_to(folder / "loop.fits")
    (folder / "gone.fits").symlink_to(folder / "nothing.fits")
    (folder / "empty.fits").touch()
    (folder / "folder.fits").mkdir()
    (folder / "zeros.fits").write_bytes(bytes(1 << 20))
    (folder / "secret.bin").rename(folder.parent / "secret.bin")
    return {path: read_cutouts for path in sorted(folder.iterdir())}


class TooSlow(BaseException):
    """Raised in a reader that does not come to an end; no reader catches it."""


def _interrupt(*_: object) -> None:
    raise TooSlow


def attempt(reader: Callable[[Path], object], path: Path) -> tuple[str, float]:
    """What became of a file: used, refused, or the name of what went wrong; and the seconds."""
    start = time.perf_counter()
    signal.signal(signal.SIGALRM, _interrupt)
    signal.setitimer(signal.ITIMER_REAL, 10 * SLOWEST_SECONDS)
    try:
        reader(path)
        outcome = "used"
    except UserError as error:
        outcome = "refused" if str(error).strip() else "refused without a reason"
    except Exception as error:  # of any library: what the run looks for
        outcome = f"{type(error).__name__}: {error}"
    except TooSlow:
        outcome = "stopped"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return outcome, time.perf_counter() - start


def run(count: int, seed: int, folder: Path, quiet: bool = True) -> tuple[Counter, list[str]]:
    """Read `count` changed files, and the hostile ones.

    Returns:
        Numbers of files used and refused, and the failures.
    """
    found, failures, slowest = Counter(), [], (0.0, "")
    files = corpus(folder / "corpus")
    contents = {path: path.read_bytes() for path in files}
    tried = list(hostile(folder / "hostile").items())
    paths = list(files)
    for number in tqdm(range(count + len(tried)), unit="file", disable=True if quiet else None):
        if number < len(tried):
            path, reader = tried[number]
        else:
            random = np.random.default_rng([seed, number])
            original = paths[random.integers(len(paths))]
            path, reader = folder / original.name, files[original]
            path.write_bytes(change(contents[original], original, random))
        outcome, seconds = attempt(reader, path)
        slowest = max(slowest, (seconds, f"{path.name} of file {number}"))
        if outcome not in ("used", "refused") or seconds > SLOWEST_SECONDS:
            failures.append(f"file {number}, {path.name}: {outcome} after {seconds:.2f} s")
            if path.is_file():
                shutil.copy(path, folder / f"failed-{number}-{path.name}")
        found[outcome] += 1
    if not quiet:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
        print(f"slowest {slowest[0]:.2f} s ({slowest[1]}); resident memory at most {peak:.0f} MiB")
    return found, failures


def limit_memory() -> None:
    """Let the process have `MEMORY_BYTES` more than it has now."""
    with open("/proc/self/statm", encoding="ascii") as file:
        pages = int(file.read().split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def main() -> int:
    """Parse, read, report; 1 if a file was neither used nor refused."""
    parser = CommandParser(__doc__, "python -m tests.fuzz")
    parser.add_argument("--count", type=int, default=10_000, help="files (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the changes (%(default)s)")
    options: argparse.Namespace = parser.parse_args()
    if sys.platform == "linux":
        limit_memory()
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    found, failures = run(options.count, options.seed, folder, quiet=False)
    print(f"{found['used']} used, {found['refused']} refused, {len(failures)} failed")
    if failures:
        print("\n".join(failures), f"the files are in {folder}", sep="\n", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
