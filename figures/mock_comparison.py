"""Samples of mock and of real galaxies, measured alike: see `figures.mock_against_sdss`.

Real spectra are smoothed as those of a survey are. Indices and equivalent widths
of the mock galaxies are those of their noiseless spectra: at the S/N of the mock survey, a half of
the real one, noise in Dn4000 would mix its bins. All else is measured on its noisy spectra. Colours
are

    -2.5 log10 (⟨F_ν⟩_1 / ⟨F_ν⟩_2)   of the rest-frame bands BLUE, GREEN and RED.

The real galaxies are nearby and the fibre sees their centres, so that more of them are old. What
does not depend on this selection is held to bounds: medians of indices and equivalent widths at
fixed Dn4000, which may differ by the scatter of real galaxies of that Dn4000; the shares of
excitation classes; how far colours of spectrum and image disagree.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from astropy.stats import mad_std
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.ndimage import gaussian_filter1d

from datasets.mock.catalogue import QUIESCENT, STAR_FORMING
from datasets.photometry import colours, image_colours
from datasets.sdss.spec_files import read_spectra_collection
from datasets.spectra import Preparation
from datasets.survey import Survey
from datasets.synthetic_photometry import synthetic_colours
from figures.populations import draw_boundaries
from utils.plotting.style import COLOURS, new_figure, styled
from utils.spectroscopy.bpt import bpt_class
from utils.spectroscopy.continuum import fit_continuum
from utils.spectroscopy.emission_lines import fit_lines
from utils.spectroscopy.lick_indices import measure_indices

BLUE, GREEN, RED = (4050.0, 4500.0), (5400.0, 5850.0), (6750.0, 7200.0)  # Å, rest frame
REST_ANGSTROM = np.arange(3830.0, 7300.0, 2.0)
OBSERVED_ANGSTROM = np.arange(3830.0, 8500.0)  # of real spectra, on which they are smoothed
MINIMUM_SN = 8.0  # per pixel, of real spectra
EARLY, LATE = "early", "late"
INDICES = (
    "HdeltaA", "HgammaA", "CN2", "Ca4227", "G4300", "C4668", "Mgb", "Fe5270", "Fe5335",
)  # fmt: skip
BREAKS = (1.0, 1.25, 1.45, 1.65, 1.8, 1.9, 2.3)  # edges of the bins of Dn4000
FEWEST = 20  # galaxies of each sample in a bin
SHARE_BOUND = 0.08  # of shares of excitation classes
OLD_DN4000, OLD_BOUND = 1.9, 0.16  # the real fibres see centres alone, so that more are old
EW_BOUND_ANGSTROM = 0.5  # of the median EW Hα of old galaxies
COLOUR_BOUND_MAG, LARGEST_OFFSET_MAG = 0.012, 0.3  # of the scatter; beyond: blends
CLASSES = ("star forming", "composite", "Seyfert", "LINER")
POINTS = {"ms": 1.5, "alpha": 0.4, "rasterized": True}
LIMITS = {"blue_green": (-0.1, 1.5), "green_red": (0.0, 0.75), "bpt": (-1.8, 0.6, -1.7, 1.3)}


@dataclass(frozen=True)
class Sample:
    """Quantities of N galaxies.

    Args:
        name: in legends.
        colour: of its lines.
        columns: (N,) by name: `Dn4000`, `INDICES`, `ew_halpha`, `ew_oiii` (Å), `nii_halpha` and
            `oiii_hbeta` (logarithms, NaN without all four lines), `blue_green` and `green_red`
            (mag), `offset_gr` and `offset_ri` (colours of the spectrum minus the image's, mag).
        rest: (N, m) flux on `REST_ANGSTROM`, divided by its median in GREEN.
        kind: EARLY, LATE or empty.
    """

    name: str
    colour: str
    columns: dict[str, np.ndarray]
    rest: np.ndarray
    kind: np.ndarray

    def __getitem__(self, name: str) -> np.ndarray:
        return self.columns[name]


@dataclass(frozen=True)
class Row:
    """A compared value: `difference` is mock minus real, `bound` its largest size."""

    label: str
    real: float
    mock: float
    bound: float

    @property
    def difference(self) -> float:
        return self.mock - self.real

    @property
    def held(self) -> bool:
        return abs(self.difference) <= self.bound


def measure_sample(
    name: str,
    colour: str,
    wavelength: np.ndarray,
    flux: np.ndarray,
    z: np.ndarray,
    kind: np.ndarray,
    offsets: np.ndarray,
) -> Sample:
    """Measure a sample.

    Args:
        name, colour, kind: as in `Sample`.
        wavelength: (n,) Å, vacuum, observed frame.
        flux: (N, n).
        z: (N,).
        offsets: (N, 2) colours g − r and r − i of the spectra minus those of the images.
    """
    indices = measure_indices(wavelength, flux, None, z)
    lines = fit_lines(fit_continuum(wavelength, flux, None, z), z)
    names = ("NII6584", "Halpha", "OIII5007", "Hbeta")
    detected = np.all([lines.flux[line] > 3 * lines.flux_err[line] for line in names], axis=0)
    nii, halpha, oiii, hbeta = (np.where(detected, lines.flux[line], np.nan) for line in names)
    rows = zip(z, flux, strict=True)
    rest = np.stack([np.interp(REST_ANGSTROM, wavelength / (1 + z_i), row) for z_i, row in rows])
    rest = rest / np.median(rest[:, _inside(GREEN)], axis=1, keepdims=True)
    blue, green, red = (_mean_f_nu(rest, band) for band in (BLUE, GREEN, RED))
    columns = {name: indices[name] for name in ("Dn4000", *INDICES)}
    columns |= {
        "ew_halpha": lines.ew["Halpha"],
        "ew_oiii": lines.ew["OIII5007"],
        "nii_halpha": np.log10(nii / halpha),
        "oiii_hbeta": np.log10(oiii / hbeta),
        "blue_green": -2.5 * np.log10(blue / green),
        "green_red": -2.5 * np.log10(green / red),
        "offset_gr": offsets[:, 0],
        "offset_ri": offsets[:, 1],
    }
    return Sample(name, colour, columns, rest, kind)


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
    catalogue = collection.catalogue
    used = (catalogue["zwarning"] == 0) & (catalogue["cls"] == "GALAXY") & (catalogue["z"] < 0.15)
    used &= catalogue["sn"] > MINIMUM_SN
    good = collection.ivar > 0
    rest = collection.wavelength_angstrom / (1 + catalogue["z"][:, None])
    used &= (good & (rest < REST_ANGSTROM[0])).any(axis=1)
    smoothing = Preparation().smoothing_sigma_angstrom  # in pixels of 1 Å
    flux = [
        np.interp(OBSERVED_ANGSTROM, collection.wavelength_angstrom[own], row[own])
        for row, own in zip(collection.flux[used].astype(float), good[used], strict=True)
    ]
    flux = gaussian_filter1d(flux, smoothing, axis=1)
    morphology = catalogue["morph"][used]
    kind = np.select([morphology == "E", np.isin(morphology, ("Sp", "Ir"))], [EARLY, LATE], "")
    spectrum, image = (
        colours(catalogue[name][used][:, 1:4]) for name in ("spectroflux", "calibflux")
    )
    return measure_sample(
        "SDSS",
        COLOURS["highlight"],
        OBSERVED_ANGSTROM,
        flux,
        catalogue["z"][used],
        kind,
        spectrum - image,
    )


def mock_sample(path: str, limit: int) -> Sample:
    """The first `limit` galaxies of a mock survey."""
    survey = Survey(path)
    rows = np.arange(min(limit, len(survey)))
    flux = survey.read("spectra", rows).astype(float)
    types = survey.catalogue["type"][rows]
    kind = np.select([types == QUIESCENT, types == STAR_FORMING], [EARLY, LATE], "")
    offsets = synthetic_colours(survey.grid.angstrom, flux)
    offsets = offsets - image_colours(survey.read("images", rows), survey)
    about = "mock", COLOURS["generated"], survey.grid.angstrom
    z = survey.catalogue["z"][rows]
    noisy = measure_sample(*about, flux, z, kind, offsets)
    clean = measure_sample(*about, survey.truth("noiseless", rows).astype(float), z, kind, offsets)
    exact = ("Dn4000", *INDICES, "ew_halpha", "ew_oiii")
    return replace(noisy, columns=noisy.columns | {name: clean[name] for name in exact})


def bounded(real: Sample, mock: Sample) -> Iterator[Row]:
    """The compared values that have a bound."""
    for low, high in pairwise(BREAKS):
        inside = [(s["Dn4000"] > low) & (s["Dn4000"] < high) for s in (real, mock)]
        if min(np.count_nonzero(one) for one in inside) < FEWEST:
            continue
        for name in (*INDICES, "ew_halpha", "ew_oiii"):
            values = [s[name][one] for s, one in zip((real, mock), inside, strict=True)]
            label = f"{name}, Dn4000 {low:g} to {high:g}"
            bound = mad_std(values[0], ignore_nan=True)
            yield Row(label, *(np.nanmedian(v) for v in values), bound)
    shares = [_class_shares(sample) for sample in (real, mock)]
    for name in CLASSES:
        yield Row(f"share of {name}", *(share[name] for share in shares), SHARE_BOUND)
    old = [s["Dn4000"] > OLD_DN4000 for s in (real, mock)]
    yield Row(f"share with Dn4000 > {OLD_DN4000:g}", *(one.mean() for one in old), OLD_BOUND)
    widths = [np.nanmedian(s["ew_halpha"][o]) for s, o in zip((real, mock), old, strict=True)]
    yield Row("EW Hα of these / Å", *widths, EW_BOUND_ANGSTROM)
    for name, label in (("offset_gr", "g−r"), ("offset_ri", "r−i")):
        scatter = [_scatter(sample[name]) for sample in (real, mock)]
        yield Row(f"scatter of {label}, spectrum − image / mag", *scatter, COLOUR_BOUND_MAG)


def _class_shares(sample: Sample) -> dict[str, float]:
    """Shares of the excitation classes among the galaxies with all four lines."""
    classes = bpt_class(sample["nii_halpha"], sample["oiii_hbeta"])
    classified = classes != "undetermined"
    return {name: float(np.mean(classes[classified] == name)) for name in CLASSES}


def _scatter(offsets: np.ndarray) -> float:
    offsets = offsets - np.nanmedian(offsets)
    return float(np.nanstd(offsets[np.abs(offsets) < LARGEST_OFFSET_MAG]))


def report(samples: tuple[Sample, Sample]) -> str:
    """Percentiles of every quantity, and the bounded values."""
    lines = [f"{'':14}{'':8}" + "".join(f"{p:>9}" for p in ("16 %", "median", "84 %"))]
    for quantity in samples[0].columns:
        for sample in samples:
            cells = "".join(f"{p:9.3f}" for p in np.nanpercentile(sample[quantity], (16, 50, 84)))
            lines.append(f"{quantity:14}{sample.name:8}{cells}")
    lines += ["", f"{'':44}{'SDSS':>9}{'mock':>9}{'differs':>9}{'bound':>9}"]
    for row in bounded(*samples):
        numbers = (row.real, row.mock, row.difference, row.bound)
        cells = "".join(f"{value:9.3f}" for value in numbers)
        lines.append(f"{row.label:44}{cells}{'' if row.held else '  beyond the bound'}")
    rows = list(bounded(*samples))
    near = sum(abs(row.difference) <= row.bound / 2 for row in rows)
    held = sum(row.held for row in rows)
    lines.append(f"{held} of {len(rows)} within the bound, {near} within half of it")
    return "\n".join(lines)


@styled
def draw(samples: tuple[Sample, Sample]) -> Figure:
    """The figure of all comparisons."""
    figure = new_figure(8.2)
    grid = figure.add_gridspec(4, 3, height_ratios=(1.1, 1.1, 0.8, 0.8))
    _draw_breaks(figure.add_subplot(grid[0, 0]), samples)
    _draw_colours(figure.add_subplot(grid[0, 1]), samples)
    _draw_bpt(figure.add_subplot(grid[0, 2]), samples)
    shown = (("HdeltaA", "HδA (Å)"), ("Mgb", "Mg b (Å)"), ("Fe5335", "Fe5335 (Å)"))
    for column, (name, label) in enumerate(shown):
        axes = figure.add_subplot(grid[1, column])
        _draw_index(axes, samples, name, label)
        if column == 0:
            axes.set_title("medians in bins; bars: scatter of SDSS", loc="left")
    panels = ((EARLY, "E, quiescent", 1.25), (LATE, "Sp + Ir, star forming", 2.2))
    for row, (kind, label, top) in enumerate(panels, start=2):
        _draw_means(figure.add_subplot(grid[row, :]), samples, kind, label, top)
    return figure


def _draw_breaks(axes: Axes, samples: tuple[Sample, Sample]) -> None:
    bins = np.arange(0.9, 2.3, 0.04)
    for sample in samples:
        axes.hist(
            sample["Dn4000"], bins, density=True, histtype="step", color=sample.colour, lw=1.1,
            label=sample.name,
        )  # fmt: skip
        for kind, style in ((EARLY, ":"), (LATE, "--")):
            median = np.nanmedian(sample["Dn4000"][sample.kind == kind])
            axes.axvline(median, color=sample.colour, ymax=0.88, ls=style, lw=0.7)
    axes.set(xlabel=r"D$_n$4000", ylabel="density")
    axes.set_ylim(0, 1.3 * axes.get_ylim()[1])
    axes.legend(loc="upper left", ncols=2)
    axes.set_title("medians: dotted early, dashed late", loc="left")


def _draw_colours(axes: Axes, samples: tuple[Sample, Sample]) -> None:
    for sample in samples:
        axes.plot(sample["blue_green"], sample["green_red"], ".", color=sample.colour, **POINTS)
    axes.set(xlabel="rest colour 4275−5625 Å (mag)", ylabel="rest colour 5625−6975 Å (mag)")
    axes.set(xlim=LIMITS["blue_green"], ylim=LIMITS["green_red"])


def _draw_bpt(axes: Axes, samples: tuple[Sample, Sample]) -> None:
    for sample in samples:
        axes.plot(sample["nii_halpha"], sample["oiii_hbeta"], ".", color=sample.colour, **POINTS)
    draw_boundaries(axes, LIMITS["bpt"], color=COLOURS["truth"], lw=0.7)
    axes.set(xlabel=r"log [N II]6584 / H$\alpha$", ylabel=r"log [O III]5007 / H$\beta$")
    axes.set(xlim=LIMITS["bpt"][:2], ylim=LIMITS["bpt"][2:])
    axes.legend(loc="lower left")


def _draw_index(axes: Axes, samples: tuple[Sample, Sample], name: str, label: str) -> None:
    """An index against Dn4000: the galaxies, and medians in bins with the bounds."""
    for sample in samples:
        axes.plot(sample["Dn4000"], sample[name], ".", color=sample.colour, **POINTS)
    for sample, marker in zip(samples, ("o", "s"), strict=True):
        places, medians, errors = [], [], []
        for low, high in pairwise(BREAKS):
            inside = (sample["Dn4000"] > low) & (sample["Dn4000"] < high)
            if np.count_nonzero(inside) >= FEWEST:
                places.append(np.median(sample["Dn4000"][inside]))
                medians.append(np.nanmedian(sample[name][inside]))
                errors.append(mad_std(sample[name][inside], ignore_nan=True))
        bars = errors if sample is samples[0] else None
        axes.errorbar(
            places, medians, bars, fmt=marker, ms=3.5, mec="white", mew=0.5, color=sample.colour,
            ecolor=sample.colour, lw=1.0, zorder=3,
        )  # fmt: skip
    values = np.concatenate([sample[name] for sample in samples])
    axes.set(xlabel=r"D$_n$4000", ylabel=label, xlim=(0.95, 2.2))
    axes.set_ylim(*np.nanpercentile(values, (0.5, 99.5)))


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
