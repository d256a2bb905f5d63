"""Is the spread right everywhere? Reliability by magnitude, and examples of p(z | image)."""

from __future__ import annotations

import h5py
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.evaluation_files import COLUMN_WIDTH_INCHES, Results
from utils.evaluation.calibration import coverage_of, pit_intervals
from utils.evaluation.conditional import quantile_bins
from utils.evaluation.derived_quantities import QUANTITIES, true_values
from utils.evaluation.method import GENERATED, PHOTOMETRY
from utils.plotting.style import COLOURS, new_figure, styled

LEVELS = np.linspace(0.05, 0.95, 19)  # nominal coverage
BINS = 3  # of magnitude, with equal numbers of galaxies
SHADES = ("#56B4E9", "#0072B2", "#000000")  # from bright to faint galaxies
SHOWN = ("Dn4000", "HdeltaA", "Mgb", "Halpha_ew", "OIII5007_ew")
EXAMPLES = 8


@styled
def draw_reliability(results: Results) -> Figure:
    """Share of galaxies inside central intervals against their nominal coverage, for the redshift
    and for quantities measured at the given redshift; the band is the 95 % range of a calibrated
    generator for the galaxies of one bin."""
    panels = _intervals(results)
    bins = _magnitude_bins(results)
    figure = new_figure(4.6)
    grid = figure.subplots(2, 3, sharex=True, sharey=True)
    for axes, (title, intervals) in zip(grid.flat, panels.items(), strict=False):
        _draw_panel(axes, title, intervals, bins)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    for axes in grid[:, 0]:
        axes.set_ylabel("galaxies covered")
    for axes in grid[1]:
        axes.set_xlabel("nominal coverage")
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside upper right", ncols=BINS)
    return figure


def _intervals(results: Results) -> dict[str, np.ndarray]:
    """PIT intervals (N, 2) by the title of their panel."""
    with h5py.File(results.folder / "candidates.h5") as file:
        panels = {"redshift": pit_intervals(file["redshift"][:].astype(float), results.redshift)}
    measured = results.measured.get("rest", {}).get(GENERATED, {})
    for name in SHOWN:
        if name in measured:
            true = true_values(results.truth, name)
            panels[QUANTITIES[name].label] = pit_intervals(measured[name], true)
    return panels


def _magnitude_bins(results: Results) -> dict[str, np.ndarray]:
    if results.magnitude is None:
        return {"all": np.ones(len(results.rows), bool)}
    return quantile_bins("r", results.magnitude, BINS)


def _draw_panel(axes: Axes, title: str, intervals: np.ndarray, bins: dict[str, np.ndarray]) -> None:
    known = np.isfinite(intervals).all(axis=1)
    count = min(np.count_nonzero(known & mask) for mask in bins.values())
    error = 1.96 * np.sqrt(LEVELS * (1 - LEVELS) / max(count, 1))
    axes.fill_between(LEVELS, LEVELS - error, LEVELS + error, color="0.88", lw=0)
    axes.plot([0, 1], [0, 1], color=COLOURS["quiet"], lw=0.6)
    for (label, mask), colour in zip(bins.items(), SHADES, strict=False):
        own = intervals[known & mask]
        covered = [coverage_of(own, level).mean() for level in LEVELS]
        axes.plot(LEVELS, covered, "o-", ms=2, lw=1.0, color=colour, label=label)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.set_title(title, loc="left")


@styled
def draw_redshift_pdfs(results: Results) -> Figure | None:
    """p(z | image) of galaxies from young to old: the reported one, the redshifts of the candidates
    (ticks below) and of the photometric neighbours (ticks above), and the true one."""
    with h5py.File(results.folder / "candidates.h5") as file:
        if "redshift_pdf" not in file:
            return None
        pdf, edges = file["redshift_pdf"][:], file["redshift_edges"][:]
        samples = file["redshift"][:]
    width = np.maximum(np.diff(edges), 1e-6)
    figure = new_figure(4.6, COLUMN_WIDTH_INCHES)
    grid = figure.subplots(EXAMPLES // 2, 2, sharex=True)
    neighbours = results.measured.get("observed", {}).get(PHOTOMETRY, {}).get("z")
    for axes, number in zip(grid.flat, results.spread(EXAMPLES), strict=True):
        density = pdf[number] / width
        top = 1.25 * density.max()
        reported = {"fill": True, "color": COLOURS["generated"], "alpha": 0.4}
        axes.stairs(density, edges, label="reported", **reported)
        axes.axvline(results.redshift[number], color=COLOURS["truth"], lw=1.0, label="true")
        _draw_ticks(axes, samples[number], 0.03 * top, "candidates", COLOURS["generated"])
        if neighbours is not None:
            _draw_ticks(axes, neighbours[number], 0.95 * top, "neighbours", COLOURS["highlight"])
        axes.set(ylim=(0, top), yticks=[])
    entries = grid[0, 0].get_legend_handles_labels()
    figure.legend(*entries, loc="outside upper center", ncols=4, columnspacing=1.0)
    for axes in grid[-1]:
        axes.set_xlabel("redshift")
    figure.supylabel("p(z | image)", fontsize=8)
    return figure


def _draw_ticks(axes: Axes, redshift: np.ndarray, height: float, label: str, colour: str) -> None:
    axes.plot(redshift, np.full(len(redshift), height), "|", ms=5, color=colour, label=label)
