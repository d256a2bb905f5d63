"""A galaxy beside its spectrum.

Conventions: the composite of the cutout is on the left, the spectrum on the right. The true
spectrum, if there is one, is black, the best candidate blue; the other kept candidates are thin,
the central 68 % of all candidates (mean ± σ) shaded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from datasets.colour_composite import to_rgb
from datasets.line_list import ABSORPTION_ANGSTROM, EMISSION_ANGSTROM
from utils.plotting.style import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WAVELENGTH_LABEL = "Observed wavelength (Å, vacuum)"
NORMALISED_LABEL = "Flux (normalised)"
PHYSICAL_LABEL = "Flux density (10⁻¹⁷ erg s⁻¹ cm⁻² Å⁻¹)"  # mathtext takes ten times as long
SCALE_BAR_ARCSEC = 5.0
MARK_WIDTH_ANGSTROM = 75.0  # of the name of a line on the axis


def _blend(*names: str) -> float:
    """The middle of several lines, in Å."""
    wavelength = EMISSION_ANGSTROM | ABSORPTION_ANGSTROM
    return float(np.mean([wavelength[name] for name in names]))


MARKS = {  # rest wavelengths in vacuum, Å
    "[O II]": _blend("OII3726", "OII3729"),
    "Ca H+K": _blend("CaH", "CaK"),
    "4000 Å": 4001.0,
    "Hβ": _blend("Hbeta"),
    "[O III]": _blend("OIII5007"),
    "Mg b": _blend("Mgb1", "Mgb2", "Mgb4"),
    "Na D": _blend("NaD1", "NaD2"),
    "Hα + [N II]": _blend("Halpha"),
    "[S II]": _blend("SII6716", "SII6731"),
}
CROWDED_ANGSTROM = 1.2 * MARK_WIDTH_ANGSTROM  # from a line to the next: its name stands behind it
APART = 0.5  # shift of a candidate above the truth, in units of the continuum
SHIFTED = "generated, shifted up"  # its label


@dataclass(frozen=True)
class Panel:
    """One galaxy to show.

    Args:
        title: short; usually the name of the galaxy.
        image: (bands, height, width), the cutout.
        bands: names of its bands.
        wavelength_angstrom: (pixels,), vacuum, observed frame.
        candidates: (kept, pixels), normalised, best first.
        mean, sigma: (pixels,) of all sampled candidates, normalised; None for no shading.
        truth: (pixels,) normalised, NaN where unknown, or None.
        redshift: marks the lines if given.
        scale: 1e-17 erg/s/cm²/Å per normalised unit, or None.
        pixel_scale_arcsec: adds a scale bar if given.
    """

    title: str
    image: np.ndarray
    bands: Sequence[str]
    wavelength_angstrom: np.ndarray
    candidates: np.ndarray
    mean: np.ndarray | None = None
    sigma: np.ndarray | None = None
    truth: np.ndarray | None = None
    redshift: float | None = None
    scale: float | None = None
    pixel_scale_arcsec: float | None = None


def draw_cutout(
    axes: Axes, image: np.ndarray, bands: Sequence[str], pixel_scale_arcsec: float | None = None
) -> None:
    """The colour composite, with a scale bar if the scale is known."""
    # FITS images start at the bottom, pictures at the top.
    origin = "upper" if set("RGB") <= set(bands) else "lower"
    axes.imshow(to_rgb(image, bands), origin=origin, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    if pixel_scale_arcsec:
        length = SCALE_BAR_ARCSEC / pixel_scale_arcsec / image.shape[-1]
        start, label = 0.06, f"{SCALE_BAR_ARCSEC:g}″"
        white = {"color": "white", "transform": axes.transAxes}
        axes.plot([start, start + length], [0.07, 0.07], lw=1.2, **white)
        axes.text(start + length / 2, 0.09, label, ha="center", va="bottom", **white)


def draw_spectra(axes: Axes, panel: Panel, apart: bool = False) -> None:
    """Candidates, their spread and the truth, within limits that contain the lines.

    Noisy spectra hide each other and the spread: `apart` shifts the best candidate up by `APART` of
    the true continuum, and leaves the truth on the spread of all candidates.
    """
    wavelength, scale = panel.wavelength_angstrom, panel.scale or 1.0
    shown, label = [panel.candidates[0] * scale], "generated"
    if apart and panel.truth is not None:
        shown[0] = shown[0] + APART * scale * np.nanmedian(panel.truth)
        label = SHIFTED
    if panel.mean is not None and panel.sigma is not None:
        low, high = (scale * (panel.mean + sign * panel.sigma) for sign in (-1, 1))
        axes.fill_between(
            wavelength, low, high, color=COLOURS["generated"], alpha=0.6, lw=0,
            label="68 % of candidates",
        )  # fmt: skip
    for number, candidate in enumerate(panel.candidates[1:]):
        axes.plot(
            wavelength, candidate * scale, color=COLOURS["quiet"], lw=0.3, alpha=0.35,
            label="other candidates" if number == 0 else None, zorder=0.5,  # below the spread
        )  # fmt: skip
    if panel.truth is not None:
        shown.append(panel.truth * scale)
        axes.plot(wavelength, shown[-1], color=COLOURS["truth"], lw=0.4, label="true")
    axes.plot(wavelength, shown[0], color=COLOURS["generated"], lw=0.6, label=label)
    axes.set_xlim(wavelength[0], wavelength[-1])
    axes.set_ylim(*flux_limits(shown))


def flux_limits(spectra: Sequence[np.ndarray]) -> tuple[float, float]:
    """From 0, or below for noise, to the highest line, at most four times the continuum."""
    values = np.concatenate([flux[np.isfinite(flux)] for flux in spectra])
    if not values.size:
        return 0.0, 1.0
    continuum = np.quantile(values, 0.95)
    top = min(values.max(), 4 * continuum) if continuum > 0 else values.max()
    bottom = min(0.0, float(np.quantile(values, 0.001)))
    return bottom, max(1.08 * float(top), bottom + 1e-6)


def mark_lines(axes: Axes, panel: Panel, marks: Mapping[str, float] = MARKS) -> None:
    """Name the strong lines at the panel's redshift, above the spectra."""
    if panel.redshift is None or not np.isfinite(panel.redshift):
        return
    bottom, top = axes.get_ylim()
    axes.set_ylim(bottom, top + 0.3 * (top - bottom))
    first, last = axes.get_xlim()
    previous = first
    for name, rest in marks.items():
        observed = rest * (1 + panel.redshift)
        if not first + 1.7 * MARK_WIDTH_ANGSTROM < observed < last:
            continue
        crowded = observed - previous < CROWDED_ANGSTROM
        mark_line(axes, name, observed, "left" if crowded else "right")
        previous = observed


def mark_line(axes: Axes, name: str, angstrom: float, side: str = "right") -> None:
    """Name one line at a wavelength; `side` of the name is at the line."""
    axes.axvline(angstrom, color=COLOURS["quiet"], lw=0.5, ls=":", zorder=0)
    axes.annotate(
        name, (angstrom, 1), (1 if side == "left" else -1, -3), rotation=90, ha=side, va="top",
        xycoords=("data", "axes fraction"), textcoords="offset points", fontsize=6,
        color=COLOURS["quiet"],
    )  # fmt: skip


def legend_entries(all_axes: Sequence[Axes]) -> tuple[list, list[str]]:
    """Handles and labels of several axes, each label once, the truth first."""
    entries = {}
    for axes in all_axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    order = ("true", "generated", SHIFTED, "68 % of candidates", "other candidates")
    labels = [label for label in order if label in entries]
    return [entries[label] for label in labels], labels
