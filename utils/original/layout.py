"""Data in the layout of the original code, as a survey file.

    FOLDER/images/NAME.npy    (64, 64, bands): nanomaggies per pixel in u g r i z, or R G B bytes
    FOLDER/spectra/NAME.npy   (3598,): 1e-17 erg/s/cm²/Å on the pixels of `NATIVE_GRID`
    FOLDER/indices/NAME.npy   (2,): specObjID and redshift, float64

The rows of the survey file are in the original's order, which is that of the file names as text (0,
1, 10, 100, …) and decides its split. Its catalogue gets these columns:

    identifier          uint64 specObjID, of the catalogue's where one is given
    identifier_exact    whether all its digits are certain
    original_name       NAME

A specObjID is a multiple of 1024, so that those below 2^63 go through float64 unharmed; through
float32 they do not. With a catalogue a float is matched to the one specObjID that rounds to it, and
refused if there is none or more than one. Without one it is exact if it is not a float32 and its
bits encode a possible observation; coordinates are then unknown (NaN).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from datasets.constants import SDSS_BANDS, SDSS_PIXEL_ARCSEC
from datasets.cutouts.formats import PICTURE_BANDS, PICTURE_UNIT
from datasets.sdss.sources import SourceError
from datasets.sdss.spec_files import spec_object_parts
from datasets.sdss.survey_builder import BLOCK_GALAXIES, Refusal, write_refusals
from datasets.spectra import (
    NATIVE_GRID,
    PREPARATIONS,
    PreparedSpectrum,
    SpectrumError,
    prepare_spectrum,
)
from datasets.survey import Survey
from datasets.survey_writer import SurveyWriter
from datasets.tables import read_catalogue
from utils.original.convert import PICTURE_SCALE_ARCSEC

FOLDERS = ("images", "spectra", "indices")
FIRST_MJD = 51500  # of the survey; a smaller one has lost digits
RESAVE = (
    "np.savez('loglam.npz', np.load('loglam_uniform1.npz', allow_pickle=True)['arr_0'][0]"
    ".astype('f8'))"
)


class Galaxy(NamedTuple):
    name: str
    image: np.ndarray  # (bands, 64, 64)
    prepared: PreparedSpectrum
    identifier: int
    exact: bool
    redshift: float
    catalogue: int  # row of the catalogue; −1 without one


class OriginalFolder:
    """The original's three folders.

    Args:
        folder: Holds `images`, `spectra` and `indices`.

    Attributes:
        names: Of the galaxies that have all three files, in the original's order.
        incomplete: A refusal for every other name.
        bands, pixel_scale_arcsec, unit: Of the images, derived from the first.

    Raises:
        SourceError: there are no such galaxies, or the images are of neither kind.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        found = [{path.stem for path in (folder / kind).glob("*.npy")} for kind in FOLDERS]
        self.names = sorted(set.intersection(*found), key=lambda name: f"{name}.npy")
        self.incomplete = [
            Refusal(name, "", f"no file in {', '.join(lacking)}")
            for name in sorted(set.union(*found).difference(self.names))
            if (
                lacking := [k for k, names in zip(FOLDERS, found, strict=True) if name not in names]
            )
        ]
        if not self.names:
            raise SourceError(f"{folder}: no NAME.npy in each of {', '.join(FOLDERS)}")
        channels = self.read("images", self.names[0]).shape[-1]
        if channels not in (len(SDSS_BANDS), len(PICTURE_BANDS)):
            raise SourceError(f"{folder}: images of {channels} bands, neither {SDSS_BANDS} nor RGB")
        pictures = channels == len(PICTURE_BANDS)
        self.bands = PICTURE_BANDS if pictures else SDSS_BANDS
        self.pixel_scale_arcsec = PICTURE_SCALE_ARCSEC if pictures else SDSS_PIXEL_ARCSEC
        self.unit = PICTURE_UNIT if pictures else "nanomaggy"

    def read(self, kind: str, name: str) -> np.ndarray:
        """The array of one file. Raises SourceError if it is not of numbers."""
        path = self.folder / kind / f"{name}.npy"
        try:
            return np.load(path, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise SourceError(f"{path} is not an array of numbers: save it again") from error

    def image(self, name: str) -> np.ndarray:
        """(bands, 64, 64) float32. Raises SourceError for other shapes and bad values."""
        image = self.read("images", name)
        if image.shape != (64, 64, len(self.bands)) or not np.isfinite(image).all():
            raise SourceError(f"image: {image.shape}, or values that are not finite")
        scale = 255.0 if self.unit == PICTURE_UNIT and image.dtype == np.uint8 else 1.0
        return np.moveaxis(image, -1, 0).astype(np.float32) / np.float32(scale)


def read_loglam(path: Path) -> np.ndarray:
    """(3598,) float64 log10 λ of a .npy or .npz file; of several rows the first.

    Raises SourceError for pickled objects, which are never opened, with how to save them anew.
    """
    try:
        content = np.load(path, allow_pickle=False)
        if not isinstance(content, np.ndarray):
            with content as archive:
                content = archive[archive.files[0]]
        return np.atleast_2d(content)[0].astype(np.float64)
    except (OSError, ValueError, IndexError) as error:
        raise SourceError(
            f"{path} is not an array of numbers, and pickled objects are never opened. If you "
            f"trust it, save it anew with {RESAVE}; or leave --loglam out: the published code cuts "
            f"all spectra to {NATIVE_GRID.count} px from {NATIVE_GRID.start} in log10"
        ) from error


def match(value: float, reference: np.ndarray) -> int | str:
    """The row of the one specObjID that a float represents, or the reason why there is none.

    Args:
        value: specObjID as float64, possibly after float32.
        reference: (N,) uint64 specObjIDs, ascending.
    """
    kind = np.float32 if float(np.float32(value)) == value else np.float64
    exact = int(value)
    slack = int(np.spacing(kind(value))) // 2  # half the distance to the next float
    for reach in (0, slack):
        first = np.searchsorted(reference, np.uint64(exact - reach))
        last = np.searchsorted(reference, np.uint64(exact + reach), side="right")
        if last - first == 1:
            return int(first)
    found = "no specObjID" if last == first else f"{last - first} specObjIDs"
    return f"identifier: {found} of the catalogue rounds to {exact}"


def looks_exact(value: float) -> bool:
    """Whether a float64 specObjID can have all its digits (top of this module)."""
    lost = value >= 2.0**63 or value % 1024 or float(np.float32(value)) == value
    return not lost and spec_object_parts(int(value))[1] >= FIRST_MJD


class Reader:
    """Prepares one galaxy after the other.

    Args:
        source: The folder.
        catalogue: Columns by lower-case name; empty for none.
        wavelength_angstrom: (P,) of the spectra.
        preparation: Name in `PREPARATIONS`.
    """

    def __init__(
        self,
        source: OriginalFolder,
        catalogue: dict[str, np.ndarray],
        wavelength_angstrom: np.ndarray,
        preparation: str,
    ):
        self.source, self.wavelength_angstrom = source, wavelength_angstrom
        self.grid, self.preparation = PREPARATIONS[preparation]
        identifiers = catalogue.get("specobjid", np.empty(0, np.uint64))
        self.by_catalogue = bool(catalogue)
        self.order = np.argsort(identifiers)
        self.reference = identifiers[self.order]

    def __call__(self, name: str) -> Galaxy | Refusal:
        """The galaxy, or why it is refused."""
        try:
            value, redshift = self.source.read("indices", name).astype(np.float64)
            identifier, exact, row = self._identify(float(value))
            prepared = prepare_spectrum(
                self.wavelength_angstrom,
                self.source.read("spectra", name),
                grid=self.grid,
                preparation=self.preparation,
            )
            image = self.source.image(name)
        except (SourceError, SpectrumError, ValueError) as error:
            return Refusal(name, "", str(error))
        return Galaxy(name, image, prepared, identifier, exact, float(redshift), row)

    def _identify(self, value: float) -> tuple[int, bool, int]:
        if not 0 < value < 2.0**64:
            raise SourceError(f"identifier: {value:g} is not a specObjID")
        if not self.by_catalogue:
            return int(value), looks_exact(value), -1
        row = match(value, self.reference)
        if isinstance(row, str):
            raise SourceError(row)
        return int(self.reference[row]), True, int(self.order[row])


def import_folder(
    folder: Path,
    output: Path,
    *,
    catalogue: str | None = None,
    loglam: Path | None = None,
    split_rule: str = "original",
    preparation: str = "original",
) -> None:
    """Write the survey file, and beside it a list of the refused galaxies.

    Args:
        folder, output: Where the data are; the survey file.
        catalogue: CSV file with specObjID, ra and dec; its columns are kept.
        loglam: File of log10 wavelengths; None for the published grid.
        split_rule: "original", or "sky" (which needs the catalogue's coordinates).
        preparation: Name in `PREPARATIONS`; "original" with the original's split, which is of the
            spectra that are positive after it.

    Raises:
        UserError: nothing was written; the message says why.
    """
    if split_rule == "original" and preparation != "original":
        raise SourceError("the original's split is of spectra prepared as the original's")
    if split_rule == "sky" and catalogue is None:
        raise SourceError("--split sky needs coordinates: give --catalogue")
    source = OriginalFolder(folder)
    table = _read_catalogue(catalogue)
    wavelength = NATIVE_GRID.angstrom if loglam is None else 10 ** read_loglam(loglam)
    reader = Reader(source, table, wavelength, preparation)
    writer = SurveyWriter(
        output,
        source.bands,
        source.pixel_scale_arcsec,
        reader.grid,
        reader.preparation,
        image_unit=source.unit,
        provenance={
            "original layout": folder.name,
            "catalogue": catalogue and Path(catalogue).name,
        },
        split_rule=split_rule,
    )
    refused = list(source.incomplete)
    try:
        with writer:
            for galaxies in _blocks(reader, refused):
                _append(writer, galaxies, table)
    finally:
        write_refusals(output.with_suffix(".refused.csv"), refused)
    print(Survey(output).describe())


def _read_catalogue(path: str | None) -> dict[str, np.ndarray]:
    table = read_catalogue(path, ("specobjid", "ra", "dec")) if path else {}
    return table | {name: table[name].astype(np.float64) for name in table.keys() & {"ra", "dec"}}


def _blocks(reader: Reader, refused: list[Refusal]) -> Iterator[list[Galaxy]]:
    names = reader.source.names
    with tqdm(total=len(names), unit="galaxy", disable=None) as progress:
        for start in range(0, len(names), BLOCK_GALAXIES):
            results = [reader(name) for name in names[start : start + BLOCK_GALAXIES]]
            refused += [result for result in results if isinstance(result, Refusal)]
            galaxies = [result for result in results if isinstance(result, Galaxy)]
            if galaxies:
                yield galaxies
            progress.update(len(results))


def _append(writer: SurveyWriter, galaxies: list[Galaxy], table: dict[str, np.ndarray]) -> None:
    rows = [galaxy.catalogue for galaxy in galaxies]
    unknown = np.full(len(galaxies), np.nan)
    columns = {"ra": unknown, "dec": unknown}
    columns |= {
        name: values[rows] for name, values in table.items() if name not in ("", "specobjid")
    }
    columns |= {
        "identifier": np.array([galaxy.identifier for galaxy in galaxies], dtype=np.uint64),
        "identifier_exact": np.array([galaxy.exact for galaxy in galaxies]),
        "original_name": np.array([galaxy.name for galaxy in galaxies]),
        "z": np.array([galaxy.redshift for galaxy in galaxies]),
        "flux_offset": np.array([galaxy.prepared.offset for galaxy in galaxies]),
    }
    writer.append(
        np.stack([galaxy.image for galaxy in galaxies]),
        np.stack([galaxy.prepared.flux for galaxy in galaxies]),
        columns,
        np.array([galaxy.prepared.normalisation for galaxy in galaxies]),
        np.stack([galaxy.prepared.interpolated for galaxy in galaxies]),
    )
