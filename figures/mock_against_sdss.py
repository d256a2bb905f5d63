"""The mock survey beside real SDSS galaxies: breaks, colours, emission lines, mean spectra.

    python -m datasets.mock mock.h5 --count 3000 --seed 1
    python -m figures.mock_against_sdss mock.h5 --spectra sdss_spectra.h5 --output DIR

Makes mock_against_sdss.png and .pdf and prints percentiles of the quantities shown. The real
galaxies are nearby (most at z < 0.05, so that the fibre covers their centres), those of the mock
survey at 0.05 < z < 0.15.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from datasets.command_parser import CommandParser
from datasets.errors import run_command


def main(argv: list[str] | None = None) -> int:
    """Parse, measure, plot, write; returns the exit status."""
    parser = CommandParser(__doc__, "python -m figures.mock_against_sdss")
    parser.add_argument("survey", help="mock survey file")
    parser.add_argument("--spectra", required=True, help="HDF5 collection of SDSS spectra")
    parser.add_argument("--output", default=".", help="folder of the figure (default: here)")
    parser.add_argument("--limit", type=int, default=2000, help="mock galaxies (%(default)s)")
    return run_command(_write_figure, parser.parse_args(argv))


def _write_figure(options: argparse.Namespace) -> int:
    # after the arguments are parsed: these take seconds to import
    from figures.mock_comparison import draw, mock_sample, real_sample, report
    from utils.plotting.plots import save_figure

    samples = real_sample(options.spectra), mock_sample(options.survey, options.limit)
    print(report(samples))
    folder = Path(options.output)
    folder.mkdir(parents=True, exist_ok=True)
    figure = draw(samples)
    for suffix in ("png", "pdf"):
        save_figure(figure, folder / f"mock_against_sdss.{suffix}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
