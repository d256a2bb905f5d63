"""The survey file: images, prepared spectra and catalogue of N galaxies in one HDF5 file.

    /images         (N, bands, H, W) float32   e.g. nanomaggies per pixel
    /spectra        (N, P) float32             prepared once: linear, divided by /normalisation
    /interpolated   (N, P) bool                pixels that rest on bad native ones
    /normalisation  (N,) float64               1e-17 erg/s/cm²/Å, for real spectra
    /wavelength_angstrom (P,) float64          vacuum, observed frame
    /catalogue/*    (N,)                       identifier, ra, dec (degrees), split, …, exact types
    /truth/*        (N, …)                     true quantities of a mock survey
    /statistics/*   (bands,) float64           image mean and σ of the training split

The attribute `settings` (JSON) holds bands, pixel scale, grid, preparation, seed, provenance.
The writer streams: memory does not grow with N. Readers open the file once per process.

    python -m datasets.survey FILE        prints the contents of a survey file
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from datasets.command_parser import CommandParser
from datasets.constants import SPLITS
from datasets.errors import UserError, run_command
from datasets.file_limits import check_stored, own_datasets
from datasets.spectra import Preparation, WavelengthGrid

SCHEMA = "galaxy-spectrum survey"
SCHEMA_VERSION = 1
LARGEST_SLAB = 512  # rows read in one piece
LARGEST_GAP = 4  # unwanted rows that are read along rather than skipped


class SurveyError(UserError):
    """A survey that cannot be read or finished."""


class Survey:
    """A survey file, read lazily: the catalogue at once, images and spectra when asked for.

    Picklable, and safe in worker processes: each opens the file for itself.

    Args:
        path: The file.

    Attributes:
        bands, pixel_scale_arcsec, image_unit, image_size: Of the images; their side in px.
        grid, preparation: Of the spectra.
        provenance: Origin of the galaxies.
        image_mean, image_sigma: (bands,) float64, of the training split.
        catalogue: Name → (N,) array, `split` included; `identifier` is uint64.
        truth_names: Of the columns that `truth` reads.

    Raises:
        FileNotFoundError: there is no such file.
        SurveyError: it is not a survey of this version.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).absolute()
        self._opened: tuple[int, h5py.File] | None = None
        with self._damage_reported():
            self._read_description(self.file)

    def _read_description(self, file: h5py.File) -> None:
        _check_schema(self.path, file.attrs)
        settings = json.loads(file.attrs["settings"])
        self.bands = tuple(settings["bands"])
        self.pixel_scale_arcsec = settings["pixel_scale_arcsec"]
        self.image_unit = settings["image_unit"]
        self.grid = WavelengthGrid.from_dict(settings["grid"])
        self.preparation = Preparation.from_dict(settings["preparation"])
        self.provenance = settings["provenance"]
        self.image_size = file["images"].shape[-1]
        self.image_mean = file["statistics/image_mean"][:]
        self.image_sigma = file["statistics/image_sigma"][:]
        self.catalogue = self._catalogue(file)
        self.truth_names = tuple(file["truth"]) if "truth" in file else ()
        shapes = {
            "images": (len(self), len(self.bands), self.image_size, self.image_size),
            "spectra": (len(self), self.grid.count),
            **{f"catalogue/{name}": (len(self),) for name in ("split", *self.catalogue)},
        }
        for name, shape in shapes.items():
            if file[name].shape != shape:
                raise SurveyError(
                    f"{self.path}: {name} has the shape {file[name].shape}, not {shape}: build the "
                    "survey again"
                )

    @contextmanager
    def _damage_reported(self) -> Iterator[None]:
        """What libraries raise of a damaged file, as SurveyError."""
        try:
            yield
        except (UserError, FileNotFoundError):
            raise
        except Exception as error:  # h5py raises anything on damage
            reason = " ".join(str(error).split())[:200]
            raise SurveyError(f"{self.path} is damaged ({reason}): build it again") from error

    def _catalogue(self, file: h5py.File) -> dict[str, np.ndarray]:
        datasets = own_datasets(file, "catalogue")
        try:
            for dataset in datasets.values():
                check_stored(dataset)
        except UserError as error:
            raise SurveyError(f"{self.path}: {error}") from error
        columns = {name: _column(dataset) for name, dataset in datasets.items()}
        # Unsigned also where a survey stores them as signed: identifiers of eBOSS reach 2⁶³.
        columns["identifier"] = columns["identifier"].astype(np.uint64)
        return columns

    def __len__(self) -> int:
        return len(self.catalogue["identifier"])

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_opened": None}

    @property
    def file(self) -> h5py.File:
        """The HDF5 file, opened once per process: handles do not survive a fork."""
        if self._opened is None or self._opened[0] != os.getpid():
            if not self.path.exists():
                raise FileNotFoundError(f"{self.path}: no such survey file")
            try:
                self._opened = (os.getpid(), h5py.File(self.path, "r"))
            except OSError as error:
                raise SurveyError(f"{self.path} is not a readable HDF5 file: {error}") from error
        return self._opened[1]

    def indices(self, split: str) -> np.ndarray:
        """Rows of the "train", "validation" or "test" split, ascending."""
        return np.flatnonzero(self.catalogue["split"] == SPLITS[split])

    def read(self, name: str, rows: np.ndarray) -> np.ndarray:
        """Rows of "images", "spectra", "interpolated" or "normalisation", in the given order."""
        with self._damage_reported():
            return read_rows(self.file[name], rows)

    def truth(self, name: str, rows: np.ndarray | None = None) -> np.ndarray:
        """A truth column of a mock survey, whole or of some rows; KeyError if there is none."""
        return _column(self.file[f"truth/{name}"], rows)

    def describe(self) -> str:
        """The contents of the file as text."""
        first, last = self.grid.angstrom[[0, -1]]
        counts = ", ".join(f"{len(self.indices(name))} {name}" for name in SPLITS)
        window = "-".join(f"{edge:g}" for edge in self.preparation.window_angstrom)
        height, width = self.file["images"].shape[2:]
        z = self.catalogue.get("z", np.array([np.nan]))
        return "\n".join(
            [
                f"{self.path}: {self.path.stat().st_size / 1e6:.1f} MB",
                f"galaxies   {len(self)} ({counts}), z {np.min(z):.3f} to {np.max(z):.3f}",
                f"images     {' '.join(self.bands)}, {height} x {width} px, "
                f"{self.pixel_scale_arcsec:g} arcsec/px, {self.image_unit}",
                f"spectra    {self.grid.count} px, {first:.0f}-{last:.0f} Å vacuum, "
                f"{self.grid.spacing}; {self.preparation.normalisation} over {window} Å = 1",
                f"catalogue  {', '.join(self.catalogue)}; truth {', '.join(self.truth_names)}",
                f"provenance {json.dumps(self.provenance)}",
            ]
        )


def _check_schema(path: Path, attributes: h5py.AttributeManager) -> None:
    if attributes.get("schema") != SCHEMA:
        raise SurveyError(f"{path} is not a survey file: run python -m utils.build_survey")
    version = int(attributes["schema_version"])
    if version != SCHEMA_VERSION:
        raise SurveyError(
            f"{path} has survey format {version}, this code reads {SCHEMA_VERSION}: build it again"
        )


def _column(dataset: h5py.Dataset, rows: np.ndarray | None = None) -> np.ndarray:
    rows = np.arange(len(dataset)) if rows is None else rows
    if h5py.check_string_dtype(dataset.dtype):
        return dataset.asstr()[:].astype(str)[rows]
    return read_rows(dataset, rows)


def read_rows(dataset: h5py.Dataset, rows: np.ndarray) -> np.ndarray:
    """`dataset[rows]` in any order, with repeats, by slabs: h5py needs rows sorted and unique."""
    rows = np.asarray(rows, dtype=np.int64)
    order = np.argsort(rows, kind="stable")
    wanted = rows[order]
    result = np.empty((len(rows), *dataset.shape[1:]), dataset.dtype)
    new_slab = (np.diff(wanted) > LARGEST_GAP) | (np.diff(wanted // LARGEST_SLAB) > 0)
    starts = np.flatnonzero(new_slab) + 1
    for part in np.split(np.arange(len(rows)), starts) if len(rows) else ():
        first, last = wanted[part[0]], wanted[part[-1]]
        result[order[part]] = dataset[first : last + 1][wanted[part] - first]
    return result


def main(argv: list[str] | None = None) -> int:
    """Print the contents of a survey file; returns the exit status."""
    parser = CommandParser(
        "Print the contents of a survey file.",
        "python -m datasets.survey",
    )
    parser.add_argument("survey", help="survey file")
    return run_command(_describe, parser.parse_args(argv).survey)


def _describe(path: str) -> int:
    print(Survey(path).describe())
    return 0


if __name__ == "__main__":
    sys.exit(main())
