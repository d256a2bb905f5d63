"""The page of a generation run: every galaxy with cutout, spectrum, p(z) and values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from astropy import units

from datasets.survey_description import SurveyDescription
from utils.generation.catalogue_output import CATALOGUE_UNITS, catalogue_units
from utils.generation.generated_spectrum import GeneratedSpectrum, Provenance
from utils.plotting.gallery import Column, Gallery, gallery_entry

MOST_GALAXIES = 5000  # on the page: of more, the first
COLUMNS = (
    Column("name", "name", "of the galaxy, in the run"),
    Column("image_flag", "image", "the cutout is unlike the training images: do not trust", "flag"),
    Column("colour_flag", "colour", "spectrum and cutout differ in colour by > 0.1 mag", "flag"),
    Column("redshift_sampled", "z", "median of the candidates' redshifts, as sampled"),
    Column("redshift_sampled_err", "σ(z)", "their scatter, half of the 16th to 84th percentile"),
    Column("best_score", "score", "similarity of the best candidate to the cutout, −1 … 1"),
    Column("image_p_value", "p", "share of training-like images that are as unusual"),
    Column("Dn4000", "Dn4000", "4000 Å break (Balogh et al. 1999)"),
    Column("Halpha_ew", "EW Hα", "equivalent width, Å, rest frame, emission positive"),
    Column("bpt", "BPT", "class by emission-line ratios"),
)
MEASURED = ("Dn4000", "Halpha_ew", "bpt")  # of these, those of measured spectra
SCORED = (
    "redshift_sampled", "redshift_sampled_err", "best_score", "image_p_value", "image_flag",
    "colour_flag", "delta_gr", "delta_ri",
)  # fmt: skip


def run_gallery(
    folder: Path,
    survey: SurveyDescription,
    made: Provenance,
    wavelength_angstrom: np.ndarray,
    count: int,
    measured: bool,
) -> Gallery:
    """The page `index.html` in the folder of a run, to which galaxies are added.

    Args:
        folder: Of the run.
        survey: That the network was trained on.
        made: How the spectra are made.
        wavelength_angstrom: (pixels,).
        count: Cutouts of the run.
        measured: Whether the spectra are measured.
    """
    note = f"{made.sampled} candidates each; networks {', '.join(made.checkpoints)}"
    if count > MOST_GALAXIES:
        note += f"; the first {MOST_GALAXIES} of {count} galaxies"
    unit = CATALOGUE_UNITS | catalogue_units(measured)
    return Gallery(
        folder,
        "Generated spectra",
        note,
        survey.bands,
        wavelength_angstrom,
        [column for column in COLUMNS if measured or column.key not in MEASURED],
        {name: str(units.Unit(text)) for name, text in unit.items() if text},
        survey.pixel_scale_arcsec,
    )


def entries(
    galaxies: Iterable[tuple[np.ndarray, GeneratedSpectrum, Sequence[tuple[str, Path]]]],
    rows: Mapping[str, np.ndarray],
    bands: Sequence[str],
    measured: bool,
) -> Iterator[dict[str, Any]]:
    """What the page holds of galaxies.

    Args:
        galaxies: The cutout (bands, height, width) of each, its spectrum, and labels and paths,
            relative to the page, of its files.
        rows: Theirs of the catalogue, from `catalogue_columns`.
        bands: Of the cutouts.
        measured: Whether the spectra were measured.
    """
    names = list(rows)
    names = names[names.index("z") :] if measured else []
    for k, (image, spectrum, links) in enumerate(galaxies):
        values = {name: rows[name][k] for name in (*SCORED, *names)}
        redshift = spectrum.redshift if spectrum.redshifts is None else spectrum.redshifts[0]
        yield gallery_entry(
            spectrum.name,
            image,
            bands,
            spectrum.best,
            spectrum.sigma,
            spectrum.candidates[1:],
            scale=spectrum.scale,
            redshift=float(redshift),
            pdf=spectrum.redshift_pdf,
            values=values,
            links=[(label, quote(path.as_posix())) for label, path in links],
        )
