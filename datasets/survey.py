"""The survey file: images, prepared spectra and catalogue of N galaxies in one HDF5 file.

    /images         (N, bands, H, W) float32   e.g. nanomaggies per pixel
    /spectra        (N, P) float32             prepared once: linear, divided by /normalisation
    /interpolated   (N, P) bool                pixels that rest on bad native ones
    /normalisation  (N,) float64               1e-17 erg/s/cm²/Å, for real spectra
    /wavelength_angstrom (P,) float64          vacuum, observed frame
    /catalogue/*    (N,)                       identifier, ra, dec (degrees), split, …, exact types
    /truth/*        (N, …)                     what only a mock survey knows
    /statistics/*   (bands,) float64           image mean and σ of the training split

The attribute `settings` (JSON) holds bands, pixel scale, grid, preparation, seed, provenance.
The writer streams: memory does not grow with N. Readers open the file once per process.

    python -m datasets.survey FILE        prints what a survey file contains
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import h5py
import numpy as np

from datasets.errors import UserError
from datasets.spectra import Preparation, WavelengthGrid
from datasets.splits import SPLITS

SCHEMA = "galaxy-spectrum survey"
SCHEMA_VERSION = 1


class SurveyError(UserError):
    """A survey that cannot be read or finished; the message tells the remedy."""


class Survey:
    """A survey file, read lazily: the catalogue at once, images and spectra when asked for.

    Attributes: `bands`, `pixel_scale_arcsec`, `image_unit`, `image_size` (px), `grid`,
    `preparation`, `provenance`, `image_mean` and `image_sigma` ((bands,) float64, of the
    training split), `catalogue` (name → (N,) array, "split" included), `truth_names`.
    Picklable, and safe in worker processes: each opens the file for itself.
    Raises FileNotFoundError, or SurveyError for a file that is not a survey of this version.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).absolute()
        self._opened: tuple[int, h5py.File] | None = None
        file = self.file
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
        self.catalogue = {name: _column(values) for name, values in file["catalogue"].items()}
        self.truth_names = tuple(file["truth"]) if "truth" in file else ()

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
        """Rows of "images", "spectra", "interpolated" or "normalisation", in the order asked."""
        return read_rows(self.file[name], rows)

    def truth(self, name: str, rows: np.ndarray | None = None) -> np.ndarray:
        """A truth column of a mock survey, whole or for some rows. KeyError if there is none."""
        return _column(self.file[f"truth/{name}"], rows)

    def describe(self) -> str:
        """What the file contains, for people."""
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
        raise SurveyError(f"{path} is no survey file: make one with python -m utils.build_survey")
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


LARGEST_SLAB = 512  # rows read in one piece
LARGEST_GAP = 4  # rows between wanted ones that are read along rather than skipped


def read_rows(dataset: h5py.Dataset, rows: np.ndarray) -> np.ndarray:
    """`dataset[rows]` in any order, with repeats, by slabs: h5py wants rows sorted and unique."""
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


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit("usage: python -m datasets.survey FILE")
    print(Survey(sys.argv[1]).describe())
