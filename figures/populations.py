"""The generated population beside the true one: BPT, bimodality, mass–metallicity relation."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.evaluation_files import COLUMN_WIDTH_INCHES, Results, density, style_of
from utils.evaluation.method import CLIMATOLOGY, GENERATED, PHOTOMETRY, TRUE_SPECTRA
from utils.evaluation.population_statistics import (
    OLD_DN4000,
    RETIRED_EW_ANGSTROM,
    active,
    gas_metallicity,
)
from utils.plotting.style import COLOURS, new_figure, styled
from utils.spectroscopy.bpt import kauffmann_2003, kewley_2001

BPT_LIMITS = (-1.7, 0.6, -1.4, 1.3)
COLOUR_LIMITS = (-0.1, 1.4, -0.7, 2.4)
LABELS = {TRUE_SPECTRA: "true", GENERATED: "generated", PHOTOMETRY: "neighbours"}


@styled
def draw_bpt(results: Results) -> Figure:
    """BPT diagrams of true and generated spectra of the galaxies with secure true lines."""
    figure = new_figure(2.6)
    panels = figure.subplots(1, 3, sharex=True, sharey=True)
    secure = results.truth["secure"] > 0
    for axes, name in zip(panels, LABELS, strict=True):
        columns = _columns(results, name)
        density(
            axes, columns["log_nii_halpha"][secure], columns["log_oiii_hbeta"][secure], BPT_LIMITS
        )  # fmt: skip
        draw_boundaries(axes, BPT_LIMITS, color=COLOURS["highlight"])
        share = active(columns, "kewley")[secure].mean() if secure.any() else np.nan
        axes.set_title(f"{LABELS[name]}: {share:.0%} above Kewley", loc="left")
        axes.set_xlabel(r"log [N II]6584 / H$\alpha$")
    panels[0].set_ylabel(r"log [O III]5007 / H$\beta$")
    panels[0].legend(loc="lower left", title=f"{np.count_nonzero(secure)} galaxies")
    return figure


def _columns(results: Results, name: str) -> dict[str, np.ndarray]:
    """One spectrum per galaxy: the true one, or a method's best candidate."""
    if name == TRUE_SPECTRA:
        return results.truth
    return {key: values[:, 0] for key, values in results.measured["observed"][name].items()}


def draw_boundaries(axes: Axes, limits: tuple[float, ...], **style) -> None:
    """The lines between excitation classes, down to where they leave a BPT diagram.

    Args:
        axes: of the diagram.
        limits: of x and y, low and high.
        style: keywords of the lines.
    """
    x = np.linspace(*limits[:2], 400)
    for boundary, pole, line, label in (
        (kauffmann_2003, 0.05, "--", "Kauffmann 2003"), (kewley_2001, 0.47, "-", "Kewley 2001")
    ):  # fmt: skip
        left = x < pole - 0.05
        axes.plot(x[left], boundary(x[left]), ls=line, label=label, **style)


@styled
def draw_bimodality(results: Results) -> Figure:
    """Dn4000, and colour against log EW Hα, the observable of the specific star formation rate."""
    figure = new_figure(2.5)
    first, *planes = figure.subplots(1, 3, width_ratios=(1.2, 1, 1))
    bins = np.linspace(0.9, 2.2, 40)
    for name in LABELS:
        values = results.truth if name == TRUE_SPECTRA else results.measured["observed"][name]
        first.hist(
            values["Dn4000"].ravel(), bins, density=True, histtype="step", **style_of(name, lw=1.1)
        )
    first.axvline(OLD_DN4000, color=COLOURS["quiet"], lw=0.5, ls=":")
    first.set_xlabel("Dn4000")
    first.set_ylabel("spectra per unit, all candidates")
    first.set_ylim(0, 1.45 * first.get_ylim()[1])
    first.legend(loc="upper right")
    for axes, name in zip(planes, (TRUE_SPECTRA, GENERATED), strict=True):
        columns = _columns(results, name)
        width = columns["Halpha_ew"]
        logarithm = np.log10(np.where(width > 0, width, np.nan))
        density(axes, columns["rest_colour"], logarithm, COLOUR_LIMITS, cells=26)
        axes.axhline(np.log10(RETIRED_EW_ANGSTROM), color=COLOURS["quiet"], lw=0.7, ls=":")
        missing = np.mean(~np.isfinite(logarithm))
        axes.set_title(f"{LABELS[name]}, {missing:.0%} without Hα", loc="left", fontsize=7)
        axes.set_xlabel("rest colour 4275−5625 Å (mag)")
    planes[0].set_ylabel(r"log EW H$\alpha$ (Å)")
    planes[1].tick_params(labelleft=False)
    return figure


@styled
def draw_mass_metallicity(results: Results) -> Figure | None:
    """Gas metallicity (N2) against stellar mass; None without masses."""
    found = results.metrics["observed"]["populations"]
    if "log_mass" not in found[GENERATED]["mass_metallicity"]:
        return None
    figure = new_figure(2.7, COLUMN_WIDTH_INCHES)
    axes = figure.subplots()
    true = np.where(results.truth["secure"] > 0, gas_metallicity(results.truth), np.nan)
    points = {"ms": 2, "color": COLOURS["truth"], "alpha": 0.3, "rasterized": True}
    axes.plot(results.log_mass, true, ".", label="single true spectra", **points)
    for method in (GENERATED, PHOTOMETRY, CLIMATOLOGY):
        curve = found[method]["mass_metallicity"]
        if "log_mass" not in curve:
            continue
        if method == GENERATED:
            axes.plot(curve["log_mass"], curve["true"], marker="o", ms=3, **style_of(TRUE_SPECTRA))
        axes.plot(curve["log_mass"], curve["measured"], marker="o", ms=3, **style_of(method))
    axes.set_xlabel(r"log M$_★$ / M$_☉$")
    axes.set_ylabel("12 + log O/H (N2)")
    axes.legend(loc="lower right")
    return figure
