"""Generated spectra beside the true ones.

    python -m figures.generated demo/spectra --survey demo/survey.h5 --output demo/generated.png

Reads the spectra that `generate.py` wrote and finds image and true spectrum of each galaxy in the
survey by its identifier.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from datasets.command_parser import CommandParser
from datasets.errors import UserError, run_command

if TYPE_CHECKING:
    from datasets.survey import Survey
    from utils.plotting.spectrum_panel import Panel


def main(argv: list[str] | None = None) -> int:
    """Parse, plot, write; returns the exit status."""
    parser = CommandParser(__doc__, "python -m figures.generated")
    parser.add_argument("spectra", help="output folder of generate.py")
    parser.add_argument("--survey", required=True, help="survey file with the galaxies")
    parser.add_argument("--output", required=True, help="picture: .png, .pdf or .svg")
    parser.add_argument("--count", type=int, default=8, help="galaxies to show (%(default)s)")
    return run_command(_write_figure, parser.parse_args(argv))


def _write_figure(options: argparse.Namespace) -> int:
    # after the arguments are parsed: these take seconds to import
    from datasets.survey import Survey
    from utils.plotting.plots import contact_sheets, save_figure

    panels = panels_of(Path(options.spectra), Survey(options.survey), options.count)
    if not panels:
        raise UserError(
            f"{options.spectra}: holds no spectrum of a galaxy of {options.survey}; name the "
            "survey that the cutouts are from"
        )
    (figure,) = contact_sheets(panels, rows=-(-len(panels) // 2))
    save_figure(figure, options.output)
    return 0


def panels_of(folder: Path, survey: Survey, count: int) -> list[Panel]:
    """The first `count` generated galaxies that are in the survey, with their true spectra."""
    import numpy as np

    from utils.generation.fits_output import read_spectrum
    from utils.plotting.spectrum_panel import Panel

    row_of = {int(number): row for row, number in enumerate(survey.catalogue["identifier"])}
    panels = []
    for path in sorted((folder / "spectra").glob("*.fits")):
        if len(panels) == count:
            break
        spectrum = read_spectrum(path)
        if spectrum.identifier not in row_of:
            continue
        row = np.array([row_of[spectrum.identifier]])
        truth = np.interp(
            spectrum.wavelength_angstrom, survey.grid.angstrom, survey.read("spectra", row)[0]
        )
        panels.append(
            Panel(
                title=f"{spectrum.name}   z = {survey.catalogue['z'][row[0]]:.3f}",
                image=survey.read("images", row)[0],
                bands=survey.bands,
                wavelength_angstrom=spectrum.wavelength_angstrom,
                candidates=spectrum.candidates[:1],
                mean=spectrum.mean,
                sigma=spectrum.sigma,
                truth=truth,
                pixel_scale_arcsec=survey.pixel_scale_arcsec,
            )
        )
    return panels


if __name__ == "__main__":
    sys.exit(main())
