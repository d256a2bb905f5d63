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
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table, vstack
from tqdm import tqdm

from datasets.survey import Survey
from utils.generation.fits_output import FLUX_UNIT
from utils.generation.input_files import (
    READ_ERRORS,
    SpectrumBlock,
    find_files,
    join_blocks,
    read_blocks,
)
from utils.spectroscopy import (
    SspLibrary,
    Templates,
    column_units,
    measure,
    measure_candidates,
    read_library,
)
from utils.spectroscopy.measurements import DEFAULT_REDSHIFT_RANGE
from utils.spectroscopy.ppxf_engine import load_ppxf

TEMPLATE_SPECTRA = 5000


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """The command line; SystemExit (status 2) for one that cannot be."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
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
        "--templates",
        type=Path,
        metavar="SURVEY",
        help="fit redshifts with the principal components of this survey's training split "
        "(default: kcorrect's templates and emission lines)",
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
        "--workers", type=int, default=os.cpu_count(), help="threads (default: %(default)s)"
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    options = parse_arguments(argv)
    if options.output.exists() and not options.overwrite:
        print(f"{options.output} exists; add --overwrite to replace it", file=sys.stderr)
        return 1
    try:
        if options.engine == "ppxf":
            load_ppxf()
        library = None if options.ssp is None else read_library(options.ssp)
        templates = None if options.templates is None else _survey_templates(options.templates)
        files = find_files(options.spectra)
    except (ImportError, *READ_ERRORS) as error:
        print(error, file=sys.stderr)
        return 1
    skipped: dict[Path, str] = {}
    blocks = join_blocks(_readable(files, options.split, skipped))
    tables = [_measure_block(block, options, library, templates) for block in blocks]
    if tables:
        _write(vstack(tables, metadata_conflicts="silent"), options.output)
        print(f"{sum(map(len, tables))} galaxies in {options.output}")
    for path, reason in skipped.items():
        print(f"skipped {path}: {reason}", file=sys.stderr)
    if not files:
        print("no spectra found", file=sys.stderr)
    return int(bool(skipped) or not tables)


def _survey_templates(path: Path) -> Templates:
    survey = Survey(path)
    rows = survey.indices("train")[:TEMPLATE_SPECTRA]
    spectra = survey.read("spectra", rows)
    return Templates.from_spectra(survey.grid.angstrom, spectra, None, survey.catalogue["z"][rows])


def _readable(
    files: list[Path], split: str | None, skipped: dict[Path, str]
) -> Iterator[SpectrumBlock]:
    """Blocks of all files that can be read; the others are noted with the reason."""
    for path in tqdm(files, desc="files", disable=None):
        try:
            yield from read_blocks(path, split)
        except READ_ERRORS as error:
            skipped[path] = " ".join(str(error).split())


def _measure_block(
    block: SpectrumBlock,
    options: argparse.Namespace,
    library: SspLibrary | None,
    templates: Templates | None,
) -> Table:
    settings = {
        "templates": templates,
        "redshift_range": tuple(options.redshift_range),
        "library": library,
        "engine": options.engine,
        "smoothing_sigma_angstrom": block.smoothing_sigma_angstrom,
        "workers": options.workers,
        "progress": sys.stderr.isatty(),
    }
    known = block.known_redshift if options.redshift == "catalogue" else None
    if block.flux.ndim == 3:
        columns = measure_candidates(block.wavelength_angstrom, block.flux, known, **settings)
    else:
        columns = measure(block.wavelength_angstrom, block.flux, block.sigma, known, **settings)
    return _table(block, columns, populations=library is not None)


def _table(block: SpectrumBlock, columns: dict[str, np.ndarray], populations: bool) -> Table:
    """Columns with units; line fluxes of spectra without an absolute scale are NaN."""
    table = Table()
    table["source"] = np.array(block.names)
    table["identifier"] = block.identifier
    table["z_catalogue"] = block.known_redshift
    units = column_units(FLUX_UNIT, populations) | {"bpt_share": ""}
    for name in units:
        values = columns.get(name, np.ones(len(table)))  # bpt_share of a single spectrum
        if not block.physical and "_flux" in name:
            values = np.full(len(table), np.nan)
        table[name] = values
        table[name].unit = units[name] or None
    return table


def _write(table: Table, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.partial")
    hdu = fits.table_to_hdu(table)
    hdu.name = "CATALOGUE"
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(temporary, overwrite=True)
    os.replace(temporary, path)


if __name__ == "__main__":
    sys.exit(main())
