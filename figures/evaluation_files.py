"""What `python -m utils.evaluate` left in its folder, for the figures that are made of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from matplotlib.axes import Axes

from datasets.survey import Survey
from utils.plotting.style import COLOURS

GENERATED, TRUTH = "generated", "true"
PHOTOMETRY, CLIMATOLOGY = "neighbours in photometry", "climatology"
COLUMN_WIDTH_INCHES = 3.4  # of ApJ
DENSITY = "cividis"

#: Colour and line of each method, the same in every figure.
METHOD_STYLE = {
    TRUTH: (COLOURS["truth"], "-"),
    GENERATED: (COLOURS["generated"], "-"),
    "regression + residuals": (COLOURS["third"], "-."),
    PHOTOMETRY: (COLOURS["highlight"], "--"),
    "neighbours in embedding": (COLOURS["second"], "--"),
    "cross-modal retrieval": (COLOURS["fourth"], "--"),
    CLIMATOLOGY: (COLOURS["quiet"], ":"),
    "constant": (COLOURS["quiet"], "-"),
}


def style_of(method: str, **more) -> dict:
    """Keywords of a line."""
    colour, line = METHOD_STYLE[method]
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

    Attributes: `figures` (what `evaluation.json` holds), `order` (N, P) of the candidates, best
    first, `log_mass` (N,), `errors`, `colours`, `truth` and `measured` as nested dicts of arrays,
    the last by method and (N, P), best candidate first; `wavelength_angstrom`.

    Raises:
        FileNotFoundError: the folder holds no evaluation, or its survey file is gone.
    """

    def __init__(self, folder: str | Path, survey: str | None = None):
        self.folder = Path(folder)
        path = self.folder / "evaluation.json"
        if not path.exists():
            raise FileNotFoundError(
                f"{path}: no evaluation; make one with python -m utils.evaluate"
            )
        self.figures = json.loads(path.read_text())
        sources = self.figures["sources"]
        self.survey = Survey(survey or sources["survey"])
        self.checkpoints = [Path(p) for p in sources["checkpoints"]]
        with h5py.File(self.folder / "galaxies.h5") as file:
            self.order, self.log_mass, self.rows = (
                file[name][:] for name in ("order", "log_mass", "row")
            )
            self.errors, self.colours, self.truth, self.measured = (
                _nested(file[name]) if name in file else {}
                for name in ("errors", "colours", "truth", "measured")
            )
        with h5py.File(self.folder / "candidates.h5") as file:
            pixels = file["flux"].shape[-1]
        grid = self.survey.grid
        self.step = -(-grid.count // pixels)
        self.wavelength_angstrom = grid.every(self.step).angstrom

    @property
    def methods(self) -> list[str]:
        """Names of all methods, the generator first."""
        return list(self.figures["methods"])

    def galaxy(self, number: int) -> Galaxy:
        """The galaxy in a row of the evaluation."""
        row, order = self.rows[[number]], self.order[number]
        with h5py.File(self.folder / "candidates.h5") as file:
            flux, scores = file["flux"][number][order], file["scores"][number][order]
        redshift = self.survey.catalogue.get("z", np.full(len(self.survey), np.nan))
        truth = self.survey.read("spectra", row)[0, :: self.step]
        image = self.survey.read("images", row)[0]
        return Galaxy(image, truth, flux, scores, float(redshift[row[0]]))

    def spread(self, count: int) -> np.ndarray:
        """Numbers of galaxies from the youngest to the oldest, by the true Dn4000."""
        known = np.arange(len(self.rows))
        if self.truth:
            values = self.truth["Dn4000"]
            known = np.flatnonzero(np.isfinite(values))
            known = known[np.argsort(values[known], kind="stable")]
        places = (np.arange(count) + 0.5) / count * len(known)
        return known[places.astype(int)]


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
