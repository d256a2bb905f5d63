"""What the readers of this project make of a folder of survey data.

    python -m utils.check_files FOLDER

Every file in the folder and in the folders inside it is read by the reader of its kind, and every
spectrum is prepared as for a survey. Prints, by folder and kind, how many objects are usable, and
how many are not and why; exit status 1 if a file could not be read at all.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from datasets.cutouts.conversion import CutoutFormat
from datasets.cutouts.formats import PICTURE_BANDS
from datasets.cutouts.reader import COMPANIONS, CutoutReader, Rejected
from datasets.errors import UserError
from datasets.photometry import SDSS_BANDS
from datasets.sdss.frames import PIXEL_SCALE_ARCSEC, Frame
from datasets.sdss.spec_files import (
    SdssSpectrum,
    read_spec_file,
    read_spectra_collection,
)
from datasets.spectra import SpectrumError, prepare_spectrum
from utils.generation.input_files import HDF5_SUFFIXES
from utils.spectroscopy.ssp_library import LAYOUTS

PICTURES = (".jpg", ".jpeg", ".png")
FILE_ERRORS = (UserError, OSError, ValueError, KeyError)


@dataclass
class Tally:
    """What became of the objects of one kind in one folder."""

    usable: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, reason: str | None) -> None:
        """Count one object, refused for `reason` or usable (None)."""
        if reason is None:
            self.usable += 1
        else:
            self.reasons[reason] += 1


def main(argv: list[str] | None = None) -> int:
    """Read and print; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m utils.check_files",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, help="folder with spectra, images, frames, …")
    folder = parser.parse_args(argv).folder
    if not folder.is_dir():
        print(f"error: {folder} is no folder", file=sys.stderr)
        return 2
    tallies, damaged = read_folder(folder)
    print(as_text(tallies))
    for message in damaged:
        print(f"unreadable: {message}", file=sys.stderr)
    return 1 if damaged else 0


def read_folder(folder: Path) -> tuple[dict[tuple[str, str], Tally], list[str]]:
    """Tallies by (place, kind), and what the files that cannot be read at all say."""
    tallies: dict[tuple[str, str], Tally] = {}
    damaged = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        if path.suffix.lower() in COMPANIONS or path.name.startswith("."):
            continue
        inside = path.parent != folder
        place = str(path.parent.relative_to(folder)) if inside else path.name
        try:
            for kind, reason in read_objects(path):
                tallies.setdefault((place, kind), Tally()).add(reason)
        except FILE_ERRORS as error:
            damaged.append(str(error) if str(path) in str(error) else f"{path}: {error}")
    return tallies, damaged


def read_objects(path: Path) -> Iterator[tuple[str, str | None]]:
    """Kind of each object in a file, and why it is not usable (None: it is).

    Raises:
        One of FILE_ERRORS: the file cannot be read.
    """
    library = next((r for r in LAYOUTS.values() if r[0].match(path.name)), None)
    if path.name.startswith("frame-"):
        Frame.read(path)
        yield "SDSS frame", None
    elif path.name.startswith("spec-"):
        yield "spectrum", why_unusable(read_spec_file(path))
    elif library:
        pattern, read = library
        yield from (("stellar population", None) for _ in read(path, pattern.match(path.name)))
    elif path.suffix.lower() in HDF5_SUFFIXES:
        yield from (("spectrum", why_unusable(one)) for one in read_spectra_collection(path))
    else:
        yield from _read_cutouts(path)


def why_unusable(spectrum: SdssSpectrum) -> str | None:
    """Why a spectrum cannot be part of a survey, without its numbers; None if it can."""
    try:
        prepare_spectrum(
            spectrum.wavelength_angstrom, spectrum.flux, spectrum.ivar, spectrum.and_mask
        )
    except SpectrumError as error:
        return re.sub(r"\d+(\.\d+)?(e[-+]\d+)?", "…", str(error))
    return None


def _read_cutouts(path: Path) -> Iterator[tuple[str, str | None]]:
    picture = path.suffix.lower() in PICTURES
    bands = PICTURE_BANDS if picture else SDSS_BANDS
    for item in CutoutReader(path, CutoutFormat(bands, PIXEL_SCALE_ARCSEC)):
        reason = item.reason if isinstance(item, Rejected) else None
        yield "colour picture" if picture else f"{''.join(bands)} cutout", reason


def as_text(tallies: dict[tuple[str, str], Tally]) -> str:
    """The tallies as a table, the reasons below their row."""
    lines = [f"{'where':26}{'what':22}{'usable':>8}{'refused':>9}"]
    for (place, kind), tally in tallies.items():
        lines.append(f"{place:26}{kind:22}{tally.usable:8d}{tally.reasons.total():9d}")
        lines += [f"{'':26}{count} × {why}" for why, count in tally.reasons.most_common()]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
