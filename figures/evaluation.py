"""All figures of an evaluation.

    python -m utils.evaluate … --output evaluation
    python -m figures.evaluation evaluation

Writes evaluation/figures/NAME.pdf and .png: errors, samples, ranked candidates, measured against
true, redshift, BPT, the two kinds of galaxies, mass–metallicity, calibration, colours, and training
curves of the runs whose folders are still there.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

from datasets.survey import SurveyError
from figures.errors import draw_calibration, draw_errors
from figures.evaluation_files import GENERATED, Results
from figures.planes import POPULATIONS, SPECTRAL, draw_colours, draw_planes, draw_redshift
from figures.populations import draw_bimodality, draw_bpt, draw_mass_metallicity
from figures.spectra import draw_ranked, draw_samples
from utils.plotting.plots import plot_training_curves, save_figure


def main(argv: list[str] | None = None) -> int:
    """Parse, draw, write; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m figures.evaluation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("evaluation", help="output folder of utils.evaluate")
    parser.add_argument("--survey", help="survey file, if it has moved")
    parser.add_argument("--output", help="folder of the figures (EVALUATION/figures)")
    options = parser.parse_args(argv)
    try:
        results = Results(options.evaluation, options.survey)
    except (FileNotFoundError, SurveyError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    folder = Path(options.output or results.folder / "figures")
    folder.mkdir(parents=True, exist_ok=True)
    for name, draw in tqdm(list(figures_of(results)), desc="figures", disable=None):
        figure = draw()
        if figure is not None:
            for suffix in ("pdf", "png"):
                save_figure(figure, folder / f"{name}.{suffix}")
    print(f"figures in {folder}")
    return 0


def figures_of(results: Results) -> Iterator[tuple[str, Callable[[], Figure | None]]]:
    """Name and maker of every figure that the evaluation has the figures for."""
    yield "errors", lambda: draw_errors(results)
    yield "samples", lambda: draw_samples(results)
    yield "ranked", lambda: draw_ranked(results)
    yield "calibration", lambda: draw_calibration(results)
    if results.colours:
        yield "colours", lambda: draw_colours(results)
    if results.truth:
        yield "measured", lambda: draw_planes(results, SPECTRAL)
        known = tuple(n for n in POPULATIONS if n in results.measured[GENERATED])
        if known:
            yield "populations", lambda: draw_planes(results, known)
        yield "redshift", lambda: draw_redshift(results)
        if np.any(results.truth["secure"] > 0):
            yield "bpt", lambda: draw_bpt(results)
        yield "bimodality", lambda: draw_bimodality(results)
        yield "mass_metallicity", lambda: draw_mass_metallicity(results)
    for path in results.checkpoints:
        table = path.parent / "metrics.csv"
        if table.exists():
            yield f"training_{path.parent.name}", lambda table=table: plot_training_curves(table)


if __name__ == "__main__":
    sys.exit(main())
