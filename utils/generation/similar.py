"""The most similar galaxies of an index, as a table and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from datasets.cutouts.conversion import CutoutFormat
from datasets.cutouts.reader import Cutout, CutoutReader
from datasets.errors import UserError
from datasets.survey import Survey
from datasets.survey_description import SurveyDescription
from utils.generation.embeddings import Embeddings, is_survey
from utils.generation.input_files import read_blocks
from utils.plotting.plots import Cell, plot_cells, save_figure

SHOWN_QUERIES, SHOWN_MATCHES = 8, 6  # of a picture


class Match(NamedTuple):
    """A row of the table of matches."""

    query: str
    rank: int
    similarity: float
    kind: str
    name: str
    source: str
    row: int
    identifier: int
    ra: float
    dec: float
    redshift: float


def find_similar(
    index: Embeddings,
    queries: Embeddings,
    kind: str | None,
    count: int,
    approximate: Path | None = None,
) -> tuple[list[Match], np.ndarray]:
    """The `count` most similar galaxies of each query; a galaxy does not find itself.

    Args:
        index: Where to search.
        queries: Q galaxies.
        kind: `image` or `spectrum`: what to find; None for both.
        count: Matches of each.
        approximate: The file of the index, to search with a graph that is kept beside it; None to
            search exactly.

    Returns:
        The table, and the places in the index (Q, count), −1 where there are fewer.

    Raises:
        UserError: the index has nothing of that kind.
    """
    places = np.flatnonzero(index.kind == kind) if kind else np.arange(len(index))
    if not len(places):
        raise UserError(f"the index has no {kind}: embed a survey, or files of that kind")
    searched = index.select(places)
    if approximate is not None:
        # here: only this search needs the library
        from utils.generation.neighbour_graph import NeighbourGraph

        graph = approximate.with_name(f"{approximate.name}.{kind or 'all'}.usearch")
        searched = NeighbourGraph(graph, searched.vectors)
    found, similarity = searched.nearest(queries.vectors, count + 1)
    table, chosen = [], np.full((len(queries), count), -1)
    for q, (own, values) in enumerate(zip(places[found], similarity, strict=True)):
        others = [
            (place, value)
            for place, value in zip(own, values, strict=True)
            if np.isfinite(value) and not _same(index, place, queries, q)
        ]
        for rank, (place, value) in enumerate(others[:count], start=1):
            chosen[q, rank - 1] = place
            columns = [getattr(index, name)[place].item() for name in Match._fields[3:]]
            table.append(Match(str(queries.name[q]), rank, round(float(value), 5), *columns))
    return table, chosen


def _same(index: Embeddings, place: int, queries: Embeddings, q: int) -> bool:
    """Whether it is the query itself, the same image or the same spectrum."""
    names = ("kind", "name", "source", "row")
    return all(getattr(index, name)[place] == getattr(queries, name)[q] for name in names)


def plot_similar(
    path: Path,
    index: Embeddings,
    queries: Embeddings,
    matches: np.ndarray,
    survey: SurveyDescription | None,
) -> None:
    """Picture of the first queries, each beside its best matches.

    Args:
        path: Of the picture.
        index, queries, matches: Of `find_similar`.
        survey: How the network takes cutouts; None where all are in survey files.
    """
    rows = []
    for q in range(min(len(queries), SHOWN_QUERIES)):
        cells = [_cell(queries, q, survey, "query")]
        for rank, place in enumerate(matches[q, :SHOWN_MATCHES], start=1):
            if place >= 0:
                cells.append(_cell(index, place, survey, f"{rank}."))
        rows.append(cells)
    save_figure(plot_cells(rows), path)


def _cell(embeddings: Embeddings, place: int, survey: SurveyDescription | None, title: str) -> Cell:
    """The image or spectrum, read again from its file."""
    source, row = str(embeddings.source[place]), int(embeddings.row[place])
    if np.isfinite(embeddings.redshift[place]):
        title += f" z = {embeddings.redshift[place]:.3f}"
    elif title == "query":
        title = str(embeddings.name[place])
    if is_survey(source):
        file = Survey(source)
        if embeddings.kind[place] == "image":
            return Cell(title, image=file.read("images", np.array([row]))[0], bands=file.bands)
        return Cell(title, file.grid.angstrom, file.read("spectra", np.array([row]))[0])
    if embeddings.kind[place] == "spectrum":
        block = next(read_blocks(Path(source)))
        flux = block.flux[max(row, 0)]
        return Cell(title, block.wavelength_angstrom, flux if flux.ndim == 1 else flux[0])
    return Cell(title, image=_cutout(source, row, survey), bands=survey.bands)


def _cutout(source: str, row: int, survey: SurveyDescription | None) -> np.ndarray:
    if survey is None:
        raise UserError(f"{source}: to show cutouts, name the queries as files, not with --names")
    reader = CutoutReader(
        source, CutoutFormat(survey.bands, survey.pixel_scale_arcsec, survey.image_size)
    )
    found: Sequence[Cutout] = [item for item in reader if isinstance(item, Cutout)]
    if not found:
        raise UserError(f"{source}: its cutouts cannot be read any more")
    return found[max(row, 0) if len(found) > 1 else 0].image
