"""Joining spectra and images of the same galaxies into a survey file."""

from __future__ import annotations

import argparse
import csv
import multiprocessing
import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from multiprocessing.pool import Pool
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from datasets.cutouts.conversion import CutoutFormat
from datasets.cutouts.formats import PICTURE_UNIT
from datasets.sdss.sources import (
    SPECTRUM_COLUMNS,
    Choice,
    ImageSource,
    SpectraSource,
    observation,
    open_images,
    open_spectra,
)
from datasets.spectra import METHOD_GRID, NATIVE_GRID, Preparation, PreparedSpectrum
from datasets.survey import Survey
from datasets.survey_writer import SurveyWriter
from datasets.tables import CatalogueError, match_identifiers, read_catalogue

PREPARATIONS = {
    "median": (METHOD_GRID, Preparation()),
    "original": (METHOD_GRID, Preparation.original()),
    "native": (NATIVE_GRID, Preparation("minmax", (3800.0, 9000.0), 0.0)),
}
BLOCK_GALAXIES = 64  # prepared and held at a time


class Pair(NamedTuple):
    """A spectrum and the row of its image, and of the catalogue (−1 without one)."""

    spectrum: int
    image: int
    identifier: int
    catalogue: int


class Galaxy(NamedTuple):
    image: np.ndarray  # (bands, 64, 64)
    columns: dict[str, int | float | str]
    prepared: PreparedSpectrum
    catalogue: int  # row of the catalogue


class Refusal(NamedTuple):
    source: str
    specobjid: int | str  # empty if unknown
    reason: str


def _open_catalogue(path: str | None) -> dict[str, np.ndarray]:
    """The catalogue by lower-case column; without columns if there is no file."""
    catalogue = read_catalogue(path) if path else {}
    if path and "specobjid" not in catalogue:
        raise CatalogueError(f"{path} has no column specObjID to join on")
    return catalogue


def _provenance(arguments: argparse.Namespace) -> dict:
    inputs = {name: getattr(arguments, name) for name in ("spectra", "images", "catalogue")}
    settings = {name: getattr(arguments, name) for name in ("z_range", "allow_warnings")}
    return {**{name: Path(value).name for name, value in inputs.items() if value}, **settings}


def _pair(
    spectra: SpectraSource,
    images: ImageSource,
    catalogue: dict[str, np.ndarray],
    refused: list[Refusal],
) -> list[Pair]:
    """Spectra with an image (and a line in the catalogue), in the order of the images."""
    refused += [Refusal(path, "", "not named as a spec file") for path in spectra.misnamed]
    rows = match_identifiers(spectra.observations, observation(images.identifiers))
    in_catalogue = match_identifiers(images.identifiers, catalogue.get("specobjid", np.empty(0)))
    pairs: list[Pair] = []
    for i in np.argsort(rows, kind="stable"):  # the cube is read once, front to back
        row = int(rows[i])
        if row < 0:
            refused.append(Refusal(spectra.name(i), "", "no image"))
            continue
        identifier = int(images.identifiers[row])
        if pairs and pairs[-1].image == row:
            refused.append(Refusal(spectra.name(i), identifier, "a second file of one observation"))
        elif catalogue and in_catalogue[row] < 0:
            refused.append(Refusal(spectra.name(i), identifier, "not in the catalogue"))
        else:
            pairs.append(Pair(int(i), row, identifier, int(in_catalogue[row])))
    return pairs


def _galaxies(
    pairs: list[Pair],
    spectra: SpectraSource,
    images: ImageSource,
    choice: Choice,
    pool: Pool | None,
    refused: list[Refusal],
) -> Iterator[list[Galaxy]]:
    """Blocks of galaxies that are wanted and whole."""
    pixels = images.read(np.array([pair.image for pair in pairs]))
    with tqdm(total=len(pairs), unit="galaxy", disable=None) as progress:
        for start in range(0, len(pairs), BLOCK_GALAXIES):
            block = pairs[start : start + BLOCK_GALAXIES]
            tasks = [(spectra[pair.spectrum], pair.identifier) for pair in block]
            prepared = pool.map(choice.prepare, tasks) if pool else map(choice.prepare, tasks)
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
        name: np.array([galaxy.columns[name] for galaxy in galaxies]) for name in SPECTRUM_COLUMNS
    }
    columns["identifier"] = columns.pop("specobjid").astype(np.uint64)
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


def _workers(count: int) -> AbstractContextManager[Pool | None]:
    return multiprocessing.get_context("spawn").Pool(count) if count > 1 else nullcontext()


def write_refusals(path: Path, refused: list[Refusal]) -> None:
    """List what was refused in a CSV file, and count the reasons on the terminal."""
    temporary = path.with_name(f".{path.name}.part")
    with open(temporary, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(Refusal._fields)
        table.writerows(refused)
    os.replace(temporary, path)
    for reason, count in Counter(one.reason.partition(":")[0] for one in refused).most_common():
        print(f"refused {count}: {reason} (see {path})", file=sys.stderr)


def build_survey(arguments: argparse.Namespace) -> int:
    bands = tuple(arguments.bands.split(","))
    target = CutoutFormat(
        bands, arguments.pixel_scale, input_pixel_scale_arcsec=arguments.input_pixel_scale
    )
    spectra = open_spectra(arguments.spectra)
    images = open_images(arguments.images, target)
    catalogue = _open_catalogue(arguments.catalogue)
    grid, preparation = PREPARATIONS[arguments.preparation]
    choice = Choice(grid, preparation, arguments.z_range, arguments.allow_warnings)
    writer = SurveyWriter(
        arguments.output,
        bands,
        arguments.pixel_scale,
        grid,
        preparation,
        image_unit=PICTURE_UNIT if target.takes_pictures else "nanomaggy",
        provenance=_provenance(arguments),
        seed=arguments.seed,
        fractions=tuple(arguments.fractions),
    )
    refused: list[Refusal] = []
    pairs = _pair(spectra, images, catalogue, refused)
    print(f"{len(pairs)} galaxies with spectrum and image", file=sys.stderr)
    try:
        with writer, _workers(arguments.workers) as pool:
            for galaxies in _galaxies(pairs, spectra, images, choice, pool, refused):
                _append(writer, galaxies, catalogue)
    finally:
        write_refusals(arguments.output.with_suffix(".refused.csv"), refused)
    print(Survey(arguments.output).describe())
    return 0
