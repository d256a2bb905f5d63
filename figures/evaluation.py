"""All figures of an evaluation.

    python -m utils.evaluate … --output evaluation
    python -m figures.evaluation evaluation

Writes evaluation/figures/NAME.pdf and .png: scores of all methods, samples, spectra at the given
redshift with residuals, ranked candidates, p(z | image), measured against true quantities,
redshift, BPT diagram, bimodality, mass–metallicity relation, calibration, reliability by magnitude,
colours, and loss curves of the runs whose folders still exist.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from datasets.command_parser import CommandParser
from datasets.errors import run_command

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from figures.evaluation_files import Results


def main(argv: list[str] | None = None) -> int:
    """Parse, plot, write; returns the exit status."""
    parser = CommandParser(__doc__, "python -m figures.evaluation")
    parser.add_argument("evaluation", help="output folder of utils.evaluate")
    parser.add_argument("--survey", help="survey file, if it has moved")
    parser.add_argument("--output", help="folder of the figures (EVALUATION/figures)")
    return run_command(_write_figures, parser.parse_args(argv))


def _write_figures(options: argparse.Namespace) -> int:
    # after the arguments are parsed: these take seconds to import
    from tqdm import tqdm

    from figures.evaluation_files import Results
    from utils.plotting.plots import save_figure

    results = Results(options.evaluation, options.survey)
    folder = Path(options.output or results.folder / "figures")
    folder.mkdir(parents=True, exist_ok=True)
    for name, plot in tqdm(list(figures_of(results)), desc="figures", disable=None):
        figure = plot()
        if figure is not None:
            for suffix in ("pdf", "png"):
                save_figure(figure, folder / f"{name}.{suffix}")
    print(f"figures in {folder}")
    return 0


def figures_of(results: Results) -> Iterator[tuple[str, Callable[[], Figure | None]]]:
    """Name and maker of every figure for which the evaluation has the data."""
    from figures.errors import draw_calibration, draw_errors
    from figures.given_redshift import draw_given_redshift
    from figures.planes import POPULATIONS, SPECTRAL, draw_colours, draw_planes, draw_redshift
    from figures.populations import draw_bimodality, draw_bpt, draw_mass_metallicity
    from figures.reliability import draw_redshift_pdfs, draw_reliability
    from figures.spectra import draw_ranked, draw_samples
    from figures.training import TABLE, draw, tables
    from utils.evaluation.method import GENERATED

    yield "errors", lambda: draw_errors(results)
    yield "samples", lambda: draw_samples(results)
    yield "given_redshift", lambda: draw_given_redshift(results)
    yield "redshift_pdfs", lambda: draw_redshift_pdfs(results)
    yield "reliability", lambda: draw_reliability(results)
    yield "ranked", lambda: draw_ranked(results)
    yield "calibration", lambda: draw_calibration(results)
    if results.colours:
        yield "colours", lambda: draw_colours(results)
    if results.truth:
        yield "measured", lambda: draw_planes(results, SPECTRAL)
        populations = tuple(n for n in POPULATIONS if n in results.measured["observed"][GENERATED])
        if populations:
            yield "populations", lambda: draw_planes(results, populations)
        yield "redshift", lambda: draw_redshift(results)
        if (results.truth["secure"] > 0).any():
            yield "bpt", lambda: draw_bpt(results)
        yield "bimodality", lambda: draw_bimodality(results)
        yield "mass_metallicity", lambda: draw_mass_metallicity(results)
    for path in results.checkpoints:
        run = path.parent
        if (run / TABLE).exists():
            yield f"training_{run.name}", lambda run=run: draw(tables([run]))


if __name__ == "__main__":
    sys.exit(main())
