"""The style of all figures. matplotlib is imported when the first figure is made.

Figures are made by `new_figure`, not by pyplot: no display is needed and no global state changes.
The colours are those of Okabe & Ito, which colour-blind readers can distinguish.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = {
    "truth": "#000000", "generated": "#0072B2", "highlight": "#D55E00", "second": "#009E73",
    "third": "#CC79A7", "fourth": "#E69F00", "quiet": "#777777",
}  # fmt: skip
CYCLE = ("generated", "highlight", "second", "third", "fourth", "truth")  # colours of curves
STYLE = {
    "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"], "font.size": 8,
    "axes.titlesize": 8, "axes.labelsize": 8, "xtick.labelsize": 7, "ytick.labelsize": 7,
    "legend.fontsize": 7, "legend.frameon": False, "axes.linewidth": 0.6, "lines.linewidth": 0.8,
    "xtick.direction": "in", "ytick.direction": "in", "xtick.top": True, "ytick.right": True,
    "xtick.major.width": 0.6, "ytick.major.width": 0.6, "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4, "xtick.minor.visible": True, "ytick.minor.visible": True,
    "mathtext.default": "regular", "savefig.dpi": 200, "figure.dpi": 100,
}  # fmt: skip
PAGE_WIDTH_INCHES = 7.1  # two columns of ApJ


def styled(plot: Callable[..., Any]) -> Callable[..., Any]:
    """Run `plot` in the style of this module, whatever the settings of the caller are."""

    @functools.wraps(plot)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        import matplotlib

        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(STYLE)
            colours = [COLOURS[name] for name in CYCLE]
            matplotlib.rcParams["axes.prop_cycle"] = matplotlib.cycler(color=colours)
            return plot(*args, **kwargs)

    return wrapper


def new_figure(
    height_inches: float, width_inches: float = PAGE_WIDTH_INCHES, layout: str = "constrained"
) -> Figure:
    """An empty figure whose parts do not overlap; with `layout` "none" the caller places them,
    which halves the time it takes to draw."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width_inches, height_inches), layout=layout)
