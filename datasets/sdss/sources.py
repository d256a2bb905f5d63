"""Where the galaxies of a survey file come from, and which of them are selected.

Spectra and images are joined on *observations*, the bits 63 … 24 of specObjID that hold plate,
fiber and MJD: the name of a spec file contains them, so that no file is opened for the join. The
pipeline version in the remaining bits is compared afterwards.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datasets.constants import SDSS_BANDS, SDSS_PIXEL_ARCSEC
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
        misnamed: Files whose names do not give plate, MJD and fiber.
        observations: (N,) uint64, of the paths.
    """

    def __init__(self, source: str) -> None:
        pattern = f"{source}/**/*.fits*" if Path(source).is_dir() else source
        found = {path: _named(path) for path in sorted(glob.glob(pattern, recursive=True))}
        self.paths = [path for path, identifier in found.items() if identifier is not None]
        self.misnamed = [path for path, identifier in found.items() if identifier is None]
        if not self.paths:
            raise SourceError(f"{source}: no files spec-PPPP-MMMMM-FFFF.fits")
        self.observations = observation(
            np.array([found[path] for path in self.paths], dtype=np.uint64)
        )

    def __getitem__(self, i: int) -> str:
        return self.paths[i]

    def name(self, i: int) -> str:
        return self.paths[i]


class CollectionSpectra:
    """The spectra of an HDF5 collection; those without a specObjID find no image."""

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
        """Images (bands, 64, 64) of increasing rows, or the reason why one cannot be used."""
        for block in deepdip.iterate_images(self._path, rows):
            for image in block:
                good = np.isfinite(image).all() and np.ptp(image, axis=(1, 2)).all()
                yield image if good else "image: not finite, or constant in a band"


class FolderImages:
    """A folder of cutouts named by specObjID, such as `299548501317019648.npy` or `.fits`."""

    def __init__(self, folder: str, target: CutoutFormat) -> None:
        paths = {p.name.split(".")[0]: p for p in sorted(Path(folder).iterdir()) if p.is_file()}
        named = {int(stem): path for stem, path in paths.items() if stem.isdigit()}
        named = {identifier: path for identifier, path in named.items() if identifier < 1 << 64}
        if not named:
            raise SourceError(f"{folder}: no files named by specObjID, as 299548501317019648.npy")
        self.identifiers = np.array(list(named), dtype=np.uint64)
        self._paths = list(named.values())
        self._target = target

    def read(self, rows: np.ndarray) -> Iterator[np.ndarray | str]:
        """Images (bands, 64, 64), or the reason why one cannot be used."""
        for row in rows:
            cutout = next(iter(CutoutReader(self._paths[row], self._target)))
            yield f"image: {cutout.reason}" if isinstance(cutout, Rejected) else cutout.image


SpectraSource = SpecFiles | CollectionSpectra
ImageSource = CubeImages | FolderImages


def open_spectra(source: str) -> SpectraSource:
    """Spectra of a folder, a glob, or an HDF5 collection."""
    collection = Path(source).suffix in COLLECTION_SUFFIXES
    return CollectionSpectra(source) if collection else SpecFiles(source)


def open_images(source: str, target: CutoutFormat) -> ImageSource:
    """Images of the DeepDIP cube (.npz) or of a folder."""
    if Path(source).is_dir():
        return FolderImages(source, target)
    if target != CutoutFormat(SDSS_BANDS, SDSS_PIXEL_ARCSEC):
        raise SourceError(
            f"{source}: the bands and the pixel scale of a cube are fixed, leave the options out"
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
        if spectrum.spectral_class != "GALAXY":
            return f"not a galaxy: class {spectrum.spectral_class}"
        if spectrum.zwarning & ~MANY_OUTLIERS and not self.allow_warnings:
            return f"unreliable redshift: zwarning {spectrum.zwarning}"
        if self.z_range and not self.z_range[0] < spectrum.z < self.z_range[1]:
            return f"outside the redshift range: z = {spectrum.z:.5f}"
        return ""
