"""The most similar galaxies of an index, as a table and as a picture."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from astropy.table import Table

from datasets.cutouts.reader import Cutout, CutoutReader
from datasets.errors import UserError
from datasets.survey import Survey
from utils.generation.embeddings import is_survey, nearest
from utils.generation.input_files import read_blocks
from utils.plotting.plots import Cell, plot_cells, save_figure

SHOWN_QUERIES, SHOWN_MATCHES = 8, 6  # of a picture


COLUMNS = ("kind", "name", "source", "row", "identifier", "ra", "dec", "redshift")  # of a match


def find_similar(
    index: Table,
    queries: Table,
    kind: str | None,
    count: int,
    approximate: Path | None = None,
) -> tuple[list[tuple], np.ndarray]:
    """The `count` most similar galaxies of each query; a galaxy does not find itself.

    Args:
        index: Where to search (`utils.generation.embeddings`).
        queries: Q galaxies.
        kind: `image` or `spectrum`: what to find; None for both.
        count: Matches of each.
        approximate: The file of the index, to search with a graph that is kept beside it; None to
            search exactly.

    Returns:
        A row of the table for each match: query, rank, similarity and `COLUMNS`; and the places in
        the index (Q, count), −1 where there are fewer.

    Raises:
        UserError: the index has nothing of that kind.
    """
    places = np.flatnonzero(index["kind"] == kind) if kind else np.arange(len(index))
    if not len(places):
        raise UserError(f"the index has no {kind}: embed a survey, or files of that kind")
    vectors = np.asarray(index["embedding"])[places]
    if approximate is None:
        found, similarity = nearest(vectors, np.asarray(queries["embedding"]), count + 1)
    else:
        # here: only this search needs the library
        from utils.generation.neighbour_graph import NeighbourGraph

        graph = approximate.with_name(f"{approximate.name}.{kind or 'all'}.usearch")
        neighbours = NeighbourGraph(graph, vectors)
        found, similarity = neighbours.nearest(np.asarray(queries["embedding"]), count + 1)
    table, chosen = [], np.full((len(queries), count), -1)
    for q, (own, values) in enumerate(zip(places[found], similarity, strict=True)):
        others = [
            (place, value)
            for place, value in zip(own, values, strict=True)
            if np.isfinite(value) and not _same(index, place, queries, q)
        ]
        for rank, (place, value) in enumerate(others[:count], start=1):
            chosen[q, rank - 1] = place
            columns = [index[name][place].item() for name in COLUMNS]
            table.append((str(queries["name"][q]), rank, round(float(value), 5), *columns))
    return table, chosen


def _same(index: Table, place: int, queries: Table, q: int) -> bool:
    """Whether it is the query itself, the same image or the same spectrum."""
    if Path(index["source"][place]).resolve() != Path(queries["source"][q]).resolve():
        return False
    return all(index[name][place] == queries[name][q] for name in ("kind", "name", "row"))


def plot_similar(
    path: Path,
    index: Table,
    queries: Table,
    matches: np.ndarray,
    reader: Callable[[list[str]], CutoutReader] | None,
) -> None:
    """Picture of the first queries, each beside its best matches.

    Args:
        path: Of the picture.
        index, queries, matches: Of `find_similar`.
        reader: Makes a reader of cutouts as the network takes them; None where all are in survey
            files.
    """
    rows = []
    for q in range(min(len(queries), SHOWN_QUERIES)):
        cells = [_cell(queries, q, reader, "query")]
        for rank, place in enumerate(matches[q, :SHOWN_MATCHES], start=1):
            if place >= 0:
                cells.append(_cell(index, place, reader, f"{rank}."))
        rows.append(cells)
    save_figure(plot_cells(rows), path)


def _cell(
    index: Table, place: int, reader: Callable[[list[str]], CutoutReader] | None, title: str
) -> Cell:
    """The image or spectrum, read again from its file."""
    entry = index[place]
    source, row = str(entry["source"]), int(entry["row"])
    if np.isfinite(entry["redshift"]):
        title += f" z = {entry['redshift']:.3f}"
    elif title == "query":
        title = str(entry["name"])
    if is_survey(source):
        file = Survey(source)
        if entry["kind"] == "image":
            return Cell(title, image=file.read("images", np.array([row]))[0], bands=file.bands)
        return Cell(title, file.grid.angstrom, file.read("spectra", np.array([row]))[0])
    if entry["kind"] == "spectrum":
        return Cell(title, *_spectrum(source, max(row, 0)))
    if reader is None:
        raise UserError(f"{source}: to show cutouts, name the queries as files, not with --names")
    of_folder = reader([str(Path(source).parent)])  # files of one band each belong together
    own = of_folder.only([one for one in of_folder.sources if Path(source) in one.paths])
    number = str(entry["name"]).partition("#")[2]  # before it, `~2` tells folders apart
    for cutout in own:
        if isinstance(cutout, Cutout) and cutout.name.partition("#")[2] == number:
            return Cell(title, image=cutout.image, bands=own.target.bands)
    raise UserError(f"{source}: its cutout {entry['name']} cannot be read any more")


def _spectrum(source: str, row: int) -> tuple[np.ndarray, np.ndarray]:
    """Wavelengths and flux of a file's spectrum of that number, or of its best candidate."""
    for block in read_blocks(Path(source)):
        if row < len(block.flux):
            flux = block.flux[row]
            return block.wavelength_angstrom, flux if flux.ndim == 1 else flux[0]
        row -= len(block.flux)
    raise UserError(f"{source}: its spectra cannot be read any more")
