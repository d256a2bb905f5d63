"""Joining spectra and images of the same galaxies into a survey file."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import nullcontext
from itertools import groupby, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from datasets.atomic_files import write_csv
from datasets.constants import SDSS_BANDS, SDSS_PIXEL_ARCSEC
from datasets.cutouts.conversion import CutoutFormat
from datasets.cutouts.formats import PICTURE_UNIT
from datasets.identifiers import match_identifiers
from datasets.process_pool import process_pool
from datasets.sdss.sources import (
    SPECTRUM_COLUMNS,
    ImageSource,
    SelectionCuts,
    SpectraSource,
    observation,
    open_images,
    open_spectra,
)
from datasets.spectra import PREPARATIONS, PreparedSpectrum
from datasets.survey import Survey
from datasets.survey_writer import SurveyWriter
from datasets.tables import read_catalogue

BLOCK_GALAXIES = 64  # prepared and held at a time
TASK_GALAXIES = 4  # of these, handed to a process at a time
NAMED = 3  # of those that are refused for one reason, on the terminal


class Pair(NamedTuple):
    """A spectrum and the row of its image, and of the catalogue (−1 without one)."""

    spectrum: int
    image: int
    identifier: int
    catalogue: int


class Galaxy(NamedTuple):
    """A galaxy as the survey file takes it."""

    image: np.ndarray  # (bands, 64, 64)
    columns: dict[str, int | float | str]
    prepared: PreparedSpectrum
    catalogue: int  # row of the catalogue


class Refusal(NamedTuple):
    """A galaxy that is not in the survey file, and why."""

    source: str
    specobjid: int | str  # empty if unknown
    reason: str


def build_survey(
    output: Path,
    spectra: str,
    images: str,
    catalogue: str | None = None,
    *,
    bands: Sequence[str] = SDSS_BANDS,
    pixel_scale_arcsec: float = SDSS_PIXEL_ARCSEC,
    input_pixel_scale_arcsec: float | None = None,
    input_unit: tuple[str, ...] | None = None,
    z_range: tuple[float, float] | None = None,
    allow_warnings: bool = False,
    preparation: str = "median",
    fractions: tuple[float, float] = (0.05, 0.10),
    seed: int = 1,
    workers: int = 1,
) -> Survey:
    """Write a survey file, and OUTPUT.refused.csv with the refused galaxies and the reasons.

    Args:
        output: The survey file; an existing one is not overwritten.
        spectra: Folder or glob of spec files, or HDF5 collection.
        images: DeepDIP cube, folder of cutouts named by specObjID, or file of many.
        catalogue: Table with specObjID; its columns are kept but for those of the spectra, and sn
            replaces the measured one. Galaxies outside it are refused.
        bands, pixel_scale_arcsec: Of the survey's images of 64 × 64 px.
        input_pixel_scale_arcsec, input_unit: Of the files, where their headers lack them.
        z_range, allow_warnings: See `SelectionCuts`.
        preparation: Name in `datasets.spectra.PREPARATIONS`.
        fractions, seed: Of the splits, see `datasets.splits`.
        workers: Processes that read and prepare spectra.

    Raises:
        UserError: an input cannot be used, no galaxy is left, or a process was killed.
    """
    target = CutoutFormat(
        tuple(bands),
        pixel_scale_arcsec,
        input_pixel_scale_arcsec=input_pixel_scale_arcsec,
        input_unit=input_unit,
        assume=False,
    )
    sources = open_spectra(spectra), open_images(images, target)
    table = _catalogue(catalogue) if catalogue else {}
    grid, recipe = PREPARATIONS[preparation]
    inputs = {"spectra": spectra, "images": images, "catalogue": catalogue}
    provenance = {name: Path(value).name for name, value in inputs.items() if value}
    writer = SurveyWriter(
        output,
        target.bands,
        pixel_scale_arcsec,
        grid,
        recipe,
        image_unit=PICTURE_UNIT if target.takes_pictures else "nanomaggy",
        provenance={**provenance, "z_range": z_range, "allow_warnings": allow_warnings},
        seed=seed,
        fractions=fractions,
    )
    cuts = SelectionCuts(grid, recipe, z_range, allow_warnings)
    refused: list[Refusal] = []
    pairs = _pair(*sources, table, refused)
    print(f"{len(pairs)} galaxies with spectrum and image", file=sys.stderr)
    try:
        with writer, process_pool(workers) if workers > 1 else nullcontext() as pool:
            for galaxies in _galaxies(pairs, *sources, cuts, pool, refused):
                _append(writer, galaxies, table)
            writer.add_provenance(remarks=dict(sources[1].remarks))
    finally:
        write_refusals(output.with_suffix(".refused.csv"), refused)
    for remark, count in sources[1].remarks.most_common():
        print(f"of {count} images: {remark}", file=sys.stderr)
    return Survey(output)


def _catalogue(path: str | Path) -> dict[str, np.ndarray]:
    """The table, with remarks about what of it is not taken, or is taken for something measured."""
    table = read_catalogue(path)
    known = table["specobjid"][table["specobjid"] > 0]
    again = len(known) - len(np.unique(known))
    others = [name for name in SPECTRUM_COLUMNS if name in table and name != "specobjid"]
    if again:
        print(f"{path}: rows that repeat a specObjID are left out: {again}", file=sys.stderr)
    if others:
        print(
            f"{path}: {', '.join(others)}: left out, the survey has those of the spectra",
            file=sys.stderr,
        )
    if "sn" in table:
        print(f"{path}: sn replaces the S/N measured in the spectra", file=sys.stderr)
    return table


def _pair(
    spectra: SpectraSource,
    images: ImageSource,
    catalogue: dict[str, np.ndarray],
    refused: list[Refusal],
) -> list[Pair]:
    """Spectra with an image (and a row in the catalogue), in the order of the images."""
    refused += [Refusal(path, "", why) for path, why in (*spectra.misnamed, *images.refused)]
    observed = observation(images.identifiers)
    rows = match_identifiers(spectra.observations, observed)
    partners = match_identifiers(observed, spectra.observations)
    for row in np.setdiff1d(np.arange(len(observed)), rows).tolist():
        why = "no spectrum" if partners[row] < 0 else "a second image of one observation"
        refused.append(Refusal(images.name(row), int(images.identifiers[row]), why))
    in_catalogue = match_identifiers(images.identifiers, catalogue.get("specobjid", np.empty(0)))
    pairs: list[Pair] = []
    order = np.argsort(rows, kind="stable")  # the cube is read once, front to back
    for row, group in groupby(order.tolist(), key=rows.tolist().__getitem__):
        if row < 0:
            refused += [Refusal(spectra.name(i), "", "no image") for i in group]
            continue
        identifier = int(images.identifiers[row])
        chosen, *others = files = list(group)
        if others:
            chosen = next((i for i in files if spectra.identifier(i) == identifier), chosen)
        second = "a second file of one observation"
        refused += [Refusal(spectra.name(i), identifier, second) for i in files if i != chosen]
        if catalogue and in_catalogue[row] < 0:
            refused.append(Refusal(spectra.name(chosen), identifier, "not in the catalogue"))
        else:
            pairs.append(Pair(chosen, row, identifier, int(in_catalogue[row])))
    return pairs


def _galaxies(
    pairs: list[Pair],
    spectra: SpectraSource,
    images: ImageSource,
    cuts: SelectionCuts,
    pool: Executor | None,
    refused: list[Refusal],
) -> Iterator[list[Galaxy]]:
    """Blocks of galaxies that pass the cuts and whose image and spectrum can be used."""
    pixels = images.read(np.array([pair.image for pair in pairs]))
    with tqdm(total=len(pairs), unit="galaxy", disable=None) as progress:
        for start in range(0, len(pairs), BLOCK_GALAXIES):
            block = pairs[start : start + BLOCK_GALAXIES]
            tasks = [(spectra[pair.spectrum], pair.identifier) for pair in block]
            work = cuts.prepare, tasks
            prepared = pool.map(*work, chunksize=TASK_GALAXIES) if pool else map(*work)
            galaxies = []
            blocks = (block, prepared, islice(pixels, len(block)))
            for pair, spectrum, image in zip(*blocks, strict=True):
                reason = next((x for x in (spectrum, image) if isinstance(x, str)), None)
                if reason:
                    refused.append(Refusal(spectra.name(pair.spectrum), pair.identifier, reason))
                else:
                    galaxies.append(Galaxy(image, *spectrum, pair.catalogue))
            if galaxies:
                yield galaxies
            progress.update(len(block))


def _append(writer: SurveyWriter, galaxies: list[Galaxy], catalogue: dict[str, np.ndarray]) -> None:
    prepared = [galaxy.prepared for galaxy in galaxies]
    columns = {
        name: np.array([galaxy.columns[name] for galaxy in galaxies])
        for name in SPECTRUM_COLUMNS
        if name != "specobjid"
    }
    identifiers = [galaxy.columns["specobjid"] for galaxy in galaxies]
    columns["identifier"] = np.array(identifiers, dtype=np.uint64)  # mixed sizes: not by default
    columns["flux_offset"] = np.array([one.offset for one in prepared])
    rows = [galaxy.catalogue for galaxy in galaxies]
    kept = {name: values[rows] for name, values in catalogue.items() if name != "specobjid"}
    writer.append(
        np.stack([galaxy.image for galaxy in galaxies]),
        np.stack([one.flux for one in prepared]),
        {"sn": np.array([galaxy.columns["sn"] for galaxy in galaxies])} | kept | columns,
        np.array([one.normalisation for one in prepared]),
        np.stack([one.interpolated for one in prepared]),
    )


def write_refusals(path: Path, refused: list[Refusal]) -> None:
    """List refusals in a CSV file, and count their reasons, with the first of each, on the
    terminal."""
    write_csv(path, Refusal._fields, refused)
    sources: dict[str, list[str]] = defaultdict(list)
    for one in refused:
        sources[_kind(one.reason)].append(Path(one.source).name)
    for reason, names in sorted(sources.items(), key=lambda item: -len(item[1])):
        first = ", ".join(names[:NAMED]) + (", …" if len(names) > NAMED else "")
        print(f"refused {len(names)}: {reason}: {first} (see {path})", file=sys.stderr)


def _kind(reason: str) -> str:
    """A reason without what differs from galaxy to galaxy."""
    parts = reason.split(": ")
    return ": ".join(parts[: 2 if parts[0] == "image" else 1])
