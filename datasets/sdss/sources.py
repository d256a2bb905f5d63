"""Where the galaxies of a survey file come from, and which of them are selected.

Spectra and images are joined on *observations*, the bits 63 … 24 of specObjID that hold plate,
fiber and MJD: the name of a spec file contains them, so that no file is opened for the join. The
pipeline version in the remaining bits is compared afterwards.
"""

from __future__ import annotations

import glob
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from datasets.constants import SDSS_BANDS, SDSS_PIXEL_ARCSEC
from datasets.cutouts.conversion import CutoutFormat
from datasets.cutouts.reader import (
    Cutout,
    CutoutReader,
    CutoutSource,
    Rejected,
    why_unreadable,
)
from datasets.errors import UserError
from datasets.sdss import deepdip
from datasets.sdss.spec_files import (
    COLLECTION_COLUMNS,
    SDSS_V,
    SdssSpectrum,
    SpectraCollection,
    SpectrumFileError,
    is_sdss_v,
    read_spec_file,
    read_spectra_collection,
    spec_object_identifier,
)
from datasets.spectra import (
    Preparation,
    PreparedSpectrum,
    SpectrumError,
    WavelengthGrid,
    prepare_spectrum,
    signal_to_noise,
)

OBSERVATION_SHIFT = 24  # below are run2d and the unused line number
MANY_OUTLIERS = 1 << 4  # the one zwarning bit that rarely means a wrong redshift
SPECTRUM_COLUMNS = (
    "specobjid", "ra", "dec", "z", "zwarning", "plate", "mjd", "fiber", "run2d", "subclass",
)  # fmt: skip
COLLECTION_SUFFIXES = (".h5", ".hdf5")
SPEC_FILE = re.compile(r"spec-(\d+)-(\d+)-(\d+)\.fits(\.gz)?")


class SourceError(UserError):
    """An input that holds nothing to build from."""


def observation(identifier: np.ndarray) -> np.ndarray:
    """specObjID (uint64) without its pipeline version."""
    return identifier >> np.uint64(OBSERVATION_SHIFT)


def _named(path: str) -> int | None:
    """The specObjID, without pipeline version, in the name of a spec file; None for other names."""
    name = SPEC_FILE.fullmatch(Path(path).name)
    try:
        return spec_object_identifier(*map(int, name.groups()[:3]), "0") if name else None
    except ValueError:  # numbers that no observation has
        return None


class SpecFiles:
    """Spec files of a folder (with its subfolders) or of a glob.

    Attributes:
        paths: The spec files.
        misnamed: Files whose names do not give plate, MJD and fiber, and why.
        observations: (N,) uint64, of the paths.
    """

    def __init__(self, source: str) -> None:
        folder = Path(source).is_dir()
        pattern = f"{glob.escape(source)}/**/*.fits*" if folder else source
        found = {path: _named(path) for path in sorted(glob.glob(pattern, recursive=True))}
        self.paths = [path for path, identifier in found.items() if identifier is not None]
        self.misnamed = [
            (path, SDSS_V if is_sdss_v(path) else "not named as a spec file")
            for path, identifier in found.items()
            if identifier is None
        ]
        if not self.paths:
            raise SourceError(f"{source}: no files spec-PPPP-MMMMM-FFFF.fits")
        self.observations = observation(
            np.array([found[path] for path in self.paths], dtype=np.uint64)
        )

    def __getitem__(self, i: int) -> str:
        return self.paths[i]

    def identifier(self, i: int) -> int:
        """The specObjID in file i; 0 if it cannot be read."""
        try:
            return read_spec_file(self.paths[i]).specobjid
        except SpectrumFileError:
            return 0

    def name(self, i: int) -> str:
        return self.paths[i]


class CollectionSpectra:
    """The spectra of an HDF5 collection; those without a specObjID find no image."""

    def __init__(self, source: str) -> None:
        self._path = source
        self._collection: SpectraCollection = read_spectra_collection(source)
        if missing := COLLECTION_COLUMNS - self._collection.catalogue.keys():
            raise SourceError(f"{source} lacks the columns {', '.join(sorted(missing))}: add them")
        self.observations = observation(self._collection.catalogue["specobjid"])
        self.misnamed: list[tuple[str, str]] = []

    def __getitem__(self, i: int) -> SdssSpectrum:
        return self._collection[i]

    def identifier(self, i: int) -> int:
        return int(self._collection.catalogue["specobjid"][i])

    def name(self, i: int) -> str:
        return f"{self._path}#{i}"


class CubeImages:
    """The DeepDIP cube."""

    def __init__(self, path: str) -> None:
        self._path, self.remarks = path, Counter()
        self.refused: list[tuple[str, str]] = []
        self.identifiers = deepdip.read_identifiers(path)

    def name(self, row: int) -> str:
        return f"{self._path}#{row}"

    def read(self, rows: np.ndarray) -> Iterator[np.ndarray | str]:
        """Images (bands, 64, 64) of increasing rows, or the reason why one cannot be used."""
        for block in deepdip.iterate_images(self._path, rows):
            for image in block:
                good = np.isfinite(image).all() and np.ptp(image, axis=(1, 2)).all()
                yield image if good else "image: not finite, or constant in a band"


class FolderImages:
    """A folder of cutouts named by specObjID, such as `299548501317019648.npy` or, for files of one
    band each, `299548501317019648-u.fits`.

    Attributes:
        identifiers: (N,) uint64.
        refused: Files, and why.
        remarks: What `CutoutFormat.convert` remarked, with the number of images.
    """

    def __init__(self, folder: str, target: CutoutFormat) -> None:
        self._reader, self.remarks = CutoutReader(folder, target), Counter()
        self.refused: list[tuple[str, str]] = []
        self._sources: dict[int, CutoutSource] = {}
        for source in self._reader.sources:
            digits = source.paths[0].name if source.bands is None else source.name
            digits = re.match(r"\d*", digits)[0]
            if not digits or not 0 < int(digits) < 1 << 64:
                self.refused.append((str(source.paths[0]), "image: not named by specObjID"))
            elif int(digits) in self._sources:
                self.refused.append((str(source.paths[0]), f"a second image of {digits}"))
            else:
                self._sources[int(digits)] = source
        if not self._sources:
            raise SourceError(f"{folder}: no files named by specObjID, as 299548501317019648.npy")
        self.identifiers = np.array(list(self._sources), dtype=np.uint64)

    def name(self, row: int) -> str:
        return str(self._sources[int(self.identifiers[row])].paths[0])

    def read(self, rows: np.ndarray) -> Iterator[np.ndarray | str]:
        """Images (bands, 64, 64), or the reason why one cannot be used."""
        sources = list(self._sources.values())
        for row in rows:
            cutouts = list(islice(self._reader.only([sources[row]]), 2))
            one = len(cutouts) == 1
            yield _image(cutouts[0], self.remarks) if one else "image: not one cutout in its file"


class ListedImages:
    """One file of many cutouts with their specObjID; attributes as of `FolderImages`."""

    def __init__(self, path: str, target: CutoutFormat) -> None:
        self._reader, self.remarks = CutoutReader(path, target), Counter()
        self.refused: list[tuple[str, str]] = []
        sources = self._reader.sources
        try:
            identifiers = [
                raw.specobjid or raw.identifier for source in sources for raw in source.read()
            ]
        except Exception as error:  # libraries raise anything on damage
            raise SourceError(f"{path}: {why_unreadable(error)}") from error
        if not any(identifiers):
            raise SourceError(f"{path}: no specObjID beside the images: add an array specobjid")
        first: dict[int, int] = {}
        for row, identifier in enumerate(identifiers):
            if identifier and first.setdefault(identifier, row) != row:
                self.refused.append((f"{path}#{row}", f"a second image of {identifier}"))
            elif not identifier:
                self.refused.append((f"{path}#{row}", "image: no specObjID"))
        self._path, self._rows = path, list(first.values())
        self.identifiers = np.array(list(first), dtype=np.uint64)

    def name(self, row: int) -> str:
        return f"{self._path}#{self._rows[row]}"

    def read(self, rows: np.ndarray) -> Iterator[np.ndarray | str]:
        """Images (bands, 64, 64) of increasing rows, or the reason why one cannot be used."""
        wanted = {self._rows[row] for row in rows}
        for number, cutout in enumerate(self._reader):
            if number in wanted:
                yield _image(cutout, self.remarks)


def _image(cutout: Cutout | Rejected, remarks: Counter) -> np.ndarray | str:
    if isinstance(cutout, Rejected):
        return f"image: {cutout.reason}"
    remarks.update(cutout.assumptions)
    return cutout.image


SpectraSource = SpecFiles | CollectionSpectra
ImageSource = CubeImages | FolderImages | ListedImages


def open_spectra(source: str) -> SpectraSource:
    """Spectra of a folder, a glob, or an HDF5 collection."""
    collection = Path(source).suffix in COLLECTION_SUFFIXES
    return CollectionSpectra(source) if collection else SpecFiles(source)


def open_images(source: str, target: CutoutFormat) -> ImageSource:
    """Images of the DeepDIP cube (.npz), of a folder, or of a file of many."""
    if Path(source).is_dir():
        return FolderImages(source, target)
    if not deepdip.is_cube(source):
        return ListedImages(source, target)
    if target != CutoutFormat(SDSS_BANDS, SDSS_PIXEL_ARCSEC, assume=target.assume):
        raise SourceError(
            f"{source}: the bands, units and pixel scale of a cube are fixed, leave the options out"
        )
    return CubeImages(source)


@dataclass(frozen=True)
class SelectionCuts:
    """Which spectra are selected, and how they are prepared.

    Args:
        grid, preparation: Of the survey file.
        z_range: Exclusive bounds of the redshift, None for no cut.
        allow_warnings: Also take spectra whose zwarning is set.
    """

    grid: WavelengthGrid
    preparation: Preparation
    z_range: Sequence[float] | None
    allow_warnings: bool

    def prepare(
        self, task: tuple[str | SdssSpectrum, int]
    ) -> tuple[dict[str, int | float | str], PreparedSpectrum] | str:
        """Prepare one spectrum; called in worker processes.

        Args:
            task: A spectrum or its file, and the specObjID of the image.

        Returns:
            Its catalogue columns and the prepared spectrum, or the reason why it is refused.
        """
        source, identifier = task
        try:
            spectrum = read_spec_file(source) if isinstance(source, str) else source
            reason = self._refusal(spectrum, identifier)
            if reason:
                return reason
            pixels = spectrum.pixels
            prepared = prepare_spectrum(*pixels, grid=self.grid, preparation=self.preparation)
        except (SpectrumFileError, SpectrumError) as error:
            return f"spectrum: {error}"
        columns = {name: getattr(spectrum, name) for name in SPECTRUM_COLUMNS}
        return {**columns, "sn": signal_to_noise(*pixels)}, prepared

    def _refusal(self, spectrum: SdssSpectrum, identifier: int) -> str:
        """Why a spectrum is not selected; empty if it is."""
        if spectrum.specobjid != identifier:
            return f"other pipeline version: the image belongs to specObjID {identifier}"
        if not all(map(math.isfinite, (spectrum.ra, spectrum.dec, spectrum.z))):
            return f"position or redshift unknown: {spectrum.ra}, {spectrum.dec}, z = {spectrum.z}"
        if spectrum.spectral_class != "GALAXY":
            return f"not a galaxy: class {spectrum.spectral_class}"
        if spectrum.zwarning & ~MANY_OUTLIERS and not self.allow_warnings:
            return f"unreliable redshift: zwarning {spectrum.zwarning}"
        if self.z_range and not self.z_range[0] < spectrum.z < self.z_range[1]:
            return f"outside the redshift range: z = {spectrum.z:.5f}"
        return ""
