"""Panels of generated spectra beside observed ones, and their errors: see `figures.pairs`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from datasets.cutouts.conversion import CutoutFormat
from datasets.cutouts.formats import read_picture
from datasets.errors import UserError
from datasets.file_names import file_stem
from datasets.sdss.spec_files import read_spec_file
from datasets.spectra import prepare_spectrum
from datasets.survey import Survey
from datasets.tables import read_table
from utils.generation.fits_output import read_spectrum
from utils.plotting.spectrum_panel import (
    MARKS,
    NORMALISED_LABEL,
    WAVELENGTH_LABEL,
    Panel,
    draw_cutout,
    draw_spectra,
    legend_entries,
    mark_lines,
)
from utils.plotting.style import new_figure, styled

COLUMNS = 2
SHORT_MARKS = {
    "Hβ": MARKS["Hβ"], "Mg b": MARKS["Mg b"], "Na D": MARKS["Na D"], "Hα": MARKS["Hα + [N II]"],
}  # fmt: skip


def panels_of(folder: Path, table: Path, survey: Survey) -> list[Panel]:
    """One panel per row of the table.

    Raises:
        UserError: a file is missing or unreadable, or the table lacks a column.
    """
    columns = read_table(table)
    if missing := {"image", "spectrum", "z"} - columns.keys():
        raise UserError(f"{table}: no column {', '.join(sorted(missing))}")
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return [_panel(folder, table.parent, row, survey) for row in rows]


def _panel(folder: Path, beside: Path, row: dict, survey: Survey) -> Panel:
    name = file_stem(Path(row["image"]).stem)
    generated = read_spectrum(folder / "spectra" / f"{name}.fits")
    (picture,) = read_picture(beside / row["image"])
    cutout_format = CutoutFormat(survey.bands, survey.pixel_scale_arcsec, survey.image_size)
    observed = read_spec_file(beside / row["spectrum"])
    prepared = prepare_spectrum(
        observed.wavelength_angstrom,
        observed.flux,
        observed.ivar,
        observed.and_mask,
        grid=survey.grid,
        preparation=survey.preparation,
    )
    wavelength = generated.wavelength_angstrom
    return Panel(
        title=f"z = {float(row['z']):.3f}",
        image=cutout_format.convert(picture)[0],
        bands=survey.bands,
        wavelength_angstrom=wavelength,
        candidates=generated.candidates[:1],
        mean=generated.mean,
        sigma=generated.sigma,
        truth=np.interp(wavelength, survey.grid.angstrom, prepared.flux),
        redshift=float(row["z"]),
    )


@styled
def draw(panels: list[Panel]) -> Figure:
    """All pairs on one page, with the lines marked at the observed redshifts."""
    rows = -(-len(panels) // COLUMNS)
    figure = new_figure(1.25 * rows + 0.6)
    grid = figure.subplots(rows, 2 * COLUMNS, width_ratios=(1, 2.4) * COLUMNS, squeeze=False)
    places = grid.reshape(rows * COLUMNS, 2)
    for number, ((cutout, spectrum), panel) in enumerate(zip(places, panels, strict=False)):
        draw_cutout(cutout, panel.image, panel.bands)
        cutout.set_title(panel.title, loc="left", fontsize=6, pad=2)
        draw_spectra(spectrum, panel, apart=True)
        mark_lines(spectrum, panel, SHORT_MARKS)
        if number + COLUMNS < len(panels):
            spectrum.tick_params(labelbottom=False)
    for axes in places[len(panels) :].flat:
        axes.set_axis_off()
    figure.supxlabel(WAVELENGTH_LABEL, fontsize=8)
    figure.supylabel(NORMALISED_LABEL, fontsize=8)
    figure.legend(*legend_entries(places[: len(panels), 1]), loc="outside upper right", ncols=4)
    return figure


def report(panels: list[Panel], survey: Survey) -> str:
    """Squared errors of the candidates' mean and the mean training spectrum, by galaxy."""
    training = survey.read("spectra", survey.indices("train")).mean(axis=0, dtype=np.float64)
    lines = [f"{'z':>7}{'mean':>9}{'constant':>10}   squared errors"]
    errors = []
    for panel in panels:
        constant = np.interp(panel.wavelength_angstrom, survey.grid.angstrom, training)
        errors.append([np.mean((p - panel.truth) ** 2) for p in (panel.mean, constant)])
        lines.append(f"{panel.redshift:7.3f}{errors[-1][0]:9.4f}{errors[-1][1]:10.4f}")
    mean = np.mean(errors, axis=0)
    return "\n".join([*lines, f"{'all':>7}{mean[0]:9.4f}{mean[1]:10.4f}"])
