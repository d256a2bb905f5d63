"""Search for galaxies like yours: image → spectra, spectrum → images, image → images.

    python -m utils.embed survey.h5 --output index.fits                    # once
    python -m utils.search index.fits CUTOUTS --find spectra --output found.csv
    python -m utils.search index.fits spec-*.fits --spectra --find images --picture found.png
    python -m utils.search index.fits --names survey.h5#12 survey.h5#40 --find images

INDEX is a table of `python -m utils.embed`; the queries are files, embedded with the same network,
or names of galaxies in the index. Prints the most similar galaxies of each query, the best first,
with the scalar product of the unit vectors as similarity. The search is exact; with
`--approximate` it takes a graph of neighbours that is made once and kept beside the index, for
thousands of queries in indices of more than 100,000 vectors.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

from datasets.command_parser import CommandParser
from datasets.errors import UserError, run_command
from utils.generation.options import add_embedding_network, count

WANTED = {"images": "image", "spectra": "spectrum"}


def main(argv: list[str] | None = None) -> int:
    """Parse, search, print; returns the exit status."""
    parser = CommandParser(__doc__, "python -m utils.search")
    parser.add_argument("index", type=Path, metavar="INDEX", help="table of utils.embed")
    parser.add_argument("files", nargs="*", metavar="QUERY", help="cutouts, or spectra")
    parser.add_argument("--spectra", action="store_true", help="the queries are spectra")
    parser.add_argument("--names", nargs="+", help="galaxies of the index, instead of files")
    parser.add_argument(
        "--find", choices=(*WANTED, "all"), default="all", help="what is wanted (%(default)s)"
    )
    parser.add_argument("--count", type=count, default=10, help="matches per query (%(default)s)")
    parser.add_argument(
        "--approximate",
        action="store_true",
        help="with a graph kept beside INDEX",
    )
    parser.add_argument("--output", type=Path, help="CSV table to write")
    parser.add_argument("--picture", type=Path, help="PNG or PDF of queries and matches to write")
    add_embedding_network(parser)
    return run_command(_search, parser.parse_args(argv))


def _search(options: argparse.Namespace) -> int:
    from datasets.atomic_files import write_csv
    from utils.generation.embeddings import Embedder, read_index
    from utils.generation.similar import COLUMNS, find_similar

    for path in (options.output, options.picture):
        if path and path.exists():
            raise UserError(f"{path} exists: name another file")
    index, reader, skipped = read_index(options.index), None, []
    if bool(options.names) == bool(options.files):
        raise UserError("name files to search with, or galaxies of the index with --names")
    if options.names:
        queries = _named(index, options)
    else:
        embedder = Embedder.from_options(options)
        queries, skipped = embedder.files(options.files, options), embedder.skipped
        reader = partial(embedder.reader, options=options)
        if queries.meta["TOWERS"] != index.meta["TOWERS"]:
            raise UserError(
                f"{options.index} was made with other weights than {options.weights}: name those "
                "with --weights, or embed again"
            )
    kind = WANTED.get(options.find)
    graph = options.index if options.approximate else None
    rows, matches = find_similar(index, queries, kind, options.count, graph)
    if options.output:
        write_csv(options.output, ("query", "rank", "similarity", *COLUMNS), rows)
        print(f"{len(queries)} queries, {len(rows)} matches in {options.output}")
    else:
        for row in rows:
            print("  ".join(str(value) for value in row[:5]))
    if options.picture:
        from utils.generation.similar import plot_similar

        plot_similar(options.picture, index, queries, matches, reader)
    for rejected in skipped:
        print(f"skipped {rejected.path}: {rejected.reason}", file=sys.stderr)
    return int(bool(skipped))


def _named(index, options: argparse.Namespace):
    """The galaxies of the index that are called so; the images or spectra of them."""
    import numpy as np

    kind = "spectrum" if options.spectra else "image"
    chosen = np.isin(index["name"], options.names) & (index["kind"] == kind)
    missing = sorted(set(options.names) - set(index["name"][chosen].tolist()))
    if missing:
        raise UserError(f"{options.index}: no {kind} of a galaxy called {', '.join(missing)}")
    return index[chosen]


if __name__ == "__main__":
    sys.exit(main())
