"""The mock survey beside real SDSS galaxies: breaks, colours, emission lines, mean spectra.

    python -m datasets.mock mock.h5 --count 3000 --seed 1
    python -m figures.mock_against_sdss mock.h5 --spectra sdss_spectra.h5 --output DIR

Makes mock_against_sdss.png and .pdf and prints the percentiles of what is drawn. The real galaxies
are nearby (most z < 0.05, the fibre sees their centres), those of the mock at 0.05 < z < 0.15: only
rest-frame quantities are compared, all measured by the same code on the noisy spectra. Colours are

    -2.5 log10 (⟨F_nu⟩_1 / ⟨F_nu⟩_2)   of the rest-frame bands BLUE, GREEN and RED.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from datasets.mock.catalogue import QUIESCENT, STAR_FORMING
from datasets.sdss.spec_files import read_spectra_collection
from datasets.survey import Survey
from utils.spectroscopy.bpt import kauffmann_2003, kewley_2001
from utils.spectroscopy.continuum import fit_continuum
from utils.spectroscopy.emission_lines import fit_lines
from utils.spectroscopy.lick_indices import measure_indices

BLUE, GREEN, RED = (4050.0, 4500.0), (5400.0, 5850.0), (6750.0, 7200.0)
REST_ANGSTROM = np.arange(3830.0, 7300.0, 2.0)
MINIMUM_SN = 8.0
REAL_COLOUR, MOCK_COLOUR = "#D55E00", "#0072B2"
EARLY, LATE = "early", "late"


@dataclass(frozen=True)
class Sample:
    """What is compared, one row per galaxy; ``rest`` are spectra in the rest frame."""

    name: str
    colour: str
    dn4000: np.ndarray
    blue_green: np.ndarray
    green_red: np.ndarray
    nii_halpha: np.ndarray  # log, NaN without all four lines
    oiii_hbeta: np.ndarray
    ew_halpha: np.ndarray
    rest: np.ndarray
    kind: np.ndarray  # EARLY, LATE or neither


def measure(name, colour, wavelength, flux, sigma, z, kind) -> Sample:
    """Measure the spectra (N, n) of a sample; ``sigma`` (N, n) or None."""
    breaks = measure_indices(wavelength, flux, sigma, z)["Dn4000"]
    lines = fit_lines(fit_continuum(wavelength, flux, sigma, z), z)
    names = ("NII6584", "Halpha", "OIII5007", "Hbeta")
    seen = np.all([lines.flux[line] > 3 * lines.flux_err[line] for line in names], axis=0)
    nii, halpha, oiii, hbeta = (np.where(seen, lines.flux[line], np.nan) for line in names)
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
    return measure("SDSS", REAL_COLOUR, wavelength, flux.astype(float), sigma, z, kind)


def mock_sample(path: str, limit: int) -> Sample:
    """The first ``limit`` galaxies of a mock survey, at the same limit of S/N."""
    survey = Survey(path)
    rows = np.flatnonzero(survey.catalogue["sn"][:limit] > MINIMUM_SN)
    flux = survey.read("spectra", rows).astype(float)
    z = survey.catalogue["z"][rows]
    types = survey.catalogue["type"][rows]
    kind = np.select([types == QUIESCENT, types == STAR_FORMING], [EARLY, LATE], "")
    return measure("mock", MOCK_COLOUR, survey.grid.angstrom, flux, None, z, kind)


def draw(samples: tuple[Sample, Sample]) -> plt.Figure:
    """The figure of all comparisons."""
    figure = plt.figure(figsize=(10, 8.6), layout="constrained")
    grid = figure.add_gridspec(3, 3, height_ratios=(1.15, 0.8, 0.8))
    _draw_breaks(figure.add_subplot(grid[0, 0]), samples)
    _draw_colours(figure.add_subplot(grid[0, 1]), samples)
    _draw_bpt(figure.add_subplot(grid[0, 2]), samples)
    panels = ((EARLY, "E, quiescent", 1.25), (LATE, "Sp + Ir, star forming", 2.2))
    for row, (kind, label, top) in enumerate(panels, start=1):
        _draw_means(figure.add_subplot(grid[row, :]), samples, kind, label, top)
    return figure


def _draw_breaks(axes: plt.Axes, samples: tuple[Sample, Sample]) -> None:
    bins = np.arange(0.9, 2.3, 0.04)
    for sample in samples:
        axes.hist(
            sample.dn4000, bins, density=True, histtype="step", color=sample.colour, lw=1.6,
            label=sample.name,
        )  # fmt: skip
        for kind, style in ((EARLY, ":"), (LATE, "--")):
            median = np.nanmedian(sample.dn4000[sample.kind == kind])
            axes.axvline(median, color=sample.colour, ls=style, lw=1)
    axes.set(xlabel=r"D$_n$4000", ylabel="density")
    axes.legend(frameon=False, loc="upper left", fontsize=8)
    axes.set_title("medians: dotted early, dashed late", fontsize=8)


def _draw_colours(axes: plt.Axes, samples: tuple[Sample, Sample]) -> None:
    for sample in samples:
        axes.plot(sample.blue_green, sample.green_red, ".", ms=2, alpha=0.35, color=sample.colour)
    axes.set(xlabel="rest colour 4275 Å − 5625 Å / mag", ylabel="rest colour 5625 Å − 6975 Å / mag")
    axes.set(xlim=(-0.1, 1.5), ylim=(0.0, 0.75))


def _draw_bpt(axes: plt.Axes, samples: tuple[Sample, Sample]) -> None:
    for sample in samples:
        axes.plot(sample.nii_halpha, sample.oiii_hbeta, ".", ms=2, alpha=0.45, color=sample.colour)
    x = np.linspace(-1.8, 0.6, 300)
    axes.plot(x, np.where(x < 0, kauffmann_2003(x), np.nan), "k--", lw=1, label="Kauffmann 2003")
    axes.plot(x, np.where(x < 0.4, kewley_2001(x), np.nan), "k-", lw=1, label="Kewley 2001")
    axes.set(xlabel=r"log [N II]6584 / H$\alpha$", ylabel=r"log [O III]5007 / H$\beta$")
    axes.set(xlim=(-1.8, 0.6), ylim=(-1.4, 1.3))
    axes.legend(frameon=False, loc="lower left", fontsize=7)


def _draw_means(
    axes: plt.Axes, samples: tuple[Sample, Sample], kind: str, label: str, top: float
) -> None:
    for sample in samples:
        spectra = sample.rest[sample.kind == kind]
        name = f"{sample.name}, {len(spectra)}"
        axes.plot(
            REST_ANGSTROM, np.median(spectra, axis=0), lw=0.9, color=sample.colour, label=name
        )
        low, high = np.percentile(spectra, (16, 84), axis=0)
        axes.fill_between(REST_ANGSTROM, low, high, color=sample.colour, alpha=0.15, lw=0)
    axes.set(ylabel="median flux / flux at 5625 Å", title=label, ylim=(0, top))
    axes.set(xlabel="rest wavelength (vacuum) / Å", xlim=(REST_ANGSTROM[0], REST_ANGSTROM[-1]))
    axes.legend(frameon=False, loc="upper left", fontsize=8)


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


def main(argv: list[str] | None = None) -> int:
    """Command line; 0 on success."""
    parser = argparse.ArgumentParser(
        prog="python -m figures.mock_against_sdss",
        description="Draw a mock survey beside real SDSS spectra.",
    )
    parser.add_argument("survey", help="mock survey file")
    parser.add_argument("--spectra", required=True, help="HDF5 collection of SDSS spectra")
    parser.add_argument("--output", default=".", help="folder of the figure (default: here)")
    parser.add_argument("--limit", type=int, default=2000, help="mock galaxies (default: 2000)")
    given = parser.parse_args(argv)
    samples = real_sample(given.spectra), mock_sample(given.survey, given.limit)
    print(report(samples))
    folder = Path(given.output)
    folder.mkdir(parents=True, exist_ok=True)
    figure = draw(samples)
    for suffix in ("png", "pdf"):
        figure.savefig(folder / f"mock_against_sdss.{suffix}", dpi=160)
    print(folder / "mock_against_sdss.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
