"""Galaxy spectra: the wavelength grid and the preparation of measured spectra.

After Doorenbos et al. 2024 (ApJ 977, 131) and its published code, with F(λ) the measured flux in
the observed frame and λ the vacuum wavelength in Å:

    cut → interpolate bad pixels → cubic spline S(λ) on the grid λ_i = 4000 … 8499 Å
        → S̃_i = Σ_j g(i − j) S_j / Σ_j g(i − j),  g a Gaussian of σ = 2 Å cut at 4σ
        → f_i = S̃_i / N,  N the median of S̃ over a window

A survey stores the linear f, about 1; `datasets.spectrum_transform` takes the logarithm, and
standardises and arranges the pixels.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

import numpy as np

from datasets.errors import UserError

# Bits of SDSS's `and_mask` that make a pixel unusable (bit mask SPPIXMASK of the SDSS data
# releases): rejected in extraction; sky level unknown; sky so bright (10 σ above the object) that
# its residuals dominate; contiguous region of bad sky residuals. Other grave conditions have
# ivar = 0 already; the remaining bits are warnings.
UNUSABLE_BITS = {"FULLREJECT": 18, "NOSKY": 22, "BRIGHTSKY": 23, "REDMONSTER": 28}
_UNUSABLE = sum(1 << bit for bit in UNUSABLE_BITS.values())

MAX_BAD_FRACTION = 0.25  # of the pixels inside the grid: beyond, interpolation dominates
COVERAGE_TOLERANCE_ANGSTROM = 2.0  # that data may end inside the grid: about one SDSS pixel
SN_WINDOW_ANGSTROM = (5500.0, 7000.0)  # in which S/N is the median over pixels
KERNEL_SIGMAS = 4.0  # half-width of the smoothing kernel, as astropy's Gaussian1DKernel has it
SIGMA_PERCENTILES = (16, 84)  # half their distance is σ of a normal distribution


class SpectrumError(UserError):
    """A spectrum that cannot be used."""


@dataclass(frozen=True)
class WavelengthGrid:
    """Vacuum wavelengths of the pixels: `start + step * k` for k = 0 … count − 1.

    Args:
        start: Of the first pixel, in Å or, on a "log10" grid, log10 Å.
        step: > 0, in Å or dex.
        count: Number of pixels.
        spacing: "linear" or "log10" (as SDSS pixels).
    """

    start: float = 4000.0
    step: float = 1.0
    count: int = 4500
    spacing: str = "linear"

    def __post_init__(self) -> None:
        if self.spacing not in ("linear", "log10"):
            raise ValueError(f"grid spacing is 'linear' or 'log10', not {self.spacing!r}")
        if self.step <= 0 or self.count < 1:
            raise ValueError("a wavelength grid needs step > 0 and count >= 1")

    @property
    def coordinate(self) -> np.ndarray:
        """(count,) float64: λ in Å, or log10 λ, in which the grid is regular."""
        return self.start + self.step * np.arange(self.count)

    @property
    def angstrom(self) -> np.ndarray:
        """(count,) float64 vacuum wavelengths in Å."""
        return self.coordinate if self.spacing == "linear" else 10.0**self.coordinate

    def every(self, factor: int) -> WavelengthGrid:
        """The grid of every `factor`-th pixel, starting with the first."""
        return replace(self, step=self.step * factor, count=-(-self.count // factor))

    def to_dict(self) -> dict:
        return asdict(self)

    @classmethod
    def from_dict(cls, settings: dict) -> WavelengthGrid:
        return cls(**settings)


METHOD_GRID = WavelengthGrid()  # of the 2024 paper: 4000 … 8499 Å
NATIVE_GRID = WavelengthGrid(3.5901, 1e-4, 3598, "log10")  # SDSS pixels of the 2022 paper


@dataclass(frozen=True)
class Preparation:
    """How measured spectra become prepared ones.

    Args:
        normalisation: Divide by the "median" or "mean" over the window, or "minmax": map its
            extremes to 0 and 1 (2022 paper). The median is insensitive to Hα, which lies in the
            published window for 0.051 < z < 0.059.
        window_angstrom: Half-open range [first, last) in Å.
        smoothing_sigma_angstrom: σ of the Gaussian in Å; 0 for none, as it must be on log10 grids.
        edges: "measured" smooths before cutting and renormalises the kernel where the data end;
            "zero" pads with zeros as the published code does (the edge pixel keeps 60 %).
        use_mask: Interpolate pixels that ivar or and_mask mark as bad. Those that are not finite
            are always interpolated.
    """

    normalisation: str = "median"
    window_angstrom: tuple[float, float] = (5500.0, 7000.0)
    smoothing_sigma_angstrom: float = 2.0
    edges: str = "measured"
    use_mask: bool = True

    def __post_init__(self) -> None:
        if self.normalisation not in ("median", "mean", "minmax"):
            raise ValueError(f"normalisation: median, mean or minmax, not {self.normalisation!r}")
        if self.edges not in ("measured", "zero"):
            raise ValueError(f"edges: measured or zero, not {self.edges!r}")
        if self.smoothing_sigma_angstrom < 0:
            raise ValueError("smoothing_sigma_angstrom must not be negative")

    @classmethod
    def original(cls) -> Preparation:
        """The processing of the published code of the 2024 paper."""
        return cls("mean", (6900.0, 6950.0), 2.0, edges="zero", use_mask=False)

    def to_dict(self) -> dict:
        return {**asdict(self), "window_angstrom": list(self.window_angstrom)}

    @classmethod
    def from_dict(cls, settings: dict) -> Preparation:
        first, last = settings["window_angstrom"]
        return cls(**{**settings, "window_angstrom": (float(first), float(last))})


# What `--preparation` of the commands chooses from: the grid and the preparation.
PREPARATIONS = {
    "median": (METHOD_GRID, Preparation()),
    "original": (METHOD_GRID, Preparation.original()),
    "native": (NATIVE_GRID, Preparation("minmax", (3800.0, 9000.0), 0.0)),
}


@dataclass(frozen=True)
class PreparedSpectrum:
    """`flux * normalisation + offset` is the smoothed flux in the units of the input."""

    flux: np.ndarray  # (count,) float32, linear, about 1
    interpolated: np.ndarray  # (count,) bool: rests on a bad native pixel
    normalisation: float
    offset: float  # 0 unless the normalisation is "minmax"


def prepare_spectrum(
    wavelength_angstrom: np.ndarray,
    flux: np.ndarray,
    ivar: np.ndarray | None = None,
    and_mask: np.ndarray | None = None,
    *,
    grid: WavelengthGrid = METHOD_GRID,
    preparation: Preparation = Preparation(),
) -> PreparedSpectrum:
    """Bring one measured spectrum onto the grid: see the formula at the top of this module.

    Args:
        wavelength_angstrom: (n,) vacuum Å, strictly increasing.
        flux: (n,) per Å in any linear unit.
        ivar: (n,) inverse variance of the flux; 0 means no data.
        and_mask: (n,) integer SDSS mask, of which `UNUSABLE_BITS` count.
        grid: Of the result.
        preparation: The recipe.

    Raises:
        SpectrumError: the good pixels do not cover the grid, more than `MAX_BAD_FRACTION` of those
            inside it are bad, or the normalisation is not positive.
    """
    wavelength = np.asarray(wavelength_angstrom, dtype=np.float64)
    flux = np.asarray(flux, dtype=np.float64)
    if wavelength.shape != flux.shape or np.any(np.diff(wavelength) <= 0):
        raise SpectrumError("wavelengths must be as many as fluxes and increase strictly")
    bad = _bad_pixels(flux, ivar, and_mask, preparation.use_mask)
    covered = _covered(wavelength, bad, grid)
    wavelength, flux, bad = wavelength[covered], flux[covered], bad[covered]
    if bad.any():
        flux = np.where(bad, np.interp(wavelength, wavelength[~bad], flux[~bad]), flux)

    smooth = _resample(wavelength, flux, grid, preparation)
    nodes = grid.angstrom
    interpolated = np.interp(nodes, wavelength, bad.astype(np.float64), left=1, right=1) > 0
    offset, scale = offset_and_scale(smooth, nodes, preparation)
    return PreparedSpectrum(
        ((smooth - offset) / scale).astype(np.float32), interpolated, scale, offset
    )


def signal_to_noise(
    wavelength_angstrom: np.ndarray,
    flux: np.ndarray,
    ivar: np.ndarray,
    and_mask: np.ndarray | None = None,
) -> float:
    """Median of flux · √ivar per native pixel, of the good ones in `SN_WINDOW_ANGSTROM`.

    The arguments are those of `prepare_spectrum`. NaN if no pixel of the window is good.
    """
    first, last = SN_WINDOW_ANGSTROM
    used = (wavelength_angstrom >= first) & (wavelength_angstrom < last)
    used &= ~_bad_pixels(flux, ivar, and_mask, use_mask=True)
    return float(np.median(flux[used] * np.sqrt(ivar[used]))) if used.any() else float("nan")


def _bad_pixels(flux, ivar, and_mask, use_mask: bool) -> np.ndarray:
    bad = ~np.isfinite(flux)
    if use_mask and ivar is not None:
        bad |= ~(np.asarray(ivar) > 0)  # also catches NaN
    if use_mask and and_mask is not None:
        bad |= (np.asarray(and_mask, dtype=np.int64) & _UNUSABLE) != 0
    return bad


def _covered(wavelength, bad, grid: WavelengthGrid) -> slice:
    """The range from the first to the last good pixel, if it covers the grid well enough."""
    good = np.flatnonzero(~bad)
    if len(good) < 4:  # a cubic spline needs as many
        raise SpectrumError("no usable pixels")
    covered = slice(good[0], good[-1] + 1)
    first, last = grid.angstrom[[0, -1]]
    if (
        wavelength[good[0]] > first + COVERAGE_TOLERANCE_ANGSTROM
        or wavelength[good[-1]] < last - COVERAGE_TOLERANCE_ANGSTROM
    ):
        raise SpectrumError(
            f"good pixels span {wavelength[good[0]]:.0f}-{wavelength[good[-1]]:.0f} Å, "
            f"the grid needs {first:.0f}-{last:.0f} Å"
        )
    fraction = bad[(wavelength >= first) & (wavelength <= last)].mean()
    if fraction > MAX_BAD_FRACTION:
        raise SpectrumError(
            f"{fraction:.0%} of the pixels are bad, at most {MAX_BAD_FRACTION:.0%} may be"
        )
    return covered


def _resample(wavelength, flux, grid: WavelengthGrid, preparation: Preparation) -> np.ndarray:
    """Spline onto the grid and smooth; (count,) float64."""
    from scipy.interpolate import CubicSpline  # slow to import; the grids are needed without it

    kernel = _gaussian(preparation.smoothing_sigma_angstrom, grid)
    radius = len(kernel) // 2
    data = wavelength if grid.spacing == "linear" else np.log10(wavelength)
    if preparation.edges == "zero":
        inside = (data > grid.start) & (data < grid.start + grid.step * grid.count)
        spline = CubicSpline(data[inside], flux[inside])
        return np.convolve(spline(grid.coordinate), kernel, mode="same")

    node = grid.start + grid.step * np.arange(-radius, grid.count + radius)
    weight = ((node >= data[0]) & (node <= data[-1])).astype(np.float64)
    weight[radius : radius + grid.count] = 1.0  # nodes up to the tolerance outside hold the edge
    sample = CubicSpline(data, flux)(np.clip(node, data[0], data[-1])) * weight
    return np.convolve(sample, kernel, "valid") / np.convolve(weight, kernel, "valid")


def _gaussian(sigma_angstrom: float, grid: WavelengthGrid) -> np.ndarray:
    if sigma_angstrom == 0:
        return np.ones(1)
    if grid.spacing != "linear":
        raise ValueError("smoothing in Å needs a linear grid: set smoothing_sigma_angstrom to 0")
    sigma = sigma_angstrom / grid.step
    offset = np.arange(-int(KERNEL_SIGMAS * sigma), int(KERNEL_SIGMAS * sigma) + 1)
    kernel = np.exp(-0.5 * (offset / sigma) ** 2)
    return kernel / kernel.sum()


def offset_and_scale(
    flux: np.ndarray, wavelength: np.ndarray, preparation: Preparation
) -> tuple[float, float]:
    """What a smoothed spectrum (n,) is normalised with: (flux − offset) / scale.

    Raises:
        SpectrumError: the scale is not positive.
    """
    first, last = preparation.window_angstrom
    window = flux[(wavelength >= first) & (wavelength < last)]
    if not len(window):
        raise ValueError(f"no pixel of the grid lies in the window {first:g}-{last:g} Å")
    if preparation.normalisation == "minmax":
        offset, scale = float(window.min()), float(np.ptp(window))
    else:
        offset, scale = 0.0, float(getattr(np, preparation.normalisation)(window))
    if not scale > 0:
        raise SpectrumError(f"{preparation.normalisation} over {first:g}-{last:g} Å is {scale:.3g}")
    return offset, scale


def candidate_sigma(candidates: np.ndarray) -> np.ndarray:
    """Half the range from the 16th to the 84th percentile of candidates.

    Args:
        candidates: (..., candidates, pixels).

    Returns:
        (..., pixels) float32; NaN for a single candidate, which has no spread.
    """
    if candidates.shape[-2] < 2:
        return np.full_like(candidates[..., 0, :], np.nan)
    low, high = np.percentile(candidates, SIGMA_PERCENTILES, axis=-2)
    return ((high - low) / 2).astype(np.float32)
