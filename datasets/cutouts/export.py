"""Galaxies of a survey as a folder of FITS cutouts, as a user would bring them."""

from __future__ import annotations

from pathlib import Path

from datasets.cutouts.fits_files import write_cutout
from datasets.survey import Survey


def export(survey: Survey, folder: Path, split: str, count: int) -> None:
    """Write one FITS cube `galaxy-IDENTIFIER.fits` per galaxy; files of that name are replaced.

    Args:
        survey: An open survey file.
        folder: Made if needed.
        split: "train", "validation" or "test".
        count: The first galaxies of the split.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = survey.indices(split)[:count]
    columns = [survey.catalogue[name][rows] for name in ("identifier", "ra", "dec")]
    images = survey.read("images", rows)
    for image, identifier, ra, dec in zip(images, *columns, strict=True):
        write_cutout(
            folder / f"galaxy-{identifier}.fits",
            image,
            survey.bands,
            survey.pixel_scale_arcsec,
            ra=float(ra),
            dec=float(dec),
            identifier=int(identifier),
            unit=survey.image_unit,
        )
