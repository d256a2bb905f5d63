"""Generated spectra beside the true ones.

    python -m figures.generated demo/spectra --survey demo/survey.h5 --output demo/generated.png

Reads the spectra that `generate.py` wrote and finds image and true spectrum of each galaxy in the
survey by its identifier.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from datasets.survey import Survey
from utils.generation.fits_output import read_spectrum
from utils.plotting.plots import contact_sheets, save_figure
from utils.plotting.spectrum_panel import Panel


def main(argv: list[str] | None = None) -> int:
    """Parse, draw, write; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m figures.generated",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("spectra", help="output folder of generate.py")
    parser.add_argument("--survey", required=True, help="survey file that knows the galaxies")
    parser.add_argument("--output", required=True, help="picture: .png, .pdf or .svg")
    parser.add_argument("--count", type=int, default=8, help="galaxies to show")
    options = parser.parse_args(argv)
    panels = panels_of(Path(options.spectra), Survey(options.survey), options.count)
    if not panels:
        print(f"error: no galaxy of {options.survey} in {options.spectra}", file=sys.stderr)
        return 1
    save_figure(draw(panels), options.output)
    return 0


def panels_of(folder: Path, survey: Survey, count: int) -> list[Panel]:
    """The first `count` generated galaxies that the survey knows, with their truth."""
    row_of = {int(number): row for row, number in enumerate(survey.catalogue["identifier"])}
    panels = []
    for path in sorted((folder / "spectra").glob("*.fits")):
        spectrum = read_spectrum(path)
        if spectrum.identifier not in row_of or len(panels) == count:
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


def draw(panels: list[Panel]) -> Figure:
    """All panels on one page."""
    (figure,) = contact_sheets(panels, rows=-(-len(panels) // 2))
    return figure


if __name__ == "__main__":
    sys.exit(main())
