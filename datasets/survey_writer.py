"""Writing a survey file; `datasets.survey` describes its contents."""

from __future__ import annotations

import json
import os
from pathlib import Path

import h5py
import numpy as np

from datasets.constants import SPLITS
from datasets.errors import UserError
from datasets.hdf5_output import GuardedFile
from datasets.image_transform import image_statistics
from datasets.spectra import Preparation, WavelengthGrid
from datasets.splits import assign_splits, check_fractions, original_split
from datasets.survey import SCHEMA, SCHEMA_VERSION, SurveyError


class SurveyWriter:
    """Writes a survey file in pieces; used as a context manager.

    The file appears under its name only when the `with` block ends without an exception.

    Args:
        path: The file, in a folder that is made if needed.
        bands: Names in the order of the image axis.
        pixel_scale_arcsec: > 0, per pixel.
        grid, preparation: Of the spectra.
        image_unit: Per pixel.
        provenance: Origin of the galaxies, for JSON.
        seed, fractions: Of the split, see `datasets.splits`.
        split_rule: "sky", or "original" for the published split, which goes by the order of the
            galaxies and needs no coordinates: they may be NaN.
        overwrite: Replace an existing file.

    Raises:
        ValueError: for another rule.
        UserError: `path` exists and `overwrite` is not set, or the fractions leave nothing to
            train on.
    """

    def __init__(
        self,
        path: str | Path,
        bands: tuple[str, ...],
        pixel_scale_arcsec: float,
        grid: WavelengthGrid,
        preparation: Preparation,
        *,
        image_unit: str = "nanomaggy",
        provenance: dict | None = None,
        seed: int = 1,
        fractions: tuple[float, float] = (0.05, 0.10),
        split_rule: str = "sky",
        overwrite: bool = False,
    ) -> None:
        if split_rule not in ("sky", "original"):
            raise ValueError(f"split_rule is 'sky' or 'original', not {split_rule!r}")
        self.path = Path(path)
        if self.path.exists() and not overwrite:
            raise UserError(f"{path} exists: choose another name or remove it first")
        check_fractions(fractions)
        # Not named by the process: the next run replaces the leftovers of one that was killed.
        self._partial = self.path.with_name(f".{self.path.name}.partial")
        self._bands, self._grid = tuple(bands), grid
        self._split_rule = split_rule
        self._positive: list[np.ndarray] = []  # (n,) bool of each piece
        self._rows = 0
        self._settings = {
            "bands": list(bands),
            "pixel_scale_arcsec": float(pixel_scale_arcsec),
            "image_unit": image_unit,
            "grid": grid.to_dict(),
            "preparation": preparation.to_dict(),
            "provenance": dict(provenance or {}),
            "seed": seed,
            "fractions": list(fractions),
            "split_rule": split_rule,
        }

    def __enter__(self) -> SurveyWriter:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._written = GuardedFile(self._partial)
        self._file = h5py.File(self._written, "w")
        self._file.attrs.update(
            schema=SCHEMA, schema_version=SCHEMA_VERSION, settings=json.dumps(self._settings)
        )
        self._file["wavelength_angstrom"] = self._grid.angstrom
        return self

    def __exit__(self, exception_type, exception, traceback) -> None:
        try:
            if exception_type is None:
                self._finish()
        finally:
            self._file.close()
            self._written.close()
            self._partial.unlink(missing_ok=True)

    def add_provenance(self, **entries: object) -> None:
        """Add to the origin of the galaxies, inside the `with` block."""
        self._settings["provenance"].update(entries)
        self._file.attrs["settings"] = json.dumps(self._settings)

    def append(
        self,
        images: np.ndarray,
        spectra: np.ndarray,
        catalogue: dict[str, np.ndarray],
        normalisation: np.ndarray,
        interpolated: np.ndarray | None = None,
        truth: dict[str, np.ndarray] | None = None,
    ) -> None:
        """Add n galaxies. Every call needs the same columns.

        Args:
            images: (n, bands, H, W), finite.
            spectra: (n, P) prepared, finite.
            catalogue: Name → (n,), with `identifier` (int64 or uint64), `ra` and `dec` (float64,
                degrees).
            normalisation: (n,) that the spectra were divided by.
            interpolated: (n, P) bool; none if left out.
            truth: Name → (n, …).

        Raises:
            SurveyError: a column of the catalogue has a name that the file cannot have.
            ValueError: for anything else.
        """
        images, spectra = np.asarray(images, np.float32), np.asarray(spectra, np.float32)
        if interpolated is None:
            interpolated = np.zeros(spectra.shape, dtype=bool)
        self._check(images, spectra, catalogue)
        columns = {
            "images": images,
            "spectra": spectra,
            "interpolated": np.asarray(interpolated, dtype=bool),
            "normalisation": np.asarray(normalisation, dtype=np.float64),
            **{f"catalogue/{name}": np.asarray(value) for name, value in catalogue.items()},
            **{f"truth/{name}": np.asarray(value) for name, value in (truth or {}).items()},
        }
        if self._rows == 0:
            self._columns = {name: self._create(name, value) for name, value in columns.items()}
        if columns.keys() != self._columns.keys():
            raise ValueError(f"columns differ: {sorted(columns.keys() ^ self._columns.keys())}")
        total = self._rows + len(images)
        for name, value in columns.items():
            if len(value) != len(images):
                raise ValueError(f"{name} has {len(value)} rows, images have {len(images)}")
            self._columns[name].resize(total, axis=0)
            self._columns[name][self._rows : total] = value
        self._written.check()
        self._rows = total
        self._positive.append((spectra > 0).all(axis=1))

    def _check(self, images, spectra, catalogue) -> None:
        if images.ndim != 4 or images.shape[1] != len(self._bands):
            raise ValueError(f"images {images.shape} are not (n, {len(self._bands)}, H, W)")
        if spectra.shape != (len(images), self._grid.count):
            raise ValueError(f"spectra {spectra.shape} are not (n, {self._grid.count})")
        if not (np.isfinite(images).all() and np.isfinite(spectra).all()):
            raise ValueError("images and spectra must be finite")
        for name, kinds in {"identifier": "iu", "ra": "f", "dec": "f"}.items():
            values = np.asarray(catalogue.get(name))
            if values.dtype.kind not in kinds or values.dtype.itemsize != 8:
                raise ValueError(f"catalogue[{name!r}] is {values.dtype}: it must have 64 bits")
            if self._split_rule == "sky" and not np.isfinite(values).all():
                raise ValueError(f"catalogue[{name!r}] must be finite")
        for name in catalogue:
            if name == "split" or "/" in name:  # which the writer adds; which would be a group
                raise SurveyError(f"{self.path}: a catalogue column is called {name}: rename it")

    def _create(self, name: str, value: np.ndarray) -> h5py.Dataset:
        large = name in ("images", "spectra", "interpolated")  # one galaxy per chunk
        return self._file.create_dataset(
            name,
            shape=(0, *value.shape[1:]),
            maxshape=(None, *value.shape[1:]),
            dtype=h5py.string_dtype() if value.dtype.kind in "US" else value.dtype,
            chunks=(1, *value.shape[1:]) if large else True,
            compression="lzf" if name == "interpolated" else None,
        )

    def _finish(self) -> None:
        if self._rows == 0:
            raise SurveyError(f"{self.path}: no galaxy was appended, nothing is written")
        try:
            split = self._split()
            mean, sigma = image_statistics(self._file["images"], split == SPLITS["train"])
        except ValueError as error:
            raise SurveyError(f"{self.path}: {error}") from error
        self._file["catalogue/split"] = split
        self._file["statistics/image_mean"], self._file["statistics/image_sigma"] = mean, sigma
        self._file.close()
        self._written.check()
        os.fsync(self._written.fileno())
        os.replace(self._partial, self.path)

    def _split(self) -> np.ndarray:
        if self._split_rule == "original":
            return original_split(np.concatenate(self._positive))
        keys = (self._file[f"catalogue/{name}"][:] for name in ("identifier", "ra", "dec"))
        return assign_splits(*keys, self._settings["seed"], self._settings["fractions"])
