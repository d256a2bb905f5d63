"""Quantities measured on spectra, kept in `measured.h5` so that no spectrum is measured twice.

Each source of spectra (the truth, the training galaxies that serve as candidates, each generator)
has a group with one column (count,) per quantity, written block by block. A group that lacks a
quantity, as one of an older version does, is measured again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from tqdm import tqdm

from utils.evaluation.candidate_sources import Method
from utils.evaluation.derived_quantities import QUANTITIES
from utils.spectroscopy.line_velocities import coherence_units
from utils.spectroscopy.measurements import measure
from utils.spectroscopy.ssp_library import SspLibrary, read_library
from utils.spectroscopy.wavelength import LogGrid, resample

BLOCK = 512  # spectra
COLOUR_BANDS_ANGSTROM = ((4050.0, 4500.0), (5400.0, 5850.0))  # of the rest-frame colour
_COLOUR_GRID = LogGrid(start=3.6, count=1750)

MEASURED = (*QUANTITIES, "secure", *coherence_units())

Columns = dict[str, np.ndarray]


@dataclass(frozen=True)
class Spectroscope:
    """How spectra are measured.

    Args:
        path: of `measured.h5`.
        wavelength_angstrom: (n,) of all spectra.
        redshift_range: within which redshifts are fitted.
        smoothing_sigma_angstrom: of the spectra, for the population fit.
        library: of stellar populations; without it there are no population columns.
        workers: threads.
    """

    path: Path
    wavelength_angstrom: np.ndarray
    redshift_range: tuple[float, float]
    smoothing_sigma_angstrom: float
    library: SspLibrary | None = None
    workers: int = 1

    def measure(self, flux: np.ndarray, redshift: np.ndarray | None) -> Columns:
        """All quantities (m,) of spectra (m, n), at the redshifts (m,) or at fitted ones."""
        columns = measure(
            self.wavelength_angstrom,
            flux,
            None,
            redshift,
            redshift_range=self.redshift_range,
            coherence=True,
            library=self.library,
            smoothing_sigma_angstrom=self.smoothing_sigma_angstrom,
            workers=self.workers,
        )
        columns["iron"] = 0.5 * (columns["Fe5270"] + columns["Fe5335"])
        columns["rest_colour"] = rest_colour(self.wavelength_angstrom, flux, columns["z"])
        columns["secure"] = (columns["bpt"] != "undetermined").astype(float)
        return {name: columns[name] for name in MEASURED if name in columns}

    def source(
        self,
        name: str,
        count: int,
        spectra: Callable[[slice], np.ndarray],
        redshift: np.ndarray | None = None,
    ) -> Columns:
        """The quantities (count,) of a source, measured or read.

        Args:
            name: of the source; with a library, its columns are kept apart.
            count: number of its spectra.
            spectra: reads some of them, (m, n).
            redshift: (count,), if known.
        """
        wanted = " ".join(MEASURED)
        group_name = name if self.library is None else f"{name}, {self.library.name}"
        with h5py.File(self.path, "a") as file:
            if group_name in file and file[group_name].attrs.get("columns") != wanted:
                del file[group_name]
            group = file.require_group(group_name)
            group.attrs["columns"] = wanted
            starts = range(int(group.attrs.get("done", 0)), count, BLOCK)
            for start in tqdm(starts, desc=f"measuring {name}", disable=None, leave=False):
                part = slice(start, min(start + BLOCK, count))
                known = None if redshift is None else redshift[part]
                for column, values in self.measure(spectra(part), known).items():
                    group.require_dataset(column, (count,), "f8")[part] = values
                group.attrs["done"] = part.stop
                file.flush()
            return {column: values[:] for column, values in group.items()}


def library_of(folder: str | None) -> SspLibrary | None:
    """The library in `folder`, or none."""
    return None if folder is None else read_library(folder)


def rest_colour(
    wavelength_angstrom: np.ndarray, flux: np.ndarray, redshift: np.ndarray
) -> np.ndarray:
    """Colour (m,) in AB magnitudes between the two `COLOUR_BANDS_ANGSTROM` at rest."""
    known = np.isfinite(redshift)
    somewhere = np.where(known, redshift, 0.1)
    rest = resample(wavelength_angstrom, flux, somewhere, _COLOUR_GRID)
    blue, red = (
        np.mean(rest[:, part] * _COLOUR_GRID.angstrom[part] ** 2, axis=1)
        for part in (_COLOUR_GRID.part(*band) for band in COLOUR_BANDS_ANGSTROM)
    )
    positive = known & (blue > 0) & (red > 0)
    ratio = np.divide(blue, red, out=np.ones_like(blue), where=positive)
    return np.where(positive, -2.5 * np.log10(ratio), np.nan)


def measure_truth(
    spectroscope: Spectroscope, spectra: Callable[[slice], np.ndarray], redshift: np.ndarray
) -> tuple[Columns, Columns]:
    """The quantities of the true spectra at their catalogue redshifts, and at fitted ones."""
    count = len(redshift)
    return (
        spectroscope.source("truth", count, spectra, redshift),
        spectroscope.source("truth, redshift fitted", count, spectra),
    )


def measure_method(
    spectroscope: Spectroscope, method: Method, galaxies: int, candidates: int
) -> Columns:
    """The quantities (N, P) of the candidates of a method that makes its own spectra.

    They are kept in the order of drawing, and returned in the method's.
    """

    def spectra(part: slice) -> np.ndarray:
        first, last = part.start // candidates, -(-part.stop // candidates)
        flux = method.drawn(slice(first, last))
        flux = flux.reshape(-1, flux.shape[-1])
        return flux[part.start - first * candidates : part.stop - first * candidates]

    name = f"{method.name} {method.version}".strip()
    columns = spectroscope.source(name, galaxies * candidates, spectra)
    columns = {name: values.reshape(galaxies, candidates) for name, values in columns.items()}
    if method.order is None:
        return columns
    return {n: np.take_along_axis(v, method.order, axis=1) for n, v in columns.items()}


def measure_training(
    spectroscope: Spectroscope,
    methods: list[Method],
    spectra: Callable[[np.ndarray], np.ndarray],
    redshift: np.ndarray,
) -> dict[str, Columns]:
    """The quantities (N, P) of the methods whose candidates are training spectra.

    Each training galaxy is measured once, at its catalogue redshift.

    Args:
        methods: with `rows`.
        spectra: reads rows of the survey.
        redshift: of all galaxies of the survey.
    """
    rows, place = np.unique(np.stack([m.rows for m in methods]), return_inverse=True)
    place = place.reshape(len(methods), *methods[0].rows.shape)
    columns = spectroscope.source(
        "training", len(rows), lambda part: spectra(rows[part]), redshift[rows]
    )
    return {
        method.name: {name: values[own] for name, values in columns.items()}
        for method, own in zip(methods, place, strict=True)
    }
