"""Quantities measured on generated spectra against those measured on the true ones."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

from figures.evaluation_files import Results, density, running, style_of
from utils.evaluation.derived_quantities import QUANTITIES, estimates, true_values
from utils.evaluation.markdown import number
from utils.evaluation.method import (
    CLIMATOLOGY,
    CONSTANT,
    GENERATED,
    PHOTOMETRY,
    TRUE_SPECTRA,
)
from utils.plotting.style import COLOURS, PAGE_WIDTH_INCHES, new_figure, styled

SPECTRAL = (
    "Dn4000", "rest_colour", "HdeltaA", "Hbeta", "Mgb", "iron",
    "Halpha_ew", "OIII5007_ew", "log_nii_halpha",
)  # fmt: skip
POPULATIONS = ("sigma_star", "log_age_gyr", "metallicity", "ebv")
LINEAR_EW_ANGSTROM = 3.0  # equivalent widths are linear below, logarithmic above
EW_TICKS = (-10, -3, 0, 3, 10, 30, 100)
EDGE_PERCENTILES = (0.5, 99.5)


@styled
def draw_planes(results: Results, names: tuple[str, ...]) -> Figure:
    """Measured against true, as density, with residuals below; medians over the candidates."""
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    figure = new_figure(2.65 * rows + 0.2, PAGE_WIDTH_INCHES * columns / 3)
    grid = figure.subplots(2 * rows, columns, height_ratios=(2.4, 1) * rows, squeeze=False)
    for place in range(rows * columns):
        row, column = divmod(place, columns)
        pair = grid[2 * row, column], grid[2 * row + 1, column]
        if place < len(names):
            draw_plane(*pair, results, names[place])
        else:
            for axes in pair:
                axes.set_axis_off()
    figure.align_ylabels(grid[:, 0])
    return figure


def draw_plane(plane: Axes, residual: Axes, results: Results, name: str) -> None:
    """One quantity of the generator: the plane and, below it, generated − true."""
    true = true_values(results.truth, name)
    guess = estimates(results.measured["observed"][GENERATED][name])
    used = np.isfinite(true) & np.isfinite(guess)
    quantity = QUANTITIES[name]
    unit = f" ({quantity.unit})" if quantity.unit else ""
    plane.set_ylabel(f"{quantity.label}{unit}, generated")
    residual.set_xlabel(f"{quantity.label}{unit}, true")
    residual.set_ylabel("gen. − true")
    if used.sum() < 2:
        plane.text(0.5, 0.5, "too few galaxies", transform=plane.transAxes, ha="center")
        return
    true, guess = true[used], guess[used]
    low, high = np.percentile(np.concatenate([true, guess]), EDGE_PERCENTILES)
    margin = 0.05 * (high - low)
    low, high = low - margin, high + margin
    if name.endswith("_ew"):
        _draw_widths(plane, true, guess, (low, high))
    else:
        density(plane, true, guess, (low, high, low, high))
    plane.plot([low, high], [low, high], color=COLOURS["quiet"], lw=0.7)
    plane.tick_params(labelbottom=False)
    error = guess - true
    reach = 1.1 * np.percentile(np.abs(error), 98)
    residual.plot(true, error, ".", ms=1.5, color=COLOURS["quiet"], alpha=0.5, rasterized=True)
    middle, bands = running(true, error)
    residual.fill_between(middle, bands[0], bands[2], color=COLOURS["generated"], alpha=0.3, lw=0)
    residual.plot(middle, bands[1], color=COLOURS["generated"])
    residual.axhline(0, color=COLOURS["quiet"], lw=0.7)
    residual.set_xlim(low, high)
    residual.set_ylim(-reach, reach)
    if name.endswith("_ew"):
        _width_axis(residual, "x")
    _annotate(plane, results, name)


def _draw_widths(
    plane: Axes, true: np.ndarray, guess: np.ndarray, limits: tuple[float, float]
) -> None:
    """Equivalent widths span decades: points on symmetric logarithmic axes."""
    plane.plot(true, guess, ".", ms=2, color=COLOURS["generated"], alpha=0.5, rasterized=True)
    plane.set(xlim=limits, ylim=limits)
    for name in ("x", "y"):
        _width_axis(plane, name)


def _width_axis(axes: Axes, name: str) -> None:
    getattr(axes, f"set_{name}scale")("symlog", linthresh=LINEAR_EW_ANGSTROM)
    axis = getattr(axes, f"{name}axis")
    axis.set_major_locator(FixedLocator(EW_TICKS))
    axis.set_major_formatter(ScalarFormatter())
    axis.set_minor_locator(NullLocator())


def _annotate(plane: Axes, results: Results, name: str) -> None:
    lines = []
    for method, label in ((GENERATED, ""), (PHOTOMETRY, "neighbours: ")):
        found = results.metrics["observed"]["quantities"][name].get(method, {})
        if found.get("scatter"):
            lines.append(
                f"{label}σ = {found['scatter']['value']:.2g}, "
                f"r = {number(found['correlation']['value'], 2)}"
            )
    plane.text(
        0.04, 0.96, "\n".join(lines), transform=plane.transAxes, va="top", fontsize=6,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 1},
    )  # fmt: skip


@styled
def draw_redshift(results: Results) -> Figure:
    """Redshift of the generated spectra against the true one, and errors of all methods."""
    figure = new_figure(2.9)
    left, right = figure.add_gridspec(1, 2, width_ratios=(1, 1.25))
    pair = left.subgridspec(2, 1, height_ratios=(2.4, 1))
    plane = figure.add_subplot(pair[0])
    draw_plane(plane, figure.add_subplot(pair[1]), results, "z")
    errors = figure.add_subplot(right)
    true, bins = results.truth["z"], np.linspace(-0.08, 0.08, 49)
    for method in results.methods:
        if method == CONSTANT:
            continue
        dz = (estimates(results.measured["observed"][method]["z"]) - true) / (1 + true)
        emphasis = 1.4 if method == GENERATED else 0.9
        errors.hist(
            np.clip(dz, *bins[[0, -1]]), bins, histtype="step", density=True,
            **style_of(method, lw=emphasis),
        )  # fmt: skip
    errors.set_xlabel("Δz / (1 + z), at the edges: beyond")
    errors.set_ylabel("galaxies per unit")
    errors.legend(loc="upper left")
    return figure


@styled
def draw_colours(results: Results) -> Figure:
    """Colours of the spectra minus those of the images, in the fibre's aperture."""
    figure = new_figure(2.5)
    panels = figure.subplots(1, 2)
    titles = ("g − r", "r − i")
    for place, (axes, title) in enumerate(zip(panels, titles, strict=True)):
        bins = np.linspace(-0.2, 0.2, 41)
        for method in (TRUE_SPECTRA, GENERATED, PHOTOMETRY, CLIMATOLOGY):
            values = results.colours[method][:, 0, place]
            look = style_of(method, lw=1.1)
            axes.hist(np.clip(values, *bins[[0, -1]]), bins, density=True, histtype="step", **look)
        axes.axvline(0, color=COLOURS["quiet"], lw=0.5)
        axes.set_xlabel(f"Δ({title}), spectrum minus image (mag)")
        axes.set_ylabel("galaxies per mag")
    entries = panels[0].get_legend_handles_labels()
    figure.legend(*entries, loc="outside upper right", ncols=4)
    return figure
