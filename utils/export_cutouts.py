"""Write galaxies of a survey as a folder of FITS cutouts, as a user would bring them.

python -m utils.export_cutouts data/survey.h5 cutouts --split test --count 24
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from datasets.cutouts.fits_files import write_cutout
from datasets.survey import Survey, SurveyError


def main(argv: list[str] | None = None) -> int:
    """Parse and write; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m utils.export_cutouts",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("survey", help="survey file")
    parser.add_argument("output", help="folder for the cutouts, made if needed")
    parser.add_argument("--split", default="test", choices=["train", "validation", "test"])
    parser.add_argument("--count", type=int, default=24, help="first galaxies of the split")
    options = parser.parse_args(argv)
    try:
        export(Survey(options.survey), Path(options.output), options.split, options.count)
    except (SurveyError, FileNotFoundError, FileExistsError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def export(survey: Survey, folder: Path, split: str, count: int) -> None:
    """One FITS cube per galaxy, named by its identifier.

    Raises:
        FileExistsError: a cutout of that name is there already.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = survey.indices(split)[:count]
    columns = {name: survey.catalogue[name][rows] for name in ("identifier", "ra", "dec")}
    for number, image in enumerate(survey.read("images", rows)):
        identifier, ra, dec = (columns[name][number] for name in ("identifier", "ra", "dec"))
        write_cutout(
            folder / f"galaxy-{identifier}.fits",
            image,
            survey.bands,
            survey.pixel_scale_arcsec,
            ra=float(ra),
            dec=float(dec),
            identifier=int(identifier),
        )


if __name__ == "__main__":
    sys.exit(main())
