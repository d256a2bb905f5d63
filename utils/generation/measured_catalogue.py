"""Measurements of the spectra in files as columns of a catalogue, one row per galaxy.

Spectra that generate.py wrote have several candidates: their columns are medians over the
candidates, with the scatter between them as errors (`measure_candidates`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from datasets.errors import UserError
from utils.generation.fits_output import FLUX_UNIT
from utils.generation.input_files import SpectrumBlock, join_blocks, read_blocks
from utils.spectroscopy.measurements import column_units, measure, measure_candidates


def measure_files(
    files: Sequence[Path], split: str | None, at_catalogue_redshift: bool, **options: Any
) -> tuple[dict[str, np.ndarray], dict[Path, str]]:
    """Measure all spectra of files.

    Args:
        files: of any kind that `input_files` reads.
        split: of survey files, or None for all.
        at_catalogue_redshift: take the redshifts in the files instead of fitting them.
        options: of `utils.spectroscopy.measurements.measure`.

    Returns:
        The columns by name, (N,) each, empty if no file can be read; and the files that cannot,
        with the reason.
    """
    skipped: dict[Path, str] = {}
    blocks = [
        _columns(block, at_catalogue_redshift, options)
        for block in join_blocks(_readable(files, split, skipped))
    ]
    names = blocks[0] if blocks else ()
    return {name: np.concatenate([block[name] for block in blocks]) for name in names}, skipped


def units(populations: bool) -> dict[str, str]:
    """Unit of every measured column; with those of the population fit if `populations`."""
    return column_units(FLUX_UNIT, populations) | {"bpt_share": ""}


def _readable(
    files: Sequence[Path], split: str | None, skipped: dict[Path, str]
) -> Iterator[SpectrumBlock]:
    for path in tqdm(files, desc="files", disable=None):
        try:
            yield from read_blocks(path, split)
        except UserError as error:
            skipped[path] = str(error)


def _columns(
    block: SpectrumBlock, at_catalogue_redshift: bool, options: dict[str, Any]
) -> dict[str, np.ndarray]:
    """Line fluxes of spectra without an absolute scale are NaN."""
    redshift = block.catalogue_redshift if at_catalogue_redshift else None
    options = options | {"smoothing_sigma_angstrom": block.smoothing_sigma_angstrom}
    if block.flux.ndim == 3:
        measured = measure_candidates(block.wavelength_angstrom, block.flux, redshift, **options)
    else:
        measured = measure(
            block.wavelength_angstrom, block.flux, block.sigma, redshift, **options
        ) | {"bpt_share": np.ones(len(block.names))}
    if not block.physical:
        measured |= {n: np.full_like(v, np.nan) for n, v in measured.items() if "_flux" in n}
    columns = {
        "source": np.array(block.names),
        "identifier": block.identifier,
        "z_catalogue": block.catalogue_redshift,
    }
    return columns | {name: measured[name] for name in units(options["library"] is not None)}
