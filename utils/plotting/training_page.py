"""The page of a training run, `index.html`: curves, previews and configuration."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Sequence
from pathlib import Path

from datasets.atomic_files import write_text
from utils.plotting.gallery import as_script, fill_page

MOST_PREVIEWS = 12  # the last ones
NOT_SHOWN = ("epoch", "iteration", "seconds", "pool")


def write_training_page(folder: Path, rows: Sequence[dict[str, float]], config: str) -> Path:
    """Write the page of a run directory; returns its path.

    Args:
        folder: With the previews, `preview_*.png`.
        rows: Of the table of metrics, a row per epoch.
        config: As YAML.
    """
    previews = sorted(folder.glob("preview_*.png"))[-MOST_PREVIEWS:]
    pictures = [(p.stem, base64.b64encode(p.read_bytes()).decode()) for p in previews]
    data = {"curves": _curves(rows), "previews": pictures, "config": config}
    epochs = max((row["epoch"] for row in rows), default=0)
    texts = {
        "TITLE": html.escape(f"Training: {folder.resolve().name}"),
        "NOTE": f"{epochs:g} epochs",
        "DATA": as_script(data),
    }
    write_text(folder / "index.html", fill_page("training", texts))
    return folder / "index.html"


def _curves(rows: Sequence[dict[str, float]]) -> dict[str, list[tuple[str, list, list]]]:
    """Label, epochs and values of each curve, by plot: losses together, recalls together."""
    plots: dict[str, list[tuple[str, list, list]]] = {}
    names = dict.fromkeys(name for row in rows for name in row if name not in NOT_SHOWN)
    for name in names:
        known = [r for r in rows if math.isfinite(r.get(name, math.nan))]
        if known:
            together = {"loss": "losses", "recall": "recall", "median_rank": "median rank"}
            plot = next((title for part, title in together.items() if part in name), name)
            values = [row[name] for row in known]
            plots.setdefault(plot, []).append((name, [row["epoch"] for row in known], values))
    return plots
