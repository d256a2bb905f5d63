"""Quantities measured on spectra, kept in `measured.h5` so that no spectrum is measured twice.

Each set of spectra (the truth, the training galaxies that serve as candidates, the candidates of
each method) has a group with one column (count,) per quantity, written block by block. The group's
identity names the spectra, the settings and the code that measured them; a group of another
identity is measured again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from tqdm import tqdm

from utils.evaluation.cache_identity import array_digest, code_digest, differences, label
from utils.evaluation.derived_quantities import QUANTITIES, Columns
from utils.evaluation.method import Method, Spectra
from utils.spectroscopy.line_velocities import coherence_units
from utils.spectroscopy.measurements import measure
from utils.spectroscopy.ssp_library import SspLibrary
from utils.spectroscopy.wavelength import LogGrid, resample

BLOCK = 2048  # spectra
COLOUR_BANDS_ANGSTROM = ((4050.0, 4500.0), (5400.0, 5850.0))  # of the colour, rest frame
CODE = (
    "utils/spectroscopy",
    "datasets/constants.py",
    "datasets/kcorrect_templates.py",
    "datasets/line_list.py",
    "datasets/wavelengths.py",
    "utils/evaluation/measurement_cache.py",
)  # that decides what is measured
_COLOUR_GRID = LogGrid(start=3.6, count=1750)

MEASURED = (*QUANTITIES, "secure", *coherence_units())


@dataclass(frozen=True)
class Spectroscope:
    """How spectra are measured.

    Args:
        path: of `measured.h5`.
        wavelength_angstrom: (n,) of all spectra, Å.
        redshift_range: in which redshifts are fitted.
        smoothing_sigma_angstrom: that was applied to the spectra, for the population fit.
        library: of stellar populations; without it there are no population columns.
        workers: threads; for the populations processes.
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

    def identity(self, spectra: dict) -> dict:
        """The identity of measurements of the spectra that `spectra` identifies."""
        library = self.library
        return {
            **spectra,
            "columns": list(MEASURED),
            "redshift range": list(self.redshift_range),
            "smoothing": self.smoothing_sigma_angstrom,
            "wavelength": array_digest(self.wavelength_angstrom),
            "library": library and f"{library.name} {array_digest(library.flux)}",
            "code": code_digest(*CODE),
        }

    def cached(
        self,
        name: str,
        identity: dict,
        count: int,
        spectra: Callable[[slice], np.ndarray],
        redshift: np.ndarray | None = None,
    ) -> Columns:
        """The quantities (count,) of a set of spectra, measured or read.

        Args:
            name: of the set; with a library, its columns are kept apart.
            identity: of the spectra.
            count: number of spectra.
            spectra: reads some of them, (m, n).
            redshift: (count,), if they are not to be fitted.
        """
        identity = self.identity(identity)
        group_name = name if self.library is None else f"{name}, {self.library.name}"
        with h5py.File(self.path, "a") as file:
            if group_name in file and (changed := differences(file[group_name], identity)):
                tqdm.write(f"{self.path}: {name}: another {', '.join(changed)}; measured again")
                del file[group_name]
            group = file.require_group(group_name)
            label(group, identity)
            starts = range(int(group.attrs.get("done", 0)), count, BLOCK)
            for start in tqdm(starts, desc=f"measuring {name}", disable=None, leave=False):
                part = slice(start, min(start + BLOCK, count))
                given = None if redshift is None else redshift[part]
                for column, values in self.measure(spectra(part), given).items():
                    group.require_dataset(column, (count,), "f8")[part] = values
                group.attrs["done"] = part.stop
                file.flush()
            return {column: values[:] for column, values in group.items()}


def rest_colour(
    wavelength_angstrom: np.ndarray, flux: np.ndarray, redshift: np.ndarray
) -> np.ndarray:
    """Colour (m,) in AB magnitudes between the two `COLOUR_BANDS_ANGSTROM` at rest."""
    measured = np.isfinite(redshift)
    any_redshift = np.where(measured, redshift, 0.1)
    rest = resample(wavelength_angstrom, flux, any_redshift, _COLOUR_GRID)
    blue, red = (
        np.mean(rest[:, part] * _COLOUR_GRID.angstrom[part] ** 2, axis=1)
        for part in (_COLOUR_GRID.part(*band) for band in COLOUR_BANDS_ANGSTROM)
    )
    positive = measured & (blue > 0) & (red > 0)
    ratio = np.divide(blue, red, out=np.ones_like(blue), where=positive)
    return np.where(positive, -2.5 * np.log10(ratio), np.nan)


def measure_truth(
    spectroscope: Spectroscope, rows: np.ndarray, spectra: Spectra, redshift: np.ndarray, of: dict
) -> tuple[Columns, Columns]:
    """The quantities of the true spectra at their catalogue redshifts, and at fitted ones.

    Args:
        spectroscope: measures.
        rows: (N,) of the survey.
        spectra: reads rows of the survey.
        redshift: of all galaxies of the survey.
        of: identity of the survey's spectra.
    """
    arguments = {**of, "rows": array_digest(rows)}, len(rows), lambda part: spectra(rows[part])
    return (
        spectroscope.cached("truth", *arguments, redshift[rows]),
        spectroscope.cached("truth, redshift fitted", *arguments),
    )


def measure_method(
    spectroscope: Spectroscope,
    method: Method,
    rows: np.ndarray,
    candidates: int,
    of: dict,
    given: bool = False,
) -> Columns:
    """The quantities (N, P) of the candidates of a method that makes its own spectra.

    They are kept in the order in which the method reads its candidates, and returned best first.

    Args:
        spectroscope: measures.
        method: the method.
        rows: (N,) of the survey.
        candidates: P.
        of: identity of the survey's spectra.
        given: measure at the redshifts of the method instead of fitted ones.
    """

    def spectra(part: slice) -> np.ndarray:
        first, last = part.start // candidates, -(-part.stop // candidates)
        flux = method.read(slice(first, last))
        flux = flux.reshape(-1, flux.shape[-1])
        return flux[part.start - first * candidates : part.stop - first * candidates]

    version = f"{candidates} {method.version}"
    identity = {**of, "rows": array_digest(rows), "candidates": version}
    name = f"{method.name}, redshift given" if given else method.name
    redshift = method.redshift.ravel() if given else None
    columns = spectroscope.cached(name, identity, len(rows) * candidates, spectra, redshift)
    columns = {name: values.reshape(len(rows), candidates) for name, values in columns.items()}
    if method.order is None:
        return columns
    return {n: np.take_along_axis(v, method.order, axis=1) for n, v in columns.items()}


def measure_training(
    spectroscope: Spectroscope,
    methods: list[Method],
    spectra: Spectra,
    redshift: np.ndarray,
    of: dict,
) -> list[Columns]:
    """The quantities (N, P) of methods whose candidates are training spectra.

    Each training galaxy is measured once, at its catalogue redshift.

    Args:
        spectroscope: measures.
        methods: with `rows`.
        spectra, redshift, of: as for `measure_truth`.
    """
    rows, place = np.unique(np.stack([m.rows for m in methods]), return_inverse=True)
    place = place.reshape(len(methods), *methods[0].rows.shape)
    identity = {**of, "rows": array_digest(rows)}
    columns = spectroscope.cached(
        "training", identity, len(rows), lambda part: spectra(rows[part]), redshift[rows]
    )
    return [{name: values[own] for name, values in columns.items()} for own in place]
