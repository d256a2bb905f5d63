"""Reader of the folder that `python -m utils.evaluate` wrote, and what several figures share."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from matplotlib.axes import Axes

from datasets.errors import UserError
from datasets.survey import Survey
from utils.evaluation.method import (
    CLIMATOLOGY,
    CONSTANT,
    EMBEDDING,
    GENERATED,
    PHOTOMETRY,
    REGRESSION,
    RETRIEVAL,
    SHIFTED,
    TEMPLATES,
    TRUE_SPECTRA,
)
from utils.plotting.style import COLOURS

COLUMN_WIDTH_INCHES = 3.4  # of ApJ
DENSITY = "cividis"  # colour map of densities

# colour and line of each method, the same in every figure
METHOD_STYLE = {
    TRUE_SPECTRA: (COLOURS["truth"], "-"),
    GENERATED: (COLOURS["generated"], "-"),
    REGRESSION: (COLOURS["third"], "-."),
    PHOTOMETRY: (COLOURS["highlight"], "--"),
    SHIFTED: (COLOURS["highlight"], "-."),
    TEMPLATES: (COLOURS["third"], ":"),
    EMBEDDING: (COLOURS["second"], "--"),
    RETRIEVAL: (COLOURS["fourth"], "--"),
    CLIMATOLOGY: (COLOURS["quiet"], ":"),
    CONSTANT: (COLOURS["quiet"], "-"),
}

OTHER_STYLE = (COLOURS["quiet"], "-.")  # of ablations


def style_of(method: str, **more) -> dict:
    """Keywords for the line of a method, and `more`."""
    colour, line = METHOD_STYLE.get(method, OTHER_STYLE)
    return {"color": colour, "ls": line, "label": method, **more}


@dataclass(frozen=True)
class Galaxy:
    """One galaxy with its candidates, best first; fluxes normalised."""

    image: np.ndarray
    truth: np.ndarray
    candidates: np.ndarray
    scores: np.ndarray
    redshift: float


class Results:
    """An evaluation folder.

    Attributes: `metrics` (the content of `evaluation.json`), `order` (N, P) positions in
    `candidates.h5`, best first; `log_mass`, `redshift` and `magnitude` (N,); `colours`, `truth` and
    `measured` as nested dicts of arrays, `measured` by question and method, (N, P), best candidate
    first; `wavelength_angstrom` (n,).

    Raises:
        UserError: the folder holds no complete evaluation, or its survey cannot be read.
    """

    def __init__(self, folder: str | Path, survey: str | None = None):
        self.folder = Path(folder)
        for name in ("evaluation.json", "galaxies.h5", "candidates.h5"):
            if not (self.folder / name).exists():
                raise UserError(
                    f"{self.folder / name}: not found; make it with python -m utils.evaluate"
                )
        self.metrics = json.loads((self.folder / "evaluation.json").read_text(encoding="utf-8"))
        sources = self.metrics["sources"]
        self.survey = Survey(survey or sources["survey"])
        self.checkpoints = [Path(p) for p in sources["checkpoints"]]
        with h5py.File(self.folder / "galaxies.h5") as file:
            self.order, self.log_mass, self.rows, self.redshift = (
                file[name][:] for name in ("order", "log_mass", "row", "redshift")
            )
            self.magnitude = file["magnitude"][:] if "magnitude" in file else None
            self.colours, self.truth, self.measured = (
                _nested(file[name]) if name in file else {}
                for name in ("colours", "truth", "measured")
            )
        with h5py.File(self.folder / "candidates.h5") as file:
            pixels = file["flux"].shape[-1]
        grid = self.survey.grid
        self.step = -(-grid.count // pixels)
        self.wavelength_angstrom = grid.every(self.step).angstrom

    @property
    def methods(self) -> list[str]:
        """Names of all methods, the generator first."""
        return list(self.metrics["observed"]["methods"])

    def galaxy(self, number: int) -> Galaxy:
        """One of the galaxies 0 … N − 1 of the evaluation."""
        row, order = self.rows[[number]], self.order[number]
        with h5py.File(self.folder / "candidates.h5") as file:
            flux, scores = file["flux"][number][order], file["scores"][number][order]
        redshift = self.survey.catalogue.get("z", np.full(len(self.survey), np.nan))
        noiseless = self.metrics["identity"]["against"] == "noiseless"
        read = self.survey.truth if noiseless else self.survey.read
        truth = read("noiseless" if noiseless else "spectra", row)[0, :: self.step]
        image = self.survey.read("images", row)[0]
        return Galaxy(image, truth, flux, scores, float(redshift[row[0]]))

    def spread(self, count: int) -> np.ndarray:
        """Numbers of galaxies from the youngest to the oldest, by the true Dn4000; in the survey's
        order where none is measured, as at redshifts below 0.04."""
        values = self.truth.get("Dn4000", np.zeros(len(self.rows)))
        galaxies = np.flatnonzero(np.isfinite(values))
        galaxies = galaxies[np.argsort(values[galaxies], kind="stable")]
        if len(galaxies) == 0:
            galaxies = np.arange(len(self.rows))
        places = (np.arange(count) + 0.5) / count * len(galaxies)
        return galaxies[places.astype(int)]


def _nested(group: h5py.Group) -> dict:
    return {k: _nested(v) if isinstance(v, h5py.Group) else v[:] for k, v in group.items()}


def density(axes: Axes, x: np.ndarray, y: np.ndarray, limits: tuple[float, ...], cells: int = 32):
    """Points (N,) as logarithmic density in hexagons; `limits` are x and y, low and high."""
    inside = np.isfinite(x) & np.isfinite(y)
    axes.hexbin(
        x[inside], y[inside], gridsize=cells, extent=limits, mincnt=1, bins="log", cmap=DENSITY,
        linewidths=0.1, rasterized=True,
    )  # fmt: skip
    axes.set_xlim(*limits[:2])
    axes.set_ylim(*limits[2:])


def running(x: np.ndarray, y: np.ndarray, bins: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Median x (bins,) and the 16th, 50th and 84th percentiles (3, bins) of y in equal parts."""
    order = np.argsort(x, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    return (
        np.array([np.median(x[part]) for part in parts]),
        np.array([np.percentile(y[part], (16, 50, 84)) for part in parts]).T,
    )
