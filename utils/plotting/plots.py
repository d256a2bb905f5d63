"""Figures of runs: generated spectra, previews during training, retrieval.

Functions return the figure, in the style of `utils.plotting.style`; `save_figure` writes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from datasets.atomic_files import atomic_path
from datasets.spectra import candidate_sigma
from utils.plotting.spectrum_panel import (
    NORMALISED_LABEL,
    PHYSICAL_LABEL,
    WAVELENGTH_LABEL,
    Panel,
    draw_cutout,
    draw_spectra,
    flux_limits,
    legend_entries,
    mark_lines,
)
from utils.plotting.style import COLOURS, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@styled
def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure (format by the suffix) atomically; equal figures give equal files."""
    undated = {"CreationDate": None, "ModDate": None} if Path(path).suffix == ".pdf" else {}
    with atomic_path(path) as temporary:
        figure.savefig(temporary, metadata=undated)


@styled
def plot_generated(panel: Panel) -> Figure:
    """One galaxy: its cutout and its generated spectrum, with truth and lines if available."""
    figure = new_figure(2.5, layout="none")
    edges = {"left": 0.01, "right": 0.99, "bottom": 0.155, "top": 0.86, "wspace": 0.17}
    cutout, spectrum = figure.subplots(1, 2, width_ratios=(1, 2.9), gridspec_kw=edges)
    draw_cutout(cutout, panel.image, panel.bands, panel.pixel_scale_arcsec)
    redshift = "" if panel.redshift is None else f"   z = {panel.redshift:.4f}"
    cutout.set_title(f"{panel.title}{redshift}", loc="left")
    draw_spectra(spectrum, panel, apart=True)
    mark_lines(spectrum, panel)
    spectrum.minorticks_off()  # a third of the time to draw all
    spectrum.set_xlabel(WAVELENGTH_LABEL)
    spectrum.set_ylabel(NORMALISED_LABEL if panel.scale is None else PHYSICAL_LABEL)
    figure.legend(*legend_entries([spectrum]), loc="upper right", ncols=4)
    return figure


def contact_sheets(panels: Sequence[Panel], rows: int = 8) -> Iterator[Figure]:
    """Pages of small panels, in `rows` of two galaxies each; fluxes normalised."""
    for start in range(0, len(panels), 2 * rows):
        yield _contact_sheet(panels[start : start + 2 * rows])


@styled
def _contact_sheet(panels: Sequence[Panel]) -> Figure:
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    height = 1.08 * rows + 0.6
    figure = new_figure(height, layout="none")
    edges = {"left": 0.04, "right": 0.99, "bottom": 0.38 / height, "top": 1 - 0.38 / height}
    grid = figure.subplots(
        rows,
        2 * columns,
        width_ratios=(1, 2.4) * columns,
        squeeze=False,
        gridspec_kw={**edges, "wspace": 0.16, "hspace": 0.24},
    )
    spectra = []
    for number, pair in enumerate(grid.reshape(rows * columns, 2)):
        if number >= len(panels):
            for axes in pair:
                axes.set_axis_off()
            continue
        panel = panels[number]
        draw_cutout(pair[0], panel.image, panel.bands)
        draw_spectra(pair[1], panel, apart=True)
        pair[1].minorticks_off()  # a fifth of the time to draw all
        pair[1].set_title(panel.title, loc="left", fontsize=6, pad=2)
        spectra.append(pair[1])
        if number + columns < len(panels):
            pair[1].tick_params(labelbottom=False)
    figure.supxlabel(WAVELENGTH_LABEL, fontsize=8, y=0.04 / height)
    figure.supylabel(NORMALISED_LABEL, fontsize=8, x=0.004)
    figure.legend(*legend_entries(spectra), loc="upper right", ncols=4)
    return figure


def plot_preview(
    images: np.ndarray,
    bands: Sequence[str],
    wavelength_angstrom: np.ndarray,
    candidates: np.ndarray,
    truth: np.ndarray,
) -> Figure:
    """Generated and true spectra of a few galaxies, while a generator is in training.

    Args:
        images: (galaxies, bands, height, width); bands: their names.
        wavelength_angstrom: (pixels,), vacuum, observed frame.
        candidates: (galaxies, sampled, pixels), normalised, in any order; the first is bold.
        truth: (galaxies, pixels), normalised.
    """
    panels = [
        Panel(
            "", image, bands, wavelength_angstrom, sampled,
            mean=sampled.mean(0), sigma=candidate_sigma(sampled), truth=true,
        )
        for image, sampled, true in zip(images, candidates, truth, strict=True)
    ]  # fmt: skip
    return _contact_sheet(panels)


@styled
def plot_retrieval(
    wavelength_angstrom: np.ndarray,
    queries: np.ndarray,
    images: np.ndarray,
    matches: np.ndarray,
    own: np.ndarray,
    bands: Sequence[str],
) -> Figure:
    """Some spectra, their own images and the images that the network ranks as most similar.

    Args:
        wavelength_angstrom: (pixels,), vacuum, observed frame.
        queries: (queries, pixels), normalised spectra.
        images: (pool, bands, height, width).
        matches: (queries, shown), indices of images in the pool, most similar first.
        own: (queries,), index of each query's own image, which is framed.
        bands: of the images.
    """
    rows, shown = matches.shape
    figure = new_figure(0.95 * rows + 0.6)
    grid = figure.subplots(rows, shown + 2, width_ratios=(3, *[1] * (shown + 1)), squeeze=False)
    for axes, flux, ranked, self in zip(grid, queries, matches, own, strict=True):
        axes[0].plot(wavelength_angstrom, flux, color=COLOURS["truth"], lw=0.6)
        axes[0].set_xlim(*wavelength_angstrom[[0, -1]])
        axes[0].set_ylim(*flux_limits([flux]))
        axes[0].tick_params(labelbottom=axes[0] is grid[-1, 0])
        for place, number in zip(axes[1:], (self, *ranked), strict=True):
            draw_cutout(place, images[number], bands)
            if number == self:
                place.spines[:].set(color=COLOURS["highlight"], linewidth=2)
    grid[0, 0].set_title("spectrum", loc="left")
    grid[0, 1].set_title("its image")
    for rank, axes in enumerate(grid[0, 2:], start=1):
        axes.set_title("best match" if rank == 1 else f"{rank}.")
    grid[-1, 0].set_xlabel(WAVELENGTH_LABEL)
    figure.supylabel(NORMALISED_LABEL, fontsize=8)
    return figure


@dataclass(frozen=True)
class Cell:
    """A galaxy in a table of pictures: its image or its spectrum.

    Args:
        title: Above it.
        wavelength_angstrom, flux: (pixels,) of a spectrum.
        image: (bands, height, width), instead.
        bands: Of the image.
    """

    title: str
    wavelength_angstrom: np.ndarray | None = None
    flux: np.ndarray | None = None
    image: np.ndarray | None = None
    bands: Sequence[str] = ()


@styled
def plot_cells(rows: Sequence[Sequence[Cell]]) -> Figure:
    """Queries, each with its matches in a row of images and spectra, each spectrum on a scale for
    itself."""
    columns = max(map(len, rows))
    figure = new_figure(1.2 * len(rows) + 0.2)
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for line, cells in zip(grid, rows, strict=True):
        for axes in line[len(cells) :]:
            axes.set_axis_off()
        for axes, cell in zip(line, cells, strict=False):
            axes.set_title(cell.title, fontsize=6)
            if cell.image is not None:
                draw_cutout(axes, cell.image, cell.bands)
                continue
            axes.plot(cell.wavelength_angstrom, cell.flux, color=COLOURS["truth"], lw=0.4)
            axes.set_xlim(*cell.wavelength_angstrom[[0, -1]])
            axes.set_ylim(*flux_limits([cell.flux]))
            axes.tick_params(labelsize=5)
            axes.set_yticks([])
        spectra = [axes for axes in line if axes.lines]
        for axes in spectra[:1]:
            axes.set_ylabel("Flux (arb. units)", fontsize=6)
    if any(axes.lines for axes in grid.flat):
        figure.supxlabel(WAVELENGTH_LABEL, fontsize=6)
    for line in grid:  # the query stands out
        line[0].spines[:].set(color=COLOURS["highlight"], linewidth=1.5)
    return figure
