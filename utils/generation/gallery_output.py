"""The page of a generation run: every galaxy with cutout, spectrum, p(z) and values."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from astropy.table import Table

from datasets.cutouts.reader import Cutout
from utils.generation.fits_output import read_spectrum
from utils.generation.products import Products
from utils.plotting.gallery import Column, Gallery, GalleryGalaxy
from utils.spectroscopy.measurements import median_and_scatter

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
SCORED = ("best_score", "image_p_value", "image_flag", "colour_flag", "delta_gr", "delta_ri")


def write_gallery(products: Products, cutouts: Iterable[Cutout], catalogue: Path) -> Path:
    """Write `index.html` into the folder of a run; returns its path.

    Args:
        products: Of the run.
        cutouts: Those with spectra, in their order.
        catalogue: The run's table.
    """
    table = Table.read(catalogue)
    rows = {str(name): number for number, name in enumerate(table["name"])}
    wavelength = read_spectrum(products.spectrum_path(next(iter(rows)))).wavelength_angstrom
    units = {name: str(table[name].unit) for name in table.colnames if table[name].unit}
    shown = ("redshift_sampled", "redshift_sampled_err", "name", *table.colnames)
    survey, made = products.survey, products.provenance
    note = f"{made.sampled} candidates each; networks {', '.join(made.checkpoints)}"
    if len(rows) > MOST_GALAXIES:
        note += f"; the first {MOST_GALAXIES} of {len(rows)} galaxies"
    gallery = Gallery(
        "Generated spectra",
        note,
        survey.bands,
        wavelength,
        [column for column in COLUMNS if column.key in shown],
        units,
        survey.pixel_scale_arcsec,
    )
    return gallery.write(products.folder, _galaxies(products, cutouts, table, rows))


def _galaxies(
    products: Products, cutouts: Iterable[Cutout], table: Table, rows: dict[str, int]
) -> Iterator[GalleryGalaxy]:
    measured = "z" in table.colnames
    for cutout in cutouts:
        path = products.spectrum_path(cutout.name)
        spectrum = read_spectrum(path)
        row = table[rows[spectrum.name]]
        names = table.colnames[table.colnames.index("z") :] if measured else []
        values = {name: row[name] for name in (*SCORED, *names)}
        redshift = spectrum.redshift
        if spectrum.redshifts is not None:
            median, scatter = median_and_scatter(spectrum.redshifts[None])
            sampled = {"redshift_sampled": median[0], "redshift_sampled_err": scatter[0]}
            values = sampled | values
            redshift = float(spectrum.redshifts[0])
        yield GalleryGalaxy(
            spectrum.name,
            cutout.image,
            spectrum.best,
            spectrum.sigma,
            spectrum.candidates[1:],
            scale=spectrum.scale,
            redshift=redshift,
            pdf=spectrum.redshift_pdf,
            values=values,
            links=_links(products, path),
        )


def _links(products: Products, path: Path) -> list[tuple[str, str]]:
    picture = products.folder / "pictures" / f"{path.stem}.png"
    files = [("spectrum (FITS)", path)] + [("picture", picture)] * picture.exists()
    quoted = ((label, os.path.relpath(file, products.folder)) for label, file in files)
    return [(label, _address(relative)) for label, relative in quoted]


def _address(path: str) -> str:
    """A relative path as an address of a page."""
    from urllib.parse import quote

    return quote(path.replace(os.sep, "/"))
