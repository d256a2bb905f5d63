"""Cutouts of galaxies from files of any usual kind, one after the other.

Sources are a folder, a glob, a list of files, or one file of many cutouts (formats:
`datasets.cutouts.formats`, `datasets.cutouts.fits_files`). Every cutout becomes the image that the
network takes (`datasets.cutouts.conversion`). A file that cannot be used becomes a `Rejected` with
the reason; the run goes on, and memory holds one cutout at a time.
"""

from __future__ import annotations

import copy
import glob
import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from datasets.atomic_files import write_csv
from datasets.cutouts.conversion import CutoutFormat, position_of_band
from datasets.cutouts.formats import (
    CutoutError,
    RawCutout,
    count_cutouts,
    is_no_band,
    read_hdf5,
    read_npy,
    read_npz,
    read_picture,
)
from datasets.errors import UserError
from datasets.file_names import as_text, file_stem, free_name
from datasets.text_files import read_text


def read_fits(path: Path) -> Iterator[RawCutout]:
    """The cutouts of a FITS file: see `datasets.cutouts.fits_files`."""
    from datasets.cutouts import fits_files  # astropy takes a second to import

    yield from fits_files.read_fits(path)


READERS: dict[str, Callable[[Path], Iterator[RawCutout]]] = {
    ".fits": read_fits, ".fit": read_fits, ".fits.gz": read_fits, ".fits.fz": read_fits,
    ".fits.bz2": read_fits, ".npy": read_npy, ".npz": read_npz, ".h5": read_hdf5,
    ".hdf5": read_hdf5, ".jpg": read_picture, ".jpeg": read_picture, ".png": read_picture,
}  # fmt: skip
FITS_SUFFIXES = tuple(suffix for suffix, reader in READERS.items() if reader is read_fits)
COUNTABLE = (read_npy, read_npz, read_hdf5)
COMPANIONS = (".csv", ".txt", ".md", ".json", ".yml", ".yaml", ".log")  # passed over in folders
COMMON_BANDS = "ugrizyJHK"  # recognised in file names even if the network does not take them


@dataclass(frozen=True)
class Cutout:
    """A cutout as the network takes it.

    Attributes:
        name: Unique in a run and the same in every run: the file's stem, or `stem#index` in a
            file of many. No two name the same file (`datasets.file_names`).
        image: (bands, size, size) float32, nanomaggies per pixel, or intensity 0 … 1 of pictures.
        path: The file, or the first of the files of one band each.
        ra, dec: Degrees; NaN where unknown.
        identifier: Exact, 64-bit; 0 where unknown.
        redshift: NaN where unknown.
        assumptions: What is assumed because the file does not state it.
    """

    name: str
    image: np.ndarray
    path: Path
    ra: float = math.nan
    dec: float = math.nan
    identifier: int = 0
    redshift: float = math.nan
    assumptions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rejected:
    """A file, or `file#index`, that is not a usable cutout, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class CutoutSource:
    """One file, or the files of one band each that make up one cutout."""

    name: str
    paths: tuple[Path, ...]
    bands: tuple[str, ...] | None = None  # of the paths, where each holds one
    passed_over: tuple[Path, ...] = ()  # files of weights, masks and the like of the same galaxy
    rows: tuple[int, int | None] = (0, None)  # first and last + 1, of the cutouts in a file of many

    @property
    def reader(self) -> Callable[[Path], Iterator[RawCutout]] | None:
        return READERS.get(_suffix(self.paths[0]))

    def read(self) -> Iterator[RawCutout]:
        """The cutouts of the file or files, unchanged; CutoutError for an unknown format."""
        if self.bands:
            from datasets.cutouts.fits_files import read_band_files

            yield read_band_files(dict(zip(self.bands, self.paths, strict=True)))
        elif self.reader is None:
            raise CutoutError(f"unknown format; the readable ones are {', '.join(READERS)}")
        elif self.reader in COUNTABLE:
            yield from self.reader(self.paths[0], slice(*self.rows))
        else:
            yield from self.reader(self.paths[0])

    def __len__(self) -> int:
        return count_cutouts(self.paths[0]) if self.reader in COUNTABLE else 1

    def count(self) -> int:
        """How many cutouts it declares; a damaged file counts as one."""
        first, last = self.rows
        if last is not None:  # of a block, counted before
            return last - first
        try:
            return len(self)
        except Exception:  # any damage to any format; reading reports it
            return 1


class CutoutReader:
    """Iterates over the cutouts of `sources` as `Cutout` or `Rejected`.

    Attributes:
        sources: A `CutoutSource` for each file, or for the files of one band each of a galaxy.

    Args:
        sources: A folder (without its subfolders), a file, a glob, a text file with one path per
            line, or a list of these.
        target: What the network takes, and what the user states about the files.

    Raises:
        CutoutError: the sources hold no files at all.
    """

    def __init__(self, sources: str | Path | Iterable[str | Path], target: CutoutFormat) -> None:
        listed = [sources] if isinstance(sources, str | Path) else list(sources)
        paths = dict.fromkeys(path for source in listed for path in _expand(Path(source)))
        if not paths:
            raise CutoutError(
                f"no cutouts in {', '.join(map(str, listed))}: give a folder, a glob or files "
                f"ending in {', '.join(READERS)}"
            )
        if not any(path.exists() for path in paths):
            raise CutoutError(f"{next(iter(paths))} does not exist")
        self.target = target
        self.sources = _group(list(paths), target.input_bands or target.bands)
        self._stems = frozenset(file_stem(source.name).casefold() for source in self.sources)

    def namesakes(self) -> dict[str, str]:
        """The files of one name, in several folders or of several kinds, by what tells them
        apart."""
        names = [re.sub(r"~\d+$", "", source.name).casefold() for source in self.sources]
        several = [name for name, times in Counter(names).items() if times > 1]
        return {
            source.name: str(source.paths[0])
            for source, name in zip(self.sources, names, strict=True)
            if name in several
        }

    def only(self, sources: Sequence[CutoutSource]) -> CutoutReader:
        """A reader of some of the `sources`."""
        reader = copy.copy(self)
        reader.sources = list(sources)
        return reader

    def blocks(self, size: int) -> list[CutoutReader]:
        """Readers of `size` cutouts each, of the last of fewer, as `len` counts them."""
        blocks: list[list[CutoutSource]] = []
        room = 0
        for source in self.sources:
            count, first = source.count() or 1, 0  # an empty file is rejected when it is read
            while first < count:
                if room == 0:
                    blocks.append([])
                    room = size
                last = min(first + room, count)
                blocks[-1].append(replace(source, rows=(first, last)))
                room -= last - first
                first = last
        return [self.only(sources) for sources in blocks]

    def __len__(self) -> int:
        """How many cutouts the files declare; every FITS and every damaged file counts as one."""
        return sum(source.count() for source in self.sources)

    def __iter__(self) -> Iterator[Cutout | Rejected]:
        taken = set(self._stems)
        for source in self.sources:
            try:
                for raw in source.read():
                    yield self._convert(source, raw, taken)
            except Exception as error:  # libraries raise anything on damage; the run goes on
                yield Rejected(str(source.paths[0]), why_unreadable(error))

    def _convert(self, source: CutoutSource, raw: RawCutout, taken: set[str]) -> Cutout | Rejected:
        number = "" if raw.index is None else f"#{raw.index}"
        path, name = source.paths[0], source.name
        if number:
            name = free_name(f"{name}{number}", taken)
        if source.passed_over:
            files = ", ".join(path.name for path in source.passed_over)
            raw = replace(raw, remarks=(*raw.remarks, f"files passed over: {files}"))
        try:
            _check_bands(source.bands, self.target.input_bands)
            image, assumptions = self.target.convert(raw)
        except (UserError, ValueError, TypeError) as error:
            return Rejected(f"{path}{number}", why_unreadable(error))
        identifier = raw.identifier or (0 if number else _identifier_in(source.name))
        return Cutout(
            name, image, path, raw.ra, raw.dec, identifier, raw.redshift, tuple(assumptions)
        )


def _identifier_in(name: str) -> int:
    """The identifier that a file is named by, 17 to 20 digits; 0 for other names."""
    named = re.fullmatch(r"\d{17,20}", name)
    return int(name) if named and int(name) < 2**64 else 0


def write_rejects(path: str | Path, rejects: Iterable[Rejected]) -> None:
    """Write the rejected files as a CSV table with the columns file and reason."""
    write_csv(path, ("file", "reason"), ((reject.path, reject.reason) for reject in rejects))


def why_unreadable(error: Exception) -> str:
    """The reason for a file that cannot be used, whatever was raised."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, FileNotFoundError):
        return "does not exist"
    text = " ".join(str(error).split())[:200]
    return f"unreadable or truncated ({type(error).__name__}: {text})"


def _suffix(path: Path) -> str:
    """The longest known suffix of the path, or its last one."""
    name = path.name.lower()
    found = [suffix for suffix in READERS if name.endswith(suffix)]
    return max(found, key=len, default=path.suffix.lower())


def _stem(path: Path) -> str:
    return as_text(path.name[: len(path.name) - len(_suffix(path))])


def _expand(source: Path) -> list[Path]:
    if source.is_dir():
        files = (path for path in source.iterdir() if path.is_file() and path.name[0] != ".")
        return sorted(path for path in files if path.suffix.lower() not in COMPANIONS)
    if source.suffix == ".txt" and source.is_file():
        lines = read_text(source).split("\n")
        return [source.parent / line.strip() for line in lines if line.strip()]
    if glob.has_magic(str(source)) and not source.exists():
        return sorted(Path(match) for match in glob.glob(str(source), recursive=True))
    return [source]


def _group(paths: Sequence[Path], bands: Sequence[str]) -> list[CutoutSource]:
    """One source per cutout file; FITS files of one folder whose names differ only in the band
    together, in the order of `bands`: `name-u`, `name-g` …, or `HSC-G-9813`, `HSC-R-9813` …"""
    recognised = {word for band in (*bands, *COMMON_BANDS) for word in _words(band)}
    paths, beside = _without_weights(paths)
    groups: dict[tuple[Path, str, str], dict[str, Path]] = defaultdict(dict)
    for path in paths:
        if _suffix(path) in FITS_SUFFIXES:
            for before, band, after in _bands_in(_stem(path), recognised):
                groups[path.parent, before, after].setdefault(band, path)
    sources, grouped = [], set()
    for (_, before, after), files in sorted(groups.items(), key=lambda item: -len(item[1])):
        in_order = sorted(files.items(), key=lambda item: _place(item[0], bands))
        files = {band: path for band, path in in_order if path not in grouped}
        if len(files) > 1:
            grouped.update(files.values())
            name = before[:-1] + after if before else after[1:]  # without one separator
            sources.append(CutoutSource(name, tuple(files.values()), tuple(files)))
    sources += [CutoutSource(_stem(path), (path,)) for path in paths if path not in grouped]
    order = {path: number for number, path in enumerate(paths)}
    sources = [
        replace(source, passed_over=tuple(other for path in source.paths for other in beside[path]))
        for source in sources
    ]
    return _uniquely_named(sorted(sources, key=lambda source: order[source.paths[0]]))


def _words(band: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", band.lower())


def _place(band: str, bands: Sequence[str]) -> int:
    """Where `band` is among `bands`; behind them if it is none of them."""
    try:
        return position_of_band(band, bands)
    except UserError:
        return len(bands)


def _check_bands(named: Sequence[str] | None, stated: Sequence[str] | None) -> None:
    """Refuse files of one band each whose names contradict the bands that are stated."""
    if named and stated and [_place(band, stated) for band in named] != [*range(len(stated))]:
        raise CutoutError(
            f"--bands {','.join(stated)}: by their names the files of one band each are of "
            f"{', '.join(named)}"
        )


def _without_weights(paths: Sequence[Path]) -> tuple[list[Path], dict[Path, list[Path]]]:
    """The paths without FITS files of weights, masks and the like, such as `name-g.wht.fits` beside
    `name-g.fits`, and these by the path that they belong to."""
    images = {(path.parent, _stem(path)): path for path in paths if _suffix(path) in FITS_SUFFIXES}
    beside: dict[Path, list[Path]] = defaultdict(list)
    for (folder, stem), path in list(images.items()):
        for word in re.finditer(r"[-_.]([A-Za-z0-9]+)", stem):
            partner = images.get((folder, stem[: word.start()] + stem[word.end() :]))
            if partner and is_no_band(word[1]):
                beside[partner].append(path)
    others = {path for files in beside.values() for path in files}
    return [path for path in paths if path not in others], beside


def _bands_in(stem: str, recognised: set[str]) -> Iterator[tuple[str, str, str]]:
    """The words of a name that are bands, the last first, with the text before and after."""
    for word in reversed(list(re.finditer(r"(?<![A-Za-z0-9])[A-Za-z]+(?![A-Za-z0-9])", stem))):
        before, after = stem[: word.start()], stem[word.end() :]
        if word[0].lower() in recognised and (before or after):
            yield before, word[0], after


def _uniquely_named(sources: Sequence[CutoutSource]) -> list[CutoutSource]:
    """The second of two sources of one name, in the order of their paths, is `name~2`."""
    taken: set[str] = set()
    names = {}
    for source in sorted(sources, key=lambda source: source.paths):
        names[source.paths] = free_name(source.name, taken)
    return [replace(source, name=names[source.paths]) for source in sources]
