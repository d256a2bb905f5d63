"""Embed images and spectra with the contrastive network, to search in them (`utils.search`).

    python -m utils.embed survey.h5 --output index.fits         # images and spectra of a survey
    python -m utils.embed CUTOUTS --output images.fits          # files as for generate.py
    python -m utils.embed spec-*.fits --spectra --output spectra.fits
    python -m utils.embed survey.h5 --probe                     # what do the vectors know?

The FITS table has a unit vector for each image and each spectrum; the scalar product of two says
how similar the galaxies are. `--probe` fits linear maps from the vectors of a survey's training
split to the columns of its catalogue, and prints how well they predict the test split.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from datasets.command_parser import CommandParser
from datasets.errors import UserError, run_command
from utils.generation.options import add_embedding_network


def main(argv: list[str] | None = None) -> int:
    """Parse, embed, write; returns the exit status."""
    parser = CommandParser(__doc__, "python -m utils.embed")
    parser.add_argument("files", nargs="+", metavar="FILES", help="a survey, cutouts, or spectra")
    parser.add_argument("--output", type=Path, help="FITS table to write")
    parser.add_argument("--spectra", action="store_true", help="the files are spectra, not cutouts")
    parser.add_argument(
        "--split", choices=("train", "validation", "test"), help="of a survey (all)"
    )
    parser.add_argument(
        "--probe",
        action="store_true",
        help="predict a survey's catalogue linearly from the vectors",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing table")
    add_embedding_network(parser)
    return run_command(_embed, parser.parse_args(argv))


def _embed(options: argparse.Namespace) -> int:
    from utils.generation.embeddings import KINDS, Embedder, write_index

    if not options.output and not options.probe:
        raise UserError("name the table to write with --output, or ask for --probe")
    if options.output and options.output.exists() and not options.overwrite:
        raise UserError(f"{options.output} exists; add --overwrite to replace it")
    embedder = Embedder.from_options(options)
    if options.probe:
        from utils.evaluation.linear_probe import probe_survey

        print(probe_survey(options.files, embedder))
    if options.output:
        index = embedder.files(options.files, options)
        options.output.parent.mkdir(parents=True, exist_ok=True)
        write_index(index, options.output)
        images, spectra = (int((index["kind"] == kind).sum()) for kind in KINDS)
        print(f"{images} images and {spectra} spectra in {options.output}")
    for rejected in embedder.skipped:
        print(f"skipped {rejected.path}: {rejected.reason}", file=sys.stderr)
    return int(bool(embedder.skipped))


if __name__ == "__main__":
    sys.exit(main())
