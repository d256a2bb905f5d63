"""The catalogue of generated spectra, one row per galaxy: origin, colours and measurements.

Measured columns (`utils.spectroscopy`) are medians over the candidates of a galaxy, with their
scatter as uncertainty. `image_p_value` is the share of images like the training's that are at least
as unusual as the cutout; `image_flag` is set where that is too few (`models.novelty`). `delta_gr`
and `delta_ri` are the colours of the best candidate minus those of the cutout
(`utils.generation.ranking`); `colour_flag` is set where either exceeds `COLOUR_LIMIT_MAG`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from astropy import units
from astropy.io import fits
from astropy.table import Table
from tqdm import tqdm

from datasets.photometry import COLOUR_NAMES
from datasets.processors import usable_cores
from utils.generation.column_meanings import add_meanings
from utils.generation.fits_output import FLUX_UNIT, ascii_text, read_spectrum, write_hdus
from utils.generation.generated_spectrum import BLOCK, GeneratedSpectrum
from utils.spectroscopy.measurements import column_units, measure_candidates, median_and_scatter

CATALOGUE_UNITS = {
    "ra": "deg",
    "dec": "deg",
    "flux_scale": FLUX_UNIT,
    **dict.fromkeys(COLOUR_NAMES, "mag"),
}
COLOUR_LIMIT_MAG = 0.1  # above it the colours of spectrum and cutout disagree


def write_generated_catalogue(
    path: Path,
    spectra: Sequence[Path],
    rows: Sequence[Mapping[str, np.ndarray]] = (),
    measured: bool = True,
) -> dict[str, np.ndarray]:
    """Write the catalogue of spectrum files that `generate.py` wrote with one network.

    Args:
        path: of the catalogue.
        spectra: the files, at least one, in the order of the rows.
        rows: of some of them, from `catalogue_columns`; the other files are read.
        measured: add the columns that are measured on the spectra.

    Returns:
        The columns.
    """
    known = {file for block in rows for file in block["file"]}
    files = [f"spectra/{file.name}" for file in spectra]
    others = [one for one in zip(spectra, files, strict=True) if one[1] not in known]
    shown = tqdm(others, desc="catalogue", unit="galaxy", disable=None if others else True)
    read = ((read_spectrum(one), file) for one, file in shown)
    blocks = [*rows, catalogue_columns(read, measured, usable_cores())] if others else rows
    columns = {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
    place = {file: row for row, file in enumerate(columns["file"])}
    order = [place[file] for file in files]
    columns = {name: values[order] for name, values in columns.items()}
    write_catalogue(path, columns, catalogue_units(measured))
    return columns


def catalogue_columns(
    spectra: Iterable[tuple[GeneratedSpectrum, str]], measured: bool, threads: int = 1
) -> dict[str, np.ndarray]:
    """The catalogue's columns of spectra of one network.

    Args:
        spectra: each with the name of its file.
        measured: add the columns that are measured on the spectra.
        threads: that measure.
    """
    blocks, spectra = [], iter(spectra)
    while block := list(islice(spectra, BLOCK)):
        rows = [catalogue_row(spectrum, file) for spectrum, file in block]
        columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
        own = measured_columns([one for one, _ in block], threads) if measured else {}
        blocks.append(columns | own)
    return {name: np.concatenate([b[name] for b in blocks]) for name in (blocks or [{}])[0]}


def catalogue_units(measured: bool) -> dict[str, str]:
    """The units of the measured columns, by name."""
    return column_units(FLUX_UNIT) if measured else {}


def catalogue_row(spectrum: GeneratedSpectrum, file: str) -> dict:
    """The columns of one spectrum, in the file of that name, that need no measurement."""
    colours = np.array(spectrum.colours) - np.array(spectrum.image_colours)
    sampled = np.full(1, np.nan) if spectrum.redshifts is None else spectrum.redshifts
    redshift, scatter = np.round(median_and_scatter(sampled[None]), 7)  # digits of float32
    return {
        "name": spectrum.name,
        "identifier": np.uint64(spectrum.identifier),  # in one type: mixed ones become floats
        "ra": spectrum.ra,
        "dec": spectrum.dec,
        "redshift": spectrum.redshift,
        "file": file,
        "source": spectrum.source,
        "redshift_sampled": redshift[0],
        "redshift_sampled_err": scatter[0],
        "sampled": spectrum.provenance.sampled,
        "kept": len(spectrum.candidates),
        "best_candidate": int(spectrum.numbers[0]),
        "best_score": float(spectrum.scores[0]),
        "median_sigma": float(np.median(spectrum.sigma)),
        "flux_scale": np.nan if spectrum.scale is None else spectrum.scale,
        "image_p_value": spectrum.image_p_value,
        "image_flag": spectrum.image_flag,
        **dict(zip(COLOUR_NAMES, colours, strict=True)),
        "assumptions": "; ".join(spectrum.assumptions),
        "colour_flag": bool(np.any(np.abs(colours) > COLOUR_LIMIT_MAG)),
    }


def measured_columns(
    spectra: Sequence[GeneratedSpectrum], threads: int = 1
) -> dict[str, np.ndarray]:
    """The columns of `measure_candidates` for the kept candidates, (N,) each.

    Line fluxes are in physical units, NaN where the absolute scale is unknown.
    """
    wavelength = spectra[0].wavelength_angstrom
    flux = np.stack([spectrum.candidates for spectrum in spectra])
    columns = measure_candidates(wavelength, flux, workers=threads)
    scale = np.array([np.nan if s.scale is None else s.scale for s in spectra])
    return {
        name: values * scale if name.endswith(("_flux", "_flux_err")) else values
        for name, values in columns.items()
    }


def write_catalogue(
    path: str | Path,
    columns: Mapping[str, Sequence | np.ndarray],
    column_unit: Mapping[str, str] | None = None,
) -> None:
    """Write one row per galaxy as a FITS table, atomically.

    Identifiers stay exact: integers are written as signed 64-bit (`K`); a column with values from
    2^63 on as unsigned (`K` with TZERO), which astropy reads as uint64 and TOPCAT as text. Floats
    keep their precision; columns get the units of `CATALOGUE_UNITS` and of `column_unit`.
    """
    unit = CATALOGUE_UNITS | dict(column_unit or {})
    table = Table()
    for name, values in columns.items():
        table[name] = _catalogue_column(np.asarray(values))
        if unit.get(name):
            table[name].unit = units.Unit(unit[name])
    hdu = fits.table_to_hdu(table)
    hdu.name = "CATALOGUE"
    add_meanings(hdu)
    write_hdus(fits.HDUList([fits.PrimaryHDU(), hdu]), path)


def _catalogue_column(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind in "UO":
        return np.array([ascii_text(str(value)) for value in values], dtype=np.str_)
    if values.dtype.kind in "iu" and values.max(initial=0) <= np.iinfo(np.int64).max:
        return values.astype(np.int64)
    return values
