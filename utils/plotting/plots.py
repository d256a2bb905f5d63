"""The figures of the project: generated spectra, previews during training, training curves.

Everything is drawn on :class:`matplotlib.figure.Figure` objects, in the style of
:mod:`utils.plotting.spectrum_panel`: no display is needed and no global state changes. Functions
return the figure; :func:`save_figure` writes it.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from datasets.spectra import candidate_sigma
from utils.plotting.spectrum_panel import (
    COLOURS,
    NORMALISED_LABEL,
    PAGE_WIDTH_INCHES,
    PHYSICAL_LABEL,
    WAVELENGTH_LABEL,
    Panel,
    draw_cutout,
    draw_spectra,
    flux_limits,
    legend_entries,
    mark_lines,
    styled,
)


@styled
def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure (format by the suffix) atomically; equal figures give equal files."""
    path = Path(path)
    temporary = path.with_name(f".part.{path.name}")
    undated = {"CreationDate": None, "ModDate": None} if path.suffix == ".pdf" else {}
    figure.savefig(temporary, metadata=undated)
    os.replace(temporary, path)


@styled
def plot_generated(panel: Panel) -> Figure:
    """One galaxy: its cutout and its generated spectrum, with truth and lines where known."""
    figure = Figure(figsize=(PAGE_WIDTH_INCHES, 2.5), layout="constrained")
    cutout, spectrum = figure.subplots(1, 2, width_ratios=(1, 2.9))
    draw_cutout(cutout, panel.image, panel.bands, panel.pixel_scale_arcsec)
    redshift = "" if panel.redshift is None else f"   z = {panel.redshift:.4f}"
    cutout.set_title(f"{panel.title}{redshift}", loc="left")
    draw_spectra(spectrum, panel, apart=True)
    mark_lines(spectrum, panel)
    spectrum.set_xlabel(WAVELENGTH_LABEL)
    spectrum.set_ylabel(NORMALISED_LABEL if panel.scale is None else PHYSICAL_LABEL)
    figure.legend(*legend_entries([spectrum]), loc="outside upper right", ncols=4)
    return figure


def contact_sheets(panels: Sequence[Panel], rows: int = 8, columns: int = 2) -> Iterator[Figure]:
    """Pages of small panels, ``rows × columns`` galaxies each; fluxes normalised."""
    for start in range(0, len(panels), rows * columns):
        yield _contact_sheet(panels[start : start + rows * columns], columns)


@styled
def _contact_sheet(panels: Sequence[Panel], columns: int) -> Figure:
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    width = PAGE_WIDTH_INCHES * columns / 2 if columns > 1 else PAGE_WIDTH_INCHES
    figure = Figure(figsize=(width, 1.08 * rows + 0.6), layout="constrained")
    grid = figure.subplots(rows, 2 * columns, width_ratios=(1, 2.4) * columns, squeeze=False)
    spectra = []
    for number, pair in enumerate(grid.reshape(rows * columns, 2)):
        if number >= len(panels):
            for axes in pair:
                axes.set_axis_off()
            continue
        panel = panels[number]
        draw_cutout(pair[0], panel.image, panel.bands)
        draw_spectra(pair[1], panel, apart=True)
        pair[1].set_title(panel.title, loc="left", fontsize=6, pad=2)
        spectra.append(pair[1])
        if number + columns < len(panels):
            pair[1].tick_params(labelbottom=False)
    figure.supxlabel(WAVELENGTH_LABEL, fontsize=8)
    figure.supylabel(NORMALISED_LABEL, fontsize=8)
    figure.legend(*legend_entries(spectra), loc="outside upper right", ncols=4)
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
        candidates: (galaxies, drawn, pixels), normalised, in any order; the first is drawn bold.
        truth: (galaxies, pixels), normalised.
    """
    panels = [
        Panel(
            "", image, bands, wavelength_angstrom, drawn,
            mean=drawn.mean(0), sigma=candidate_sigma(drawn), truth=true,
        )
        for image, drawn, true in zip(images, candidates, truth, strict=True)
    ]  # fmt: skip
    return _contact_sheet(panels, columns=2)


@styled
def plot_retrieval(
    wavelength_angstrom: np.ndarray,
    queries: np.ndarray,
    images: np.ndarray,
    matches: np.ndarray,
    own: np.ndarray,
    bands: Sequence[str],
) -> Figure:
    """For some spectra: their own images and the images that the network finds most similar.

    Args:
        wavelength_angstrom: (pixels,), vacuum, observed frame.
        queries: (queries, pixels), normalised spectra.
        images: (pool, bands, height, width).
        matches: (queries, shown), numbers of images in the pool, most similar first.
        own: (queries,), number of each query's own image, which is framed.
        bands: of the images.
    """
    rows, shown = matches.shape
    figure = Figure(figsize=(PAGE_WIDTH_INCHES, 0.95 * rows + 0.6), layout="constrained")
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


#: Panels of the training curves: title, how the names of their columns begin, logarithmic axis.
CURVES = (
    ("loss", ("loss", "validation_loss"), False),
    ("recall", ("recall",), False),
    ("median rank", ("median_rank",), True),
    ("gradient norm", ("gradient_norm",), True),
    ("learning rate", ("learning_rate",), True),
)


@styled
def plot_training_curves(path: str | Path) -> Figure:
    """Loss, figures of validation, gradient norm and learning rate of a run's ``metrics.csv``.

    Raises:
        ValueError: if the table has no epochs or none of these columns.
    """
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    columns = {name: [float(row[name] or "nan") for row in rows] for name in (rows or [{}])[0]}
    panels = [
        (title, chosen, logarithmic)
        for title, starts, logarithmic in CURVES
        if (chosen := [name for name in columns if name.startswith(starts)])
    ]
    if "epoch" not in columns or not panels:
        raise ValueError(f"{path} is no table of a training run: it lacks epochs and figures")
    figure = Figure(figsize=(PAGE_WIDTH_INCHES, 1.35 * len(panels) + 0.4), layout="constrained")
    grid = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (title, names, logarithmic) in zip(grid, panels, strict=True):
        for name in names:
            _draw_curve(axes, columns["epoch"], columns[name], _curve_label(name))
        axes.set_ylabel(title)
        if logarithmic:
            axes.set_yscale("log")
        if len(names) > 1:
            axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    grid[-1].set_xlabel("Epoch")
    figure.align_ylabels(grid)
    return figure


def _curve_label(name: str) -> str:
    """The name of a column for readers: "recall_10_swapped" is R@10 with swapped noise."""
    label = re.sub(r"^recall_(\d+)", r"R@\1", name).replace("_swapped", ", noise swapped")
    return "training loss" if name == "loss" else label.replace("_", " ")


def _draw_curve(axes: Axes, epochs: Sequence[float], values: Sequence[float], label: str) -> None:
    """Join the epochs that have a value: validation may be rarer than epochs."""
    known = np.isfinite(values)
    points = np.array(epochs)[known], np.array(values)[known]
    axes.plot(*points, marker="." if known.sum() < 50 else None, label=label)
