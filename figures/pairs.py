"""Spectra generated from pictures beside the spectra that SDSS observed.

    python -m figures.pairs real/pairs --table pairs.csv --survey real/pictures.h5 --output p.png

The table has the columns `image` and `spectrum` (files beside it), and `z`; the spectra that
`generate.py` wrote are found by the names of the images. The observed spectra are prepared like
those of the survey that the network was trained on. Prints the squared errors of the generated
spectra and of a constant predictor, the mean training spectrum.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from datasets.command_parser import CommandParser
from datasets.errors import run_command


def main(argv: list[str] | None = None) -> int:
    """Parse, plot, write; returns the exit status."""
    parser = CommandParser(__doc__, "python -m figures.pairs")
    parser.add_argument("spectra", type=Path, help="output folder of generate.py")
    parser.add_argument("--table", required=True, type=Path, help="CSV table of the pairs")
    parser.add_argument("--survey", required=True, help="survey that the network was trained on")
    parser.add_argument("--output", required=True, help="picture: .png, .pdf or .svg")
    parser.add_argument("--count", type=int, help="pairs to show, the first ones (all)")
    return run_command(_write_figure, parser.parse_args(argv))


def _write_figure(options: argparse.Namespace) -> int:
    # after the arguments are parsed: these take seconds to import
    from datasets.survey import Survey
    from figures.pair_panels import draw, panels_of, report
    from utils.plotting.plots import save_figure

    survey = Survey(options.survey)
    panels = panels_of(options.spectra, options.table, survey)
    save_figure(draw(panels[: options.count]), options.output)
    print(report(panels, survey))
    return 0


if __name__ == "__main__":
    sys.exit(main())
