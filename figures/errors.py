"""Errors of all methods, and whether their candidates scatter as the truth does."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.evaluation_files import Results, style_of
from utils.evaluation.calibration import coverage
from utils.evaluation.columns import HEADINGS
from utils.evaluation.derived_quantities import QUANTITIES
from utils.evaluation.method import CLIMATOLOGY, CONSTANT, GENERATED, PHOTOMETRY
from utils.evaluation.question import OBSERVED, REST
from utils.plotting.style import COLOURS, new_figure, styled

SHOWN_SCORES = {
    "crps": "CRPS",
    "energy": "energy score",
    "energy_100": "energy score, 100 Å",
}
SHOWN_QUANTITIES = ("z", "Dn4000", "Mgb", "HdeltaA", "Halpha_ew")


@styled
def draw_errors(results: Results) -> Figure:
    """Scores of all methods relative to the climatology's, for both questions. Bars are paired 95 %
    intervals of the difference to the generator, on the same galaxies; its own is the line."""
    questions = [q for q in (REST, OBSERVED) if q in results.metrics]
    counts = [len(results.metrics[q]["methods"]) - 1 for q in questions]
    height = 0.17 * sum(counts) + 0.6 * len(questions)
    figure = new_figure(height)
    grid = figure.subplots(
        len(questions), len(SHOWN_SCORES), sharex="col", sharey="row", squeeze=False,
        height_ratios=counts,
    )  # fmt: skip
    for row, question in zip(grid, questions, strict=True):
        part = results.metrics[question]
        methods = [m for m in list(part["methods"])[::-1] if m not in (GENERATED, CONSTANT)]
        for axes, score in zip(row, SHOWN_SCORES, strict=True):
            _draw_scores(axes, part, score, methods)
        row[0].set_yticks(range(len(methods)), methods)
        row[0].set_title(HEADINGS[question], loc="left")
    for axes, label in zip(grid[-1], SHOWN_SCORES.values(), strict=True):
        axes.set_xlabel(label)
    figure.supxlabel("score / that of the climatology (line: generated)", fontsize=8)
    return figure


def _draw_scores(axes: Axes, part: dict, score: str, methods: list[str]) -> None:
    own = part["methods"][GENERATED][f"{score}_ratio"]["value"]
    axes.axvline(own, **style_of(GENERATED, lw=1.0))
    for place, method in enumerate(methods):
        found, colour = part["differences"][method][score], style_of(method)["color"]
        ends = [own - found["high"], own - found["low"]]
        axes.plot(ends, [place, place], color=colour, lw=1.6, solid_capstyle="butt")
        axes.plot(own - found["value"], place, "o", ms=3.5, color=colour)
    axes.set_ylim(-0.6, len(methods) - 0.4)
    axes.tick_params(axis="y", which="minor", left=False, right=False)
    axes.grid(axis="x", color="0.9", lw=0.5)
    axes.set_axisbelow(True)


@styled
def draw_calibration(results: Results) -> Figure:
    """PIT histograms, coverage, TARP and the spread–error relation."""
    figure = new_figure(4.6)
    grid = figure.subplots(2, 3)
    found = results.metrics["observed"]["calibration"]
    methods = [m for m in results.methods if m in (GENERATED, PHOTOMETRY, CLIMATOLOGY)]
    _draw_pit(grid[0, 0], found[GENERATED]["pit"], "pixels of generated spectra")
    quantities = results.metrics["observed"].get("quantities", {})
    measured = {
        QUANTITIES[name].label: quantities[name][GENERATED]["pit"]
        for name in SHOWN_QUANTITIES
        if quantities.get(name, {}).get(GENERATED, {}).get("pit")
    }
    _draw_pit(grid[0, 1], measured, "measured on generated spectra")
    _draw_coverage(grid[0, 2], {m: _all_pixels(results, m) for m in methods})
    _draw_tarp(grid[1, 0], {m: found[m]["tarp"] for m in methods}, "TARP, spectrum")
    joint = {m: found[m]["tarp_measured"] for m in methods if "tarp_measured" in found[m]}
    _draw_tarp(grid[1, 1], joint, "TARP, measured quantities")
    _draw_spread(grid[1, 2], {m: found[m]["spread_error"] for m in methods})
    figure.legend(*grid[0, 2].get_legend_handles_labels(), loc="outside upper right", ncols=3)
    return figure


def _all_pixels(results: Results, method: str) -> np.ndarray:
    """PIT histogram over all wavelengths: windows weighted by their widths."""
    pit = results.metrics["observed"]["calibration"][method]["pit"]
    widths = [float(name.split("–")[1].split()[0]) - float(name.split("–")[0]) for name in pit]
    return np.average(list(pit.values()), axis=0, weights=widths)


def _draw_pit(axes: Axes, histograms: dict[str, list[float]], title: str) -> None:
    tallest = 2.0
    for label, shares in histograms.items():
        density = np.array(shares) * len(shares)
        tallest = max(tallest, 1.1 * density.max())
        axes.stairs(density, np.linspace(0, 1, len(shares) + 1), label=label)
    axes.axhline(1, color=COLOURS["quiet"], lw=0.6)
    axes.set(xlabel="PIT", ylabel="density", xlim=(0, 1), ylim=(0, 1.35 * tallest))
    axes.set_title(title, loc="left")
    axes.legend(loc="upper center", ncols=2, columnspacing=0.8, handlelength=1.2, fontsize=6)


def _draw_diagonal(axes: Axes) -> None:
    axes.plot([0, 1], [0, 1], color=COLOURS["quiet"], lw=0.6)
    axes.set(xlim=(0, 1), ylim=(0, 1))


def _draw_coverage(axes: Axes, histograms: dict[str, np.ndarray]) -> None:
    levels = np.linspace(0, 1, 101)
    _draw_diagonal(axes)
    for method, shares in histograms.items():
        axes.plot(levels, [coverage(shares, level) for level in levels], **style_of(method))
    axes.set(xlabel="nominal coverage", ylabel="pixels covered")
    axes.set_title("central intervals", loc="left")


def _draw_tarp(axes: Axes, curves: dict[str, list[float]], title: str) -> None:
    _draw_diagonal(axes)
    for method, curve in curves.items():
        axes.plot(np.linspace(0, 1, len(curve)), curve, **style_of(method))
    axes.set(xlabel="credibility", ylabel="expected coverage")
    axes.set_title(title, loc="left")


def _draw_spread(axes: Axes, curves: dict[str, dict]) -> None:
    ends = []
    for method, curve in curves.items():
        axes.plot(curve["predicted"], curve["actual"], **style_of(method))
        ends += curve["predicted"] + curve["actual"]
    limits = (0.8 * min(ends), 1.25 * max(ends)) if ends else (0.01, 1)
    axes.plot(limits, limits, color=COLOURS["quiet"], lw=0.6)
    axes.set(xscale="log", yscale="log", xlim=limits, ylim=limits)
    axes.set(xlabel="rms error, from the spread", ylabel="rms error, actual")
    axes.set_title("spread and error", loc="left")
