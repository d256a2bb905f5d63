"""Embeddings of the files that a command names."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from datasets.cutouts.conversion import CutoutFormat
from datasets.cutouts.reader import CutoutReader
from datasets.errors import UserError
from utils.core.checkpoints import load_contrastive
from utils.core.device import pick_device
from utils.core.provenance import file_digest
from utils.core.shipped_weights import weights_path
from utils.generation.embeddings import KINDS, Embedder, Embeddings, is_survey, joined


def make_embedder(options: argparse.Namespace) -> Embedder:
    """The towers that the options name.

    Raises:
        UserError: they cannot be used.
    """
    path = weights_path(options.weights)
    towers = load_contrastive(path).to(pick_device(options.device))
    return Embedder(towers, file_digest(path))


def cutout_reader(
    files: Sequence[str], embedder: Embedder, options: argparse.Namespace
) -> CutoutReader:
    """A reader of cutouts as the towers take them."""
    survey = embedder.towers.survey
    target = CutoutFormat(
        survey.bands,
        survey.pixel_scale_arcsec,
        survey.image_size,
        input_bands=tuple(options.bands.split(",")) if options.bands else None,
        input_pixel_scale_arcsec=options.pixel_scale,
        input_unit=options.unit,
    )
    return CutoutReader(files, target)


def embed_files(
    files: Sequence[str], embedder: Embedder, options: argparse.Namespace
) -> Embeddings:
    """Embeddings of surveys, cutouts, or, with `options.spectra`, spectra.

    Raises:
        UserError: none of them can be used.
    """
    surveys = [file for file in files if is_survey(file)]
    others = [file for file in files if file not in surveys]
    parts = []
    for survey in surveys:
        parts += embedder.survey(survey, getattr(options, "split", None), KINDS)
    if others and options.spectra:
        parts += embedder.spectra(others)
    elif others:
        parts += embedder.cutouts(cutout_reader(others, embedder, options))
    if not parts and embedder.skipped:
        first = embedder.skipped[0]
        hint = "" if options.spectra else "; add --spectra if the files are spectra"
        raise UserError(f"none of the files can be used; {first.path}: {first.reason}{hint}")
    return joined(parts)
