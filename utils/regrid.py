"""Rewrite a survey file with its spectra on a logarithmic wavelength grid.

    python -m utils.regrid IN.h5 OUT.h5

The grid has the same first and last wavelength and as many pixels; on it a redshift is a
translation. Prepared spectra are smoothed with σ = 2 Å, more than the largest pixel of either grid,
so that a cubic spline carries signal and noise over unchanged. Fluxes keep their normalisation;
galaxies, splits and everything else stay as they are.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from pathlib import Path

import h5py
import numpy as np
from scipy.interpolate import CubicSpline

from datasets.spectra import WavelengthGrid
from datasets.survey import Survey

BLOCK_ROWS = 256


def logarithmic(grid: WavelengthGrid) -> WavelengthGrid:
    """The log10 grid with the ends and the number of pixels of `grid`."""
    first, last = np.log10(grid.angstrom[[0, -1]])
    return WavelengthGrid(float(first), float(last - first) / (grid.count - 1), grid.count, "log10")


def regrid(source: Path, target: Path) -> None:
    """Write `target`, a copy of `source` on its `logarithmic` grid.

    Raises:
        FileExistsError: `target` exists.
    """
    if target.exists():
        raise FileExistsError(f"{target} exists: choose another name or remove it first")
    survey = Survey(source)
    old, new = survey.grid, logarithmic(survey.grid)
    position = np.interp(new.angstrom, old.angstrom, np.arange(old.count))  # in old pixels
    position[[0, -1]] = 0, old.count - 1
    partial = target.with_name(f".{target.name}.partial")
    shutil.copyfile(source, partial)
    try:
        with h5py.File(partial, "r+") as file:
            settings = json.loads(file.attrs["settings"])
            settings["grid"] = new.to_dict()
            settings["provenance"] = {
                "kind": f"{settings['provenance'].get('kind', 'survey')}, on another grid",
                "source": source.name,
                "grid": old.to_dict(),
                "provenance": settings["provenance"],
            }
            file.attrs["settings"] = json.dumps(settings)
            file["wavelength_angstrom"][:] = new.angstrom
            for name in ("spectra", "truth/noiseless"):
                if name in file:
                    _resample(file[name], position)
            _spread(file["interpolated"], position)
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def _resample(dataset: h5py.Dataset, position: np.ndarray) -> None:
    """Spectra (N, P) at the positions (P,), in pixels, by a cubic spline, in place."""
    pixels = np.arange(dataset.shape[1])
    for start in range(0, len(dataset), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        dataset[rows] = CubicSpline(pixels, dataset[rows], axis=1)(position)


def _spread(dataset: h5py.Dataset, position: np.ndarray) -> None:
    """Mark the pixels (N, P) of which one of the two old neighbours was marked, in place."""
    lower, upper = np.floor(position).astype(int), np.ceil(position).astype(int)
    for start in range(0, len(dataset), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        old = dataset[rows]
        dataset[rows] = old[:, lower] | old[:, upper]


def main(argv: list[str] | None = None) -> int:
    """Parse, rewrite; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m utils.regrid",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", type=Path, help="survey file on any grid")
    parser.add_argument("target", type=Path, help="survey file to write, on a logarithmic grid")
    options = parser.parse_args(argv)
    regrid(options.source, options.target)
    print(Survey(options.target).describe())
    return 0


if __name__ == "__main__":
    sys.exit(main())
