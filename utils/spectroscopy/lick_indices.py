"""The 4000 Å break and the 25 Lick/IDS absorption indices.

    Dn4000 = ⟨F_ν⟩(4000–4100 Å) / ⟨F_ν⟩(3850–3950 Å),   F_ν ∝ λ² F_λ     (Balogh et al. 1999)
    EW     = ∫ (1 − F/F_c) dλ  [Å],   for the molecular bands  −2.5 log₁₀ ⟨F/F_c⟩  [mag]

F_c is the straight line through the mean fluxes of the two side bands at their midpoints. Bands:
Trager et al. (1998, ApJS 116, 1, table 1) and, for the higher Balmer lines, Worthey & Ottaviani
(1997, ApJS 111, 377). All are tabulated in air and used here in vacuum, at rest.

A pixel counts with the part of it that lies inside a band. Indices are measured at the resolution
of the spectrum (not degraded to the 8–11 Å of the Lick/IDS system) and include line emission.
An index is NaN where a band leaves the coverage or lacks more than `MAX_MISSING` of its width.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from datasets.wavelengths import DN4000_BANDS_AIR_ANGSTROM, air_to_vacuum
from utils.spectroscopy.wavelength import good_pixels, pixel_edges

MAX_MISSING = 0.2  # part of the width of a band


@dataclass(frozen=True)
class Index:
    """Band, blue and red side band in air, Å; magnitude: mag instead of Å."""

    band: tuple[float, float]
    blue: tuple[float, float]
    red: tuple[float, float]
    magnitude: bool = False

    @property
    def unit(self) -> str:
        return "mag" if self.magnitude else "Angstrom"


MG_BLUE, MG_RED = (4895.125, 4957.625), (5301.125, 5366.125)
LICK_INDICES = {
    "CN1": Index((4142.125, 4177.125), (4080.125, 4117.625), (4244.125, 4284.125), True),
    "CN2": Index((4142.125, 4177.125), (4083.875, 4096.375), (4244.125, 4284.125), True),
    "Ca4227": Index((4222.250, 4234.750), (4211.000, 4219.750), (4241.000, 4251.000)),
    "G4300": Index((4281.375, 4316.375), (4266.375, 4282.625), (4318.875, 4335.125)),
    "Fe4383": Index((4369.125, 4420.375), (4359.125, 4370.375), (4442.875, 4455.375)),
    "Ca4455": Index((4452.125, 4474.625), (4445.875, 4454.625), (4477.125, 4492.125)),
    "Fe4531": Index((4514.250, 4559.250), (4504.250, 4514.250), (4560.500, 4579.250)),
    "C4668": Index((4634.000, 4720.250), (4611.500, 4630.250), (4742.750, 4756.500)),
    "Hbeta": Index((4847.875, 4876.625), (4827.875, 4847.875), (4876.625, 4891.625)),
    "Fe5015": Index((4977.750, 5054.000), (4946.500, 4977.750), (5054.000, 5065.250)),
    "Mg1": Index((5069.125, 5134.125), MG_BLUE, MG_RED, True),
    "Mg2": Index((5154.125, 5196.625), MG_BLUE, MG_RED, True),
    "Mgb": Index((5160.125, 5192.625), (5142.625, 5161.375), (5191.375, 5206.375)),
    "Fe5270": Index((5245.650, 5285.650), (5233.150, 5248.150), (5285.650, 5318.150)),
    "Fe5335": Index((5312.125, 5352.125), (5304.625, 5315.875), (5353.375, 5363.375)),
    "Fe5406": Index((5387.500, 5415.000), (5376.250, 5387.500), (5415.000, 5425.000)),
    "Fe5709": Index((5696.625, 5720.375), (5672.875, 5696.625), (5722.875, 5736.625)),
    "Fe5782": Index((5776.625, 5796.625), (5765.375, 5775.375), (5797.875, 5811.625)),
    "NaD": Index((5876.875, 5909.375), (5860.625, 5875.625), (5922.125, 5948.125)),
    "TiO1": Index((5936.625, 5994.125), (5816.625, 5849.125), (6038.625, 6103.625), True),
    "TiO2": Index((6189.625, 6272.125), (6066.625, 6141.625), (6372.625, 6415.125), True),
    "HdeltaA": Index((4083.500, 4122.250), (4041.600, 4079.750), (4128.500, 4161.000)),
    "HgammaA": Index((4319.750, 4363.500), (4283.500, 4319.750), (4367.250, 4419.750)),
    "HdeltaF": Index((4091.000, 4112.250), (4057.250, 4088.500), (4114.750, 4137.250)),
    "HgammaF": Index((4331.250, 4352.250), (4283.500, 4319.750), (4354.750, 4384.750)),
}


@dataclass(frozen=True)
class _Band:
    """The pixels of one band, W of them at most: every array (N, W), usable (N,)."""

    wavelength: np.ndarray  # rest frame, vacuum
    width: np.ndarray  # of the part inside the band, Å at rest; 0 for bad pixels
    flux: np.ndarray
    variance: np.ndarray
    usable: np.ndarray

    def mean(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean flux and its variance, (N,) each."""
        share = self.width / np.where(self.usable, self.width.sum(axis=1), np.nan)[:, None]
        return np.sum(share * self.flux, axis=1), np.sum(share**2 * self.variance, axis=1)


class _Spectra:
    """Spectra (N, n) with their redshifts, cut into bands of the rest frame."""

    def __init__(
        self,
        wavelength_angstrom: np.ndarray,
        flux: np.ndarray,
        sigma: np.ndarray | None,
        redshift: np.ndarray,
    ) -> None:
        self.wavelength = np.asarray(wavelength_angstrom, float)
        self.edges = pixel_edges(self.wavelength)
        self.good = good_pixels(flux, sigma)
        self.flux = np.where(self.good, flux, 0.0)
        if sigma is None:
            self.variance = np.full_like(self.flux, np.nan)
        else:
            self.variance = np.where(self.good, sigma, 0.0) ** 2
        self.stretch = 1.0 + np.asarray(redshift, float)[:, None]

    def band(self, air_angstrom: tuple[float, float]) -> _Band:
        """A rest-frame band, given in air, at every galaxy's redshift."""
        limits = air_to_vacuum(np.array(air_angstrom)) * self.stretch  # (N, 2)
        covered = (limits[:, 0] >= self.edges[0]) & (limits[:, 1] <= self.edges[-1])
        limits = np.where(covered[:, None], limits, self.edges[:2])
        first, last = np.searchsorted(self.edges, limits, side="right").T - 1
        pixel = first[:, None] + np.arange((last - first).max(initial=0) + 1)  # (N, W)
        inside = pixel < self.wavelength.size
        pixel = np.where(inside, pixel, 0)
        low = np.maximum(self.edges[pixel], limits[:, :1])
        high = np.minimum(self.edges[pixel + 1], limits[:, 1:])
        rows = np.arange(len(pixel))[:, None]
        width = np.where(inside & self.good[rows, pixel], np.maximum(high - low, 0.0), 0.0)
        present = width.sum(axis=1) >= (1.0 - MAX_MISSING) * (limits[:, 1] - limits[:, 0])
        return _Band(
            self.wavelength[pixel] / self.stretch,
            width / self.stretch,
            self.flux[rows, pixel],
            self.variance[rows, pixel],
            covered & present,
        )


def _dn4000(spectra: _Spectra) -> tuple[np.ndarray, np.ndarray]:
    means = []
    for limits in DN4000_BANDS_AIR_ANGSTROM:
        band = spectra.band(limits)
        square = band.wavelength**2
        means.append(replace(band, flux=band.flux * square, variance=band.variance * square**2))
    (blue, blue_variance), (red, red_variance) = (band.mean() for band in means)
    ratio = red / blue
    return ratio, np.abs(ratio) * np.sqrt(blue_variance / blue**2 + red_variance / red**2)


def _lick(spectra: _Spectra, index: Index) -> tuple[np.ndarray, np.ndarray]:
    band = spectra.band(index.band)
    (blue, blue_variance), (red, red_variance) = (
        spectra.band(side).mean() for side in (index.blue, index.red)
    )
    blue_centre, red_centre = (
        air_to_vacuum(np.array(side)).mean() for side in (index.blue, index.red)
    )
    red_share = (band.wavelength - blue_centre) / (red_centre - blue_centre)
    continuum = blue[:, None] + red_share * (red - blue)[:, None]
    total = np.where(band.usable, band.width.sum(axis=1), np.nan)
    share = band.width / total[:, None]
    relative = band.flux / continuum
    slope = share * relative / continuum  # −∂⟨F/F_c⟩/∂F_c
    mean = np.sum(share * relative, axis=1)
    variance = (
        np.sum((share / continuum) ** 2 * band.variance, axis=1)
        + np.sum(slope * (1.0 - red_share), axis=1) ** 2 * blue_variance
        + np.sum(slope * red_share, axis=1) ** 2 * red_variance
    )
    if index.magnitude:
        mean = np.where(mean > 0, mean, np.nan)
        return -2.5 * np.log10(mean), 2.5 / np.log(10.0) * np.sqrt(variance) / mean
    width = np.ptp(air_to_vacuum(np.array(index.band)))
    return width * (1.0 - mean), width * np.sqrt(variance)


def measure_indices(
    wavelength_angstrom: np.ndarray,
    flux: np.ndarray,
    sigma: np.ndarray | None,
    redshift: np.ndarray,
) -> dict[str, np.ndarray]:
    """Dn4000 and all Lick indices.

    Args:
        wavelength_angstrom: (n,) vacuum, observed frame, increasing.
        flux: (N, n) F_λ in any unit; NaN marks bad pixels.
        sigma: (N, n) in the unit of flux, not finite or 0 where there is no measurement; without it
            the errors are NaN.
        redshift: (N,); rows without a finite redshift measure NaN.

    Returns:
        For "Dn4000" and every key of `LICK_INDICES` the value (N,), and under the key + "_err" its
        standard error for independent pixels. Absorption is positive.
    """
    spectra = _Spectra(wavelength_angstrom, flux, sigma, redshift)
    result = {}
    with np.errstate(divide="ignore", invalid="ignore"):  # bands without flux end as NaN or inf
        result["Dn4000"], result["Dn4000_err"] = _dn4000(spectra)
        for name, index in LICK_INDICES.items():
            result[name], result[f"{name}_err"] = _lick(spectra, index)
    return result
