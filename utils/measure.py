"""Measure galaxy spectra and write a catalogue.

    python -m utils.measure runs/generated/spectra --output catalogue.fits
    python -m utils.measure spec-*.fits --output catalogue.fits --ssp data/mastar
    python -m utils.measure survey.h5 --split test --redshift catalogue --output catalogue.fits

SPECTRA are files that generate.py wrote, SDSS spec files, survey files, HDF5 collections, or
folders of them. The catalogue has one row per galaxy: its redshift, Dn4000, all Lick indices,
fluxes and equivalent widths of the emission lines, the BPT class and, with --ssp, σ★, age,
metallicity and E(B−V), everything with errors and units. Of a generated spectrum all candidates are
measured: values are medians, errors the scatter between them.

Files that cannot be read are listed and skipped; the exit status is then 1.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from datasets.command_parser import CommandParser
from datasets.errors import UserError, run_command
from datasets.processors import usable_cores
from utils.spectroscopy.wavelength import DEFAULT_REDSHIFT_RANGE


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    return run_command(_measure, _parser().parse_args(argv))


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(__doc__, "python -m utils.measure")
    parser.add_argument("spectra", nargs="+", metavar="SPECTRA", help="files or folders")
    parser.add_argument("--output", required=True, type=Path, help="FITS catalogue to write")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing catalogue")
    parser.add_argument(
        "--redshift",
        choices=("fit", "catalogue"),
        default="fit",
        help="fit it to the spectrum, or take the one in the file (default: fit)",
    )
    parser.add_argument(
        "--redshift-range",
        nargs=2,
        type=float,
        default=DEFAULT_REDSHIFT_RANGE,
        metavar=("LOW", "HIGH"),
        help="searched by the fit (default: %(default)s)",
    )
    parser.add_argument(
        "--ssp",
        type=Path,
        metavar="FOLDER",
        help="library of stellar populations (MaStar, E-MILES or BC03 files): adds the population "
        "fit and a better continuum",
    )
    parser.add_argument(
        "--engine",
        choices=("nnls", "ppxf"),
        default="nnls",
        help="of the population fit; ppxf must be installed (default: nnls)",
    )
    parser.add_argument(
        "--split", choices=("train", "validation", "test"), help="of survey files (default: all)"
    )
    parser.add_argument(
        "--workers", type=int, default=usable_cores(), help="threads (default: %(default)s)"
    )
    return parser


def _measure(options: argparse.Namespace) -> int:
    # after the arguments are parsed: these take seconds to import
    from utils.generation.catalogue_output import write_catalogue
    from utils.generation.input_files import find_files
    from utils.generation.measured_catalogue import measure_files, units
    from utils.spectroscopy.ppxf_engine import load_ppxf
    from utils.spectroscopy.ssp_library import read_library

    if options.output.exists() and not options.overwrite:
        raise UserError(f"{options.output} exists; add --overwrite to replace it")
    files = find_files(options.spectra)
    if options.engine == "ppxf":
        load_ppxf()
    columns, skipped = measure_files(
        files,
        options.split,
        options.redshift == "catalogue",
        redshift_range=tuple(options.redshift_range),
        library=options.ssp and read_library(options.ssp),
        engine=options.engine,
        workers=options.workers,
        progress=sys.stderr.isatty(),
    )
    for path, reason in skipped.items():
        print(f"skipped {path}: {reason}", file=sys.stderr)
    if options.redshift == "catalogue" and columns:
        _check_redshifts(columns["source"], columns["z_catalogue"])
    if columns:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        write_catalogue(options.output, columns, units(options.ssp is not None))
        print(f"{len(columns['z'])} galaxies in {options.output}")
    return int(bool(skipped) or not columns)


def _check_redshifts(sources: np.ndarray, redshift: np.ndarray) -> None:
    """Warn of spectra (N,) without redshift.

    Raises:
        UserError: none has one.
    """
    without = sources[~np.isfinite(redshift)]
    if not len(without):
        return
    more = f", and {len(without) - 1} more of {len(sources)} spectra" if len(without) > 1 else ""
    why = f"{without[0]}{more}: no redshift in the file"
    remedy = "leave out --redshift catalogue to fit it"
    if len(without) == len(sources):
        raise UserError(f"{why}; {remedy}")
    print(f"warning: {why}, all measurements are NaN; {remedy}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
