"""Which objects in a folder of survey data can be used, and why others cannot."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import h5py

from datasets.constants import SDSS_BANDS, SDSS_PIXEL_ARCSEC
from datasets.cutouts.conversion import CutoutFormat
from datasets.cutouts.formats import PICTURE_BANDS, read_picture
from datasets.cutouts.reader import COMPANIONS, READERS, CutoutReader, Rejected
from datasets.errors import UserError
from datasets.sdss.frames import Frame
from datasets.sdss.sources import COLLECTION_SUFFIXES
from datasets.sdss.spec_files import SdssSpectrum, read_spec_file, read_spectra_collection
from datasets.spectra import SpectrumError, prepare_spectrum

UGRIZ = CutoutFormat(SDSS_BANDS, SDSS_PIXEL_ARCSEC)
PICTURES = CutoutFormat(PICTURE_BANDS, SDSS_PIXEL_ARCSEC)
FILE_ERRORS = (UserError, OSError, ValueError, KeyError)
Libraries = Mapping[str, tuple[re.Pattern[str], Callable]]


Tallies = dict[tuple[str, str], Counter[str | None]]  # (place, kind) → reasons; None: usable


def check_folder(folder: Path, libraries: Libraries) -> tuple[Tallies, list[str]]:
    """Read every file in a folder and in the folders inside it by the reader of its kind.

    Args:
        folder: With spectra, cutouts, frames, spectra collections and population models.
        libraries: By name of a library of stellar populations, the pattern of its files' names and
            a reader of (path, match), which returns one item per population.

    Returns:
        The numbers of usable objects and of those refused, and a message for each file that cannot
        be read at all.
    """
    tallies: Tallies = defaultdict(Counter)
    damaged = []
    for paths in _sources(folder, libraries):
        path = paths[0]
        inside = path.parent != folder
        place = str(path.parent.relative_to(folder)) if inside else path.name
        try:
            for kind, reason in _objects(paths, libraries):
                tallies[place, kind][reason] += 1
        except FILE_ERRORS as error:
            damaged.append(str(error) if str(path) in str(error) else f"{path}: {error}")
    return tallies, damaged


def _sources(folder: Path, libraries: Libraries) -> list[tuple[Path, ...]]:
    """The files, those of one band each of a cutout together."""
    patterns = [re.compile("frame-|spec-"), *(pattern for pattern, _ in libraries.values())]
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name[0] != "."]
    paths = sorted(path for path in paths if path.suffix.lower() not in COMPANIONS)
    named = [path for path in paths if any(pattern.match(path.name) for pattern in patterns)]
    cutouts = sorted({*paths} - {*named})
    sources = CutoutReader(cutouts, UGRIZ).sources if cutouts else []
    return sorted([*((path,) for path in named), *(source.paths for source in sources)])


def _objects(paths: Sequence[Path], libraries: Libraries) -> Iterator[tuple[str, str | None]]:
    """Kind of each object in a file, or files, and why it is not usable (None: it is)."""
    path = paths[0]
    library = next((one for one in libraries.values() if one[0].match(path.name)), None)
    if path.name.startswith("frame-"):
        Frame.read(path)
        yield "SDSS frame", None
    elif path.name.startswith("spec-"):
        yield "spectrum", _unusable(read_spec_file(path))
    elif library:
        pattern, read = library
        yield from (("stellar population", None) for _ in read(path, pattern.match(path.name)))
    elif path.suffix.lower() in COLLECTION_SUFFIXES and _holds_spectra(path):
        yield from (("spectrum", _unusable(one)) for one in read_spectra_collection(path))
    else:
        yield from _cutouts(paths)


def _holds_spectra(path: Path) -> bool:
    with h5py.File(path, "r") as file:
        return "loglam" in file


def _unusable(spectrum: SdssSpectrum) -> str | None:
    """Why a spectrum cannot be part of a survey, without its numbers; None if it can."""
    try:
        prepare_spectrum(*spectrum.pixels)
    except SpectrumError as error:
        return re.sub(r"\d+(\.\d+)?(e[-+]\d+)?", "…", str(error))
    return None


def _cutouts(paths: Sequence[Path]) -> Iterator[tuple[str, str | None]]:
    picture = READERS.get(paths[0].suffix.lower()) is read_picture
    for item in CutoutReader(paths, PICTURES if picture else UGRIZ):
        reason = item.reason if isinstance(item, Rejected) else None
        yield "colour picture" if picture else f"{''.join(SDSS_BANDS)} cutout", reason


def as_text(tallies: Tallies) -> str:
    """The tallies as a table, the reasons below their row."""
    lines = [f"{'where':26}{'what':22}{'usable':>8}{'refused':>9}"]
    for (place, kind), tally in tallies.items():
        refused = tally.total() - tally[None]
        lines.append(f"{place:26}{kind:22}{tally[None]:8d}{refused:9d}")
        lines += [f"{'':26}{count} × {why}" for why, count in tally.most_common() if why]
    return "\n".join(lines)
