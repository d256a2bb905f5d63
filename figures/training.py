"""Loss curves of training runs.

    python -m figures.training runs/contrastive runs/generative --output losses.png

A panel for each run, and for each of the two diffusion models of stage 2: the mean training loss
of every epoch, and the validation losses, of which the lowest is marked: its weights are `best.pt`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from datasets.command_parser import CommandParser
from datasets.errors import UserError, run_command
from utils.core.run_log import MetricsTable
from utils.plotting.style import COLOURS, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TABLE = "metrics.csv"
PARTS = ("parameters", "")  # of a run directory, in the order in which they are trained
HEIGHT_INCHES = 2.2


def main(argv: list[str] | None = None) -> int:
    """Parse, plot, write; returns the exit status."""
    parser = CommandParser(__doc__, "python -m figures.training")
    parser.add_argument("runs", type=Path, nargs="+", help="run directories")
    parser.add_argument("--output", required=True, help="picture: .png, .pdf or .svg")
    return run_command(_write, parser.parse_args(argv))


def _write(options: argparse.Namespace) -> int:
    # after the arguments are parsed: these take seconds to import
    from utils.plotting.plots import save_figure

    save_figure(draw(tables(options.runs)), options.output)
    return 0


def tables(runs: list[Path]) -> dict[str, list[dict[str, float]]]:
    """The rows of each table of metrics, by the name of its panel.

    Raises:
        UserError: a folder holds none.
    """
    found = {}
    for run in runs:
        own = [run / part / TABLE for part in PARTS if (run / part / TABLE).exists()]
        if not own:
            raise UserError(f"{run}: holds no {TABLE}; name a run directory")
        for path in own:
            name = run.name if path.parent == run else f"{run.name}, {path.parent.name}"
            found[name] = MetricsTable(path).rows
    return found


@styled
def draw(found: dict[str, list[dict[str, float]]]) -> Figure:
    """A panel for each table."""
    figure = new_figure(HEIGHT_INCHES)
    all_axes = figure.subplots(1, len(found), squeeze=False)[0]
    for axes, (name, rows) in zip(all_axes, found.items(), strict=True):
        _draw_panel(axes, rows)
        axes.set_title(name, loc="left")
    all_axes[0].set_ylabel("loss")
    figure.legend(*all_axes[0].get_legend_handles_labels(), loc="outside upper right", ncols=3)
    return figure


def _draw_panel(axes: Axes, rows: list[dict[str, float]]) -> None:
    def points(name: str) -> list[tuple[float, float]]:
        return [(row["iteration"], row[name]) for row in rows if name in row and row["epoch"] > 0]

    for name, colour, label in (
        ("loss", "quiet", "training"),
        ("validation_loss", "generated", "validation"),
    ):
        if points(name):
            axes.plot(*zip(*points(name), strict=True), color=COLOURS[colour], label=label)
    if validated := points("validation_loss"):
        best = min(validated, key=lambda point: point[1])
        axes.plot(*best, "o", ms=3, color=COLOURS["highlight"], label="best weights")
    axes.set_xlabel("step")


if __name__ == "__main__":
    sys.exit(main())
