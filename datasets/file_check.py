"""Which objects in a folder of survey data can be used, and why others cannot."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from datasets.constants import SDSS_BANDS, SDSS_PIXEL_ARCSEC
from datasets.cutouts.conversion import CutoutFormat
from datasets.cutouts.formats import PICTURE_BANDS, read_picture
from datasets.cutouts.reader import COMPANIONS, READERS, CutoutReader, Rejected
from datasets.errors import UserError
from datasets.sdss.frames import Frame
from datasets.sdss.sources import COLLECTION_SUFFIXES
from datasets.sdss.spec_files import SdssSpectrum, read_spec_file, read_spectra_collection
from datasets.spectra import SpectrumError, prepare_spectrum

FILE_ERRORS = (UserError, OSError, ValueError, KeyError)
Libraries = Mapping[str, tuple[re.Pattern[str], Callable]]


@dataclass
class Tally:
    """How many objects of one kind in one folder are usable, and why others are not."""

    usable: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, reason: str | None) -> None:
        """Count one object, refused for `reason` or usable (None)."""
        if reason is None:
            self.usable += 1
        else:
            self.reasons[reason] += 1


def check_folder(
    folder: Path, libraries: Libraries
) -> tuple[dict[tuple[str, str], Tally], list[str]]:
    """Read every file in a folder and in the folders inside it by the reader of its kind.

    Args:
        folder: With spectra, cutouts, frames, spectra collections and population models.
        libraries: By name of a library of stellar populations, the pattern of its files' names and
            a reader of (path, match), which returns one item per population.

    Returns:
        Tallies by (place, kind), and a message for each file that cannot be read at all.
    """
    tallies: dict[tuple[str, str], Tally] = {}
    damaged = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        if path.suffix.lower() in COMPANIONS or path.name.startswith("."):
            continue
        inside = path.parent != folder
        place = str(path.parent.relative_to(folder)) if inside else path.name
        try:
            for kind, reason in _objects(path, libraries):
                tallies.setdefault((place, kind), Tally()).add(reason)
        except FILE_ERRORS as error:
            damaged.append(str(error) if str(path) in str(error) else f"{path}: {error}")
    return tallies, damaged


def _objects(path: Path, libraries: Libraries) -> Iterator[tuple[str, str | None]]:
    """Kind of each object in a file, and why it is not usable (None: it is)."""
    library = next((one for one in libraries.values() if one[0].match(path.name)), None)
    if path.name.startswith("frame-"):
        Frame.read(path)
        yield "SDSS frame", None
    elif path.name.startswith("spec-"):
        yield "spectrum", _unusable(read_spec_file(path))
    elif library:
        pattern, read = library
        yield from (("stellar population", None) for _ in read(path, pattern.match(path.name)))
    elif path.suffix.lower() in COLLECTION_SUFFIXES:
        yield from (("spectrum", _unusable(one)) for one in read_spectra_collection(path))
    else:
        yield from _cutouts(path)


def _unusable(spectrum: SdssSpectrum) -> str | None:
    """Why a spectrum cannot be part of a survey, without its numbers; None if it can."""
    try:
        prepare_spectrum(*spectrum.pixels)
    except SpectrumError as error:
        return re.sub(r"\d+(\.\d+)?(e[-+]\d+)?", "…", str(error))
    return None


def _cutouts(path: Path) -> Iterator[tuple[str, str | None]]:
    picture = READERS.get(path.suffix.lower()) is read_picture
    bands = PICTURE_BANDS if picture else SDSS_BANDS
    for item in CutoutReader(path, CutoutFormat(bands, SDSS_PIXEL_ARCSEC)):
        reason = item.reason if isinstance(item, Rejected) else None
        yield "colour picture" if picture else f"{''.join(bands)} cutout", reason


def as_text(tallies: dict[tuple[str, str], Tally]) -> str:
    """The tallies as a table, the reasons below their row."""
    lines = [f"{'where':26}{'what':22}{'usable':>8}{'refused':>9}"]
    for (place, kind), tally in tallies.items():
        lines.append(f"{place:26}{kind:22}{tally.usable:8d}{tally.reasons.total():9d}")
        lines += [f"{'':26}{count} × {why}" for why, count in tally.reasons.most_common()]
    return "\n".join(lines)
