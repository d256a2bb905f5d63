"""Samples of mock and of real galaxies, measured alike: see `figures.mock_against_sdss`.

Only rest-frame quantities are compared, all measured by the same code on noisy spectra. Colours are

    -2.5 log10 (⟨F_ν⟩_1 / ⟨F_ν⟩_2)   of the rest-frame bands BLUE, GREEN and RED.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from datasets.mock.catalogue import QUIESCENT, STAR_FORMING
from datasets.sdss.spec_files import read_spectra_collection
from datasets.survey import Survey
from utils.plotting.style import COLOURS, PAGE_WIDTH_INCHES, styled
from utils.spectroscopy.bpt import kauffmann_2003, kewley_2001
from utils.spectroscopy.continuum import fit_continuum
from utils.spectroscopy.emission_lines import fit_lines
from utils.spectroscopy.lick_indices import measure_indices

BLUE, GREEN, RED = (4050.0, 4500.0), (5400.0, 5850.0), (6750.0, 7200.0)  # Å, rest frame
REST_ANGSTROM = np.arange(3830.0, 7300.0, 2.0)
MINIMUM_SN = 8.0  # per pixel
EARLY, LATE = "early", "late"
POINTS = {"ms": 1.5, "alpha": 0.4, "rasterized": True}
BOUNDARIES = (
    (0.0, kauffmann_2003, "--", "Kauffmann 2003"), (0.4, kewley_2001, "-", "Kewley 2001")
)  # fmt: skip
LIMITS = {"blue_green": (-0.1, 1.5), "green_red": (0.0, 0.75), "bpt": (-1.8, 0.6, -1.7, 1.3)}


@dataclass(frozen=True)
class Sample:
    """Quantities (N,) of N galaxies.

    Args:
        name: in legends.
        colour: of its lines.
        dn4000: break.
        blue_green, green_red: colours, mag.
        nii_halpha, oiii_hbeta: logarithms of line ratios, NaN without all four lines.
        ew_halpha: equivalent width, Å.
        rest: (N, m) flux on `REST_ANGSTROM`, divided by its median in GREEN.
        kind: EARLY, LATE or empty.
    """

    name: str
    colour: str
    dn4000: np.ndarray
    blue_green: np.ndarray
    green_red: np.ndarray
    nii_halpha: np.ndarray
    oiii_hbeta: np.ndarray
    ew_halpha: np.ndarray
    rest: np.ndarray
    kind: np.ndarray


def measure_sample(
    name: str,
    colour: str,
    wavelength: np.ndarray,
    flux: np.ndarray,
    sigma: np.ndarray | None,
    z: np.ndarray,
    kind: np.ndarray,
) -> Sample:
    """Measure a sample.

    Args:
        name, colour, kind: as in `Sample`.
        wavelength: (n,) Å, vacuum, observed frame.
        flux: (N, n).
        sigma: (N, n) of the flux, or None.
        z: (N,).
    """
    breaks = measure_indices(wavelength, flux, sigma, z)["Dn4000"]
    lines = fit_lines(fit_continuum(wavelength, flux, sigma, z), z)
    names = ("NII6584", "Halpha", "OIII5007", "Hbeta")
    detected = np.all([lines.flux[line] > 3 * lines.flux_err[line] for line in names], axis=0)
    nii, halpha, oiii, hbeta = (np.where(detected, lines.flux[line], np.nan) for line in names)
    rows = zip(z, flux, strict=True)
    rest = np.stack([np.interp(REST_ANGSTROM, wavelength / (1 + z_i), row) for z_i, row in rows])
    rest = rest / np.median(rest[:, _inside(GREEN)], axis=1, keepdims=True)
    blue, green, red = (_mean_f_nu(rest, band) for band in (BLUE, GREEN, RED))
    return Sample(
        name,
        colour,
        breaks,
        -2.5 * np.log10(blue / green),
        -2.5 * np.log10(green / red),
        np.log10(nii / halpha),
        np.log10(oiii / hbeta),
        lines.ew["Halpha"],
        rest,
        kind,
    )


def _inside(band: tuple[float, float]) -> np.ndarray:
    low, high = band
    return (low < REST_ANGSTROM) & (high > REST_ANGSTROM)


def _mean_f_nu(rest: np.ndarray, band: tuple[float, float]) -> np.ndarray:
    inside = _inside(band)
    mean = (rest[:, inside] * REST_ANGSTROM[inside] ** 2).mean(axis=1)
    return np.where(mean > 0, mean, np.nan)


def real_sample(path: str) -> Sample:
    """Real galaxies with a secure redshift, covering the rest-frame range."""
    collection = read_spectra_collection(path)
    columns = collection.catalogue
    used = (columns["zwarning"] == 0) & (columns["cls"] == "GALAXY") & (columns["z"] < 0.15)
    used &= columns["sn"] > MINIMUM_SN
    flux, ivar, z = collection.flux[used], collection.ivar[used], columns["z"][used]
    good = ivar > 0
    covered = good & (collection.wavelength_angstrom / (1 + z[:, None]) < REST_ANGSTROM[0])
    whole = covered.any(axis=1)
    flux, good, ivar, z = flux[whole], good[whole], ivar[whole], z[whole]
    sigma = np.where(good, 1 / np.sqrt(np.where(good, ivar, 1)), np.nan)
    morphology = columns["morph"][used][whole]
    kind = np.select([morphology == "E", np.isin(morphology, ("Sp", "Ir"))], [EARLY, LATE], "")
    wavelength = collection.wavelength_angstrom
    return measure_sample(
        "SDSS", COLOURS["highlight"], wavelength, flux.astype(float), sigma, z, kind
    )


def mock_sample(path: str, limit: int) -> Sample:
    """The first `limit` galaxies of a mock survey, at the same limit of S/N."""
    survey = Survey(path)
    rows = np.flatnonzero(survey.catalogue["sn"][:limit] > MINIMUM_SN)
    flux = survey.read("spectra", rows).astype(float)
    z = survey.catalogue["z"][rows]
    types = survey.catalogue["type"][rows]
    kind = np.select([types == QUIESCENT, types == STAR_FORMING], [EARLY, LATE], "")
    return measure_sample("mock", COLOURS["generated"], survey.grid.angstrom, flux, None, z, kind)


@styled
def draw(samples: tuple[Sample, Sample]) -> Figure:
    """The figure of all comparisons."""
    figure = Figure(figsize=(PAGE_WIDTH_INCHES, 6.4), layout="constrained")
    grid = figure.add_gridspec(3, 3, height_ratios=(1.15, 0.8, 0.8))
    _draw_breaks(figure.add_subplot(grid[0, 0]), samples)
    _draw_colours(figure.add_subplot(grid[0, 1]), samples)
    _draw_bpt(figure.add_subplot(grid[0, 2]), samples)
    panels = ((EARLY, "E, quiescent", 1.25), (LATE, "Sp + Ir, star forming", 2.2))
    for row, (kind, label, top) in enumerate(panels, start=1):
        _draw_means(figure.add_subplot(grid[row, :]), samples, kind, label, top)
    return figure


def _draw_breaks(axes: Axes, samples: tuple[Sample, Sample]) -> None:
    bins = np.arange(0.9, 2.3, 0.04)
    for sample in samples:
        axes.hist(
            sample.dn4000, bins, density=True, histtype="step", color=sample.colour, lw=1.1,
            label=sample.name,
        )  # fmt: skip
        for kind, style in ((EARLY, ":"), (LATE, "--")):
            median = np.nanmedian(sample.dn4000[sample.kind == kind])
            axes.axvline(median, color=sample.colour, ymax=0.88, ls=style, lw=0.7)
    axes.set(xlabel=r"D$_n$4000", ylabel="density")
    axes.set_ylim(0, 1.3 * axes.get_ylim()[1])
    axes.legend(loc="upper left", ncols=2)
    axes.set_title("medians: dotted early, dashed late", loc="left")


def _draw_colours(axes: Axes, samples: tuple[Sample, Sample]) -> None:
    for sample in samples:
        axes.plot(sample.blue_green, sample.green_red, ".", color=sample.colour, **POINTS)
    axes.set(xlabel="rest colour 4275−5625 Å (mag)", ylabel="rest colour 5625−6975 Å (mag)")
    axes.set(xlim=LIMITS["blue_green"], ylim=LIMITS["green_red"])


def _draw_bpt(axes: Axes, samples: tuple[Sample, Sample]) -> None:
    for sample in samples:
        axes.plot(sample.nii_halpha, sample.oiii_hbeta, ".", color=sample.colour, **POINTS)
    x = np.linspace(*LIMITS["bpt"][:2], 300)
    for end, boundary, style, label in BOUNDARIES:
        y = np.where(x < end, boundary(x), np.nan)
        axes.plot(x, y, color=COLOURS["truth"], ls=style, lw=0.7, label=label)
    axes.set(xlabel=r"log [N II]6584 / H$\alpha$", ylabel=r"log [O III]5007 / H$\beta$")
    axes.set(xlim=LIMITS["bpt"][:2], ylim=LIMITS["bpt"][2:])
    axes.legend(loc="lower left")


def _draw_means(
    axes: Axes, samples: tuple[Sample, Sample], kind: str, label: str, top: float
) -> None:
    for sample in samples:
        spectra = sample.rest[sample.kind == kind]
        name = f"{sample.name}, {len(spectra)}"
        axes.plot(
            REST_ANGSTROM, np.median(spectra, axis=0), lw=0.9, color=sample.colour, label=name
        )
        low, high = np.percentile(spectra, (16, 84), axis=0)
        axes.fill_between(REST_ANGSTROM, low, high, color=sample.colour, alpha=0.15, lw=0)
    axes.set(ylabel="Flux / flux at 5625 Å", ylim=(0, top))
    axes.set_title(label + ": median, and 16th to 84th percentile", loc="left")
    axes.set(xlabel="Rest wavelength (Å, vacuum)", xlim=(REST_ANGSTROM[0], REST_ANGSTROM[-1]))
    axes.legend(loc="upper left")


def report(samples: tuple[Sample, Sample]) -> str:
    """Percentiles 16, 50, 84 of every quantity and type."""
    lines = [f"{'':22}{'':8}" + "".join(f"{p:>9}" for p in ("16 %", "median", "84 %"))]
    for kind in (EARLY, LATE):
        for quantity in ("dn4000", "blue_green", "green_red", "ew_halpha", "nii_halpha"):
            for sample in samples:
                values = getattr(sample, quantity)[sample.kind == kind]
                cells = "".join(f"{p:9.3f}" for p in np.nanpercentile(values, (16, 50, 84)))
                lines.append(f"{kind + ' ' + quantity:22}{sample.name:8}{cells}")
    return "\n".join(lines)
