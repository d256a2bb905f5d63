"""Generated spectra beside the true ones, as a whole and in the windows that matter."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from datasets.line_list import LINES
from datasets.spectra import candidate_sigma
from figures.evaluation_files import Galaxy, Results
from utils.plotting.spectrum_panel import (
    MARKS,
    NORMALISED_LABEL,
    WAVELENGTH_LABEL,
    Panel,
    draw_cutout,
    draw_spectra,
    flux_limits,
    legend_entries,
    mark_line,
    mark_lines,
)
from utils.plotting.style import COLOURS, new_figure, styled

#: Rest-frame vacuum Å: break and Hδ, Hβ and [O III], Mg b and Fe, Hα and [N II] and [S II].
WINDOWS_ANGSTROM = ((3900.0, 4180.0), (4800.0, 5060.0), (5120.0, 5400.0), (6500.0, 6770.0))
WINDOW_MARKS = {
    "Ca H": 3969.59, "Hδ": 4102.89, "Hβ": LINES["Hbeta"][0], "[O III]": LINES["OIII5007"][0],
    "Mg b": MARKS["Mg b"], "Fe": 5270.0, "Fe ": 5335.0, "Hα": LINES["Halpha"][0],
    "[N II]": LINES["NII6584"][0], "[S II]": MARKS["[S II]"],
}  # fmt: skip
RANKS_SHOWN = (1, 2, 3)  # and the middle and the last one


@styled
def draw_samples(results: Results, count: int = 3) -> Figure:
    """Galaxies from young to old: the cutout, the spectrum, and four windows of it."""
    figure = new_figure(2.55 * count + 0.5)
    rows = figure.add_gridspec(count, 1)
    wide = []
    for place, number in enumerate(results.spread(count)):
        galaxy = results.galaxy(number)
        panel = _panel(results, galaxy)
        above, below = rows[place].subgridspec(2, 1, height_ratios=(1.1, 1))
        pair = above.subgridspec(1, 2, width_ratios=(1, 4.2))
        cutout = figure.add_subplot(pair[0])
        draw_cutout(cutout, panel.image, panel.bands, panel.pixel_scale_arcsec)
        whole = figure.add_subplot(pair[1])
        draw_spectra(whole, panel)
        mark_lines(whole, panel)
        cutout.set_title(f"z = {galaxy.redshift:.4f}", loc="left")
        wide.append(whole)
        windows = below.subgridspec(1, len(WINDOWS_ANGSTROM))
        for axes, window in zip(windows.subplots(), WINDOWS_ANGSTROM, strict=True):
            _draw_window(axes, panel, window)
    figure.supxlabel(WAVELENGTH_LABEL, fontsize=8)
    figure.supylabel(NORMALISED_LABEL, fontsize=8)
    figure.legend(*legend_entries(wide), loc="outside upper right", ncols=3)
    return figure


def _panel(results: Results, galaxy: Galaxy) -> Panel:
    return Panel(
        "",
        galaxy.image,
        results.survey.bands,
        results.wavelength_angstrom,
        galaxy.candidates[:1],
        mean=galaxy.candidates.mean(0),
        sigma=candidate_sigma(galaxy.candidates),
        truth=galaxy.truth,
        redshift=galaxy.redshift,
        pixel_scale_arcsec=results.survey.pixel_scale_arcsec,
    )


def _draw_window(axes: Axes, panel: Panel, window: tuple[float, float]) -> None:
    stretch = 1 + (panel.redshift if np.isfinite(panel.redshift) else 0.0)
    first, last = (edge * stretch for edge in window)
    draw_spectra(axes, panel)
    inside = (panel.wavelength_angstrom > first) & (panel.wavelength_angstrom < last)
    values = np.concatenate([panel.truth[inside], panel.candidates[0][inside]])
    low, high = np.min(values), np.max(values)
    axes.set_xlim(first, last)
    axes.set_ylim(low - 0.08 * (high - low), high + 0.3 * (high - low))
    axes.locator_params(axis="x", nbins=4)
    for name, rest in WINDOW_MARKS.items():
        if window[0] + 8 < rest < window[1] - 8:
            mark_line(axes, name.strip(), rest * stretch)


@styled
def draw_ranked(results: Results, count: int = 2) -> Figure:
    """Candidates of a few galaxies in the order of the ranking, each over the true spectrum."""
    total = results.order.shape[1]
    ranks = sorted({min(rank, total) for rank in (*RANKS_SHOWN, (total + 1) // 2, total)})
    figure = new_figure(0.85 * len(ranks) + 0.7)
    grid = figure.subplots(len(ranks), 2 * count, width_ratios=(1, 3.2) * count, squeeze=False)
    for column, number in enumerate(results.spread(count)):
        galaxy = results.galaxy(number)
        cutouts, spectra = grid[:, 2 * column], grid[:, 2 * column + 1]
        draw_cutout(cutouts[0], galaxy.image, results.survey.bands)
        for axes in cutouts[1:]:
            axes.set_axis_off()
        limits = flux_limits([galaxy.truth, galaxy.candidates[0]])
        for axes, rank in zip(spectra, ranks, strict=True):
            axes.plot(
                results.wavelength_angstrom, galaxy.truth, color=COLOURS["truth"], lw=0.5,
                label="true",
            )  # fmt: skip
            axes.plot(
                results.wavelength_angstrom, galaxy.candidates[rank - 1], lw=0.5,
                color=COLOURS["generated"], label="generated",
            )  # fmt: skip
            axes.set_xlim(*results.wavelength_angstrom[[0, -1]])
            axes.set_ylim(*limits)
            axes.set_title(
                f"rank {rank} of {total}, similarity {galaxy.scores[rank - 1]:.3f}",
                loc="left", fontsize=6, pad=2,
            )  # fmt: skip
            axes.tick_params(labelbottom=rank == ranks[-1])
    figure.supxlabel(WAVELENGTH_LABEL, fontsize=8)
    figure.supylabel(NORMALISED_LABEL, fontsize=8)
    figure.legend(*legend_entries([grid[0, 1]]), loc="outside upper right", ncols=2)
    return figure
