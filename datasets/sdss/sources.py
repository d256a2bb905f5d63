"""Where the galaxies of a survey file come from, and which of them are wanted.

Spectra and images are joined on *observations*, the bits 63 … 24 of specObjID that hold plate,
fiber and MJD: they can be told from the name of a spec file without opening it. The pipeline
version in the remaining bits is compared afterwards.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datasets.cutouts.conversion import CutoutFormat
from datasets.cutouts.reader import CutoutReader, Rejected
from datasets.errors import UserError
from datasets.sdss import deepdip
from datasets.sdss.spec_files import (
    SdssSpectrum,
    SpectraCollection,
    SpectrumFileError,
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
_SPEC_FILE = re.compile(r"spec-(\d+)-(\d+)-(\d+)\.fits(\.gz)?")


class SourceError(UserError):
    """An input that holds nothing to build from; the message names it and the remedy."""


def observation(identifier: np.ndarray) -> np.ndarray:
    """specObjID (uint64) without its pipeline version."""
    return identifier >> np.uint64(OBSERVATION_SHIFT)


class SpecFiles:
    """Spec files of a folder (with its subfolders) or of a glob.

    ``misnamed`` lists those whose names do not tell what was observed.
    """

    def __init__(self, source: str) -> None:
        pattern = f"{source}/**/*.fits*" if Path(source).is_dir() else source
        files = sorted(glob.glob(pattern, recursive=True))
        found = {path: _SPEC_FILE.fullmatch(Path(path).name) for path in files}
        self.paths = [path for path, name in found.items() if name]
        self.misnamed = [path for path, name in found.items() if not name]
        if not self.paths:
            raise SourceError(f"{source}: no files spec-PPPP-MMMMM-FFFF.fits")
        names = (found[path] for path in self.paths)
        self.observations = observation(
            np.array(
                [spec_object_identifier(*map(int, name.group(1, 2, 3)), "0") for name in names],
                dtype=np.uint64,
            )
        )

    def __getitem__(self, i: int) -> str:
        return self.paths[i]

    def name(self, i: int) -> str:
        return self.paths[i]


class CollectionSpectra:
    """The spectra of an HDF5 collection whose specObjID is known."""

    def __init__(self, source: str) -> None:
        self._path = source
        self._collection: SpectraCollection = read_spectra_collection(source)
        self.observations = observation(self._collection.catalogue["specobjid"])
        self.misnamed: list[str] = []

    def __getitem__(self, i: int) -> SdssSpectrum:
        return self._collection[i]

    def name(self, i: int) -> str:
        return f"{self._path}#{i}"


class CubeImages:
    """The DeepDIP cube."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.identifiers = deepdip.read_identifiers(path)

    def read(self, rows: np.ndarray) -> Iterator[np.ndarray | str]:
        """Images (bands, 64, 64), or the reason why there is none, of increasing rows."""
        for block in deepdip.iterate_images(self._path, rows):
            for image in block:
                good = np.isfinite(image).all() and np.ptp(image, axis=(1, 2)).all()
                yield image if good else "image: not finite, or constant in a band"


class FolderImages:
    """A folder of cutouts named by specObjID, such as ``299548501317019648.npy`` or ``.fits``."""

    def __init__(self, folder: str, target: CutoutFormat) -> None:
        paths = {p.name.split(".")[0]: p for p in sorted(Path(folder).iterdir()) if p.is_file()}
        known = {int(stem): path for stem, path in paths.items() if stem.isdigit()}
        if not known:
            raise SourceError(f"{folder}: no files named by specObjID, as 299548501317019648.npy")
        self.identifiers = np.array(list(known), dtype=np.uint64)
        self._paths = list(known.values())
        self._target = target

    def read(self, rows: np.ndarray) -> Iterator[np.ndarray | str]:
        """Images (bands, 64, 64), or the reason why there is none."""
        for row in rows:
            cutout = next(iter(CutoutReader(self._paths[row], self._target)))
            yield f"image: {cutout.reason}" if isinstance(cutout, Rejected) else cutout.image


SpectraSource = SpecFiles | CollectionSpectra
ImageSource = CubeImages | FolderImages


def open_spectra(source: str) -> SpectraSource:
    """Spectra of a folder, a glob, or an HDF5 collection."""
    collection = Path(source).suffix in (".h5", ".hdf5")
    return CollectionSpectra(source) if collection else SpecFiles(source)


def open_images(source: str, target: CutoutFormat) -> ImageSource:
    """Images of the DeepDIP cube (.npz) or of a folder."""
    if Path(source).is_dir():
        return FolderImages(source, target)
    if target != CutoutFormat(deepdip.BANDS, deepdip.PIXEL_SCALE_ARCSEC):
        raise SourceError(f"{source}: a cube has its own bands and pixel scale, leave them out")
    return CubeImages(source)


@dataclass(frozen=True)
class Choice:
    """Which spectra are wanted, and how they are prepared.

    z_range: exclusive bounds, None for no cut; allow_warnings: also take spectra whose zwarning
    is set.
    """

    grid: WavelengthGrid
    preparation: Preparation
    z_range: Sequence[float] | None
    allow_warnings: bool

    def prepare(
        self, task: tuple[str | SdssSpectrum, int]
    ) -> tuple[dict[str, int | float | str], PreparedSpectrum] | str:
        """Catalogue columns and prepared spectrum of (spectrum or its file, specObjID of the
        image), or why it is refused. Run by worker processes.
        """
        source, identifier = task
        try:
            spectrum = read_spec_file(source) if isinstance(source, str) else source
            reason = self._unwanted(spectrum, identifier)
            if reason:
                return reason
            pixels = (
                spectrum.wavelength_angstrom,
                spectrum.flux,
                spectrum.ivar,
                spectrum.and_mask,
            )
            prepared = prepare_spectrum(*pixels, grid=self.grid, preparation=self.preparation)
        except (SpectrumFileError, SpectrumError) as error:
            return f"spectrum: {error}"
        columns = {name: getattr(spectrum, name) for name in SPECTRUM_COLUMNS}
        return {**columns, "sn": signal_to_noise(*pixels)}, prepared

    def _unwanted(self, spectrum: SdssSpectrum, identifier: int) -> str:
        """Why a spectrum does not belong into the survey; empty if it does."""
        if spectrum.specobjid != identifier:
            return f"other pipeline version: the image belongs to specObjID {identifier}"
        if spectrum.spectral_class != "GALAXY":
            return f"no galaxy: class {spectrum.spectral_class}"
        if spectrum.zwarning & ~MANY_OUTLIERS and not self.allow_warnings:
            return f"unreliable redshift: zwarning {spectrum.zwarning}"
        if self.z_range and not self.z_range[0] < spectrum.z < self.z_range[1]:
            return f"outside the redshift range: z = {spectrum.z:.5f}"
        return ""
