r"""Whether the parts of a spectrum agree on one redshift, and its line ratios with atomic physics.

Groups of features T_k(x), x = ln λ, are searched for one by one, each at its own velocity v
relative to the redshift of the whole spectrum:

    gain(v) = max_{a ≥ 0} Δχ²,    Δχ² = Σ_i w_i [d_i² − (d_i − Σ_k a_k T_k(x_i − v/c))²]

* Emission: Hα with [N II], [O III], Hβ; d is the spectrum minus its stellar continuum. Pixels near
  other emission lines and near the sky line [O I] 5578.9 do not count. Farther than `LOCAL_KM_S`
  from the redshift, pixels near the lines of the group do not count either: 4959 must not pass for
  a displaced 5007.
* Absorption: d is the spectrum minus its running mean, without emission lines, and T are those of
  kcorrect's stars: a blue group (Ca H+K, G band, Hδ) and a red one (Mg b, Fe). Na D, partly
  interstellar, and Ca H+K alone are features whose velocities are reported, but not groups.

A group is at the maximum of its gain and usable where √gain, the S/N, is at least `SIGNIFICANCE`.
It is searched for within ±`REACH_KM_S`, fifty times the tolerance: real offsets are found, and a
spurious peak agrees with another in 2 % of cases. The noise comes from the spectrum: the median
absolute residual of the continuum fit in blocks of wavelength, times the correlation of
neighbouring pixels. For a noise-free spectrum, it is the residual of the stellar model.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import numpy as np

from datasets.constants import SPEED_OF_LIGHT_KM_S
from datasets.line_list import ABSORPTION_ANGSTROM, LINES
from utils.spectroscopy.continuum import (
    CONTINUUM_GRID,
    CONTINUUM_PIXELS,
    MASKED_ANGSTROM,
    ContinuumFit,
    correlated_pixels,
    line_free,
    local_mean,
)
from utils.spectroscopy.emission_lines import LineFit
from utils.spectroscopy.galaxy_templates import LINE_GROUPS, LINE_SIGMA_KM_S, kcorrect_stars
from utils.spectroscopy.redshift import parabola, remove_continuum

GROUPS = ("Halpha", "OIII", "Hbeta", "absorption_blue", "absorption_red")
FEATURES = ("CaHK", "NaD")
RATIOS = {  # column: line above, line below, relative error up to which the ratio counts
    "balmer_decrement": ("Halpha", "Hbeta", 0.10),
    "OIII_ratio": ("OIII5007", "OIII4959", 0.05),
    "NII_ratio": ("NII6584", "NII6548", 0.05),
}
REACH_KM_S, FEATURE_REACH_KM_S = 15000.0, 1500.0  # of the search for groups and for features
LOCAL_KM_S = 1500.0  # within it the lines of a group cannot be mistaken for each other
SIGNIFICANCE = 7.0  # S/N of a usable group
MINIMUM_COVERAGE = 0.6  # of the power of a template
NARROW_MASK_KM_S = 200.0  # around emission lines in the core of Ca H
SKY_LINE_ANGSTROM = (5569.0, 5589.0)  # observed: residuals of [O I] 5578.9 look like lines
NOISE_BLOCKS, LEVEL_BLOCKS = 14, 50  # over the continuum grid
SIGMA_PER_MAD = 1.4826  # of a normal distribution
_SODIUM = tuple(ABSORPTION_ANGSTROM[name] for name in ("NaD2", "NaD1"))
_CALCIUM = tuple(ABSORPTION_ANGSTROM[name] for name in ("CaK", "CaH"))
_WINDOWS_ANGSTROM = {
    "absorption_blue": (3850.0, 4450.0),
    "absorption_red": (5050.0, 5850.0),
    "CaHK": (3880.0, 4020.0),
    "NaD": (5840.0, 5950.0),
}
_EMISSION = {  # lines with a fixed ratio make one template
    "Halpha": ({"Halpha": 1.0}, LINE_GROUPS["[N II]"]),
    "OIII": (LINE_GROUPS["[O III]"],),
    "Hbeta": ({"Hbeta": 1.0},),
}


def coherence_units() -> dict[str, str]:
    """Unit of every column of `measure_coherence`."""
    return {velocity_column(name): "km/s" for name in (*GROUPS, *FEATURES)} | dict.fromkeys(
        RATIOS, ""
    )


def velocity_column(name: str) -> str:
    """Name of the column with the velocity of a group or feature."""
    return f"{name}_velocity"


def measure_coherence(
    spectra: ContinuumFit, lines: LineFit, redshift: np.ndarray
) -> dict[str, np.ndarray]:
    """Velocities of the groups and features, and line ratios.

    Args:
        spectra: from `fit_continuum`.
        lines: from `fit_lines`.
        redshift: (N,) the same as there.

    Returns:
        The columns of `coherence_units`, (N,) each: km/s relative to the redshift, NaN where not
        covered or not significant; ratios of line fluxes, NaN where less precise than `RATIOS`
        demands.
    """
    observed = CONTINUUM_GRID.angstrom * (1.0 + redshift)[:, None]
    sky = (observed > SKY_LINE_ANGSTROM[0]) & (observed < SKY_LINE_ANGSTROM[1])
    measured = (spectra.weight > 0) & ~sky
    quiet = measured & line_free(CONTINUUM_GRID)
    residual = _without_slow_errors(spectra.flux - spectra.continuum, quiet)
    weight = measured / _variance(residual, quiet)
    pattern = spectra.flux - local_mean(spectra.flux, measured & _stellar())
    noise = 1.0 / np.sqrt(np.maximum(weight.max(axis=1), np.finfo(float).tiny))[:, None]
    residual, pattern, weight = residual / noise, pattern / noise, weight * noise**2
    result = {}
    for name in (*GROUPS, *FEATURES):
        data = residual if name in _EMISSION else pattern
        velocity, gain, covered = _search(_bank(name), data, weight)
        usable = covered & (gain >= SIGNIFICANCE**2)
        result[velocity_column(name)] = np.where(usable, velocity, np.nan)
    return result | _ratios(lines)


def _ratios(lines: LineFit) -> dict[str, np.ndarray]:
    """Columns of `RATIOS`."""
    result = {}
    for name, (above, below, precision) in RATIOS.items():
        flux = [np.where(lines.flux[x] > 0, lines.flux[x], np.nan) for x in (above, below)]
        noise = [lines.flux_err[x] / f for x, f in zip((above, below), flux, strict=True)]
        precise = (noise[0] > 0) & (noise[1] > 0) & (np.hypot(*noise) < precision)
        result[name] = np.where(precise, flux[0] / flux[1], np.nan)
    return result


def _without_slow_errors(residual: np.ndarray, used: np.ndarray) -> np.ndarray:
    """Residuals (N, m) minus their medians in `LEVEL_BLOCKS`, which keeps stellar features."""
    return residual - _block_medians(residual, used, LEVEL_BLOCKS)


def _variance(residual: np.ndarray, used: np.ndarray) -> np.ndarray:
    """Variance (N, m) of independent values, from the residuals of the used pixels; robust."""
    sigma = SIGMA_PER_MAD * _block_medians(np.abs(residual), used, NOISE_BLOCKS)
    sigma = np.where(sigma > 0, sigma, 1.0)  # of an empty spectrum
    ordinary = used & (np.abs(residual) < 4.0 * sigma)
    return sigma**2 * correlated_pixels(residual / sigma, ordinary)


def _block_medians(values: np.ndarray, used: np.ndarray, blocks: int) -> np.ndarray:
    """Lower medians of the used pixels in equal blocks, linear between their centres, (N, m).

    Blocks without used pixels take the mean of the others.
    """
    parts = np.array_split(np.arange(CONTINUUM_GRID.count), blocks)
    sortable = np.where(used, values, np.inf)
    median, found = np.zeros((len(values), blocks)), np.zeros((len(values), blocks), bool)
    for k, part in enumerate(parts):
        count = used[:, part].sum(axis=1)[:, None]
        middle = np.maximum(count - 1, 0) // 2
        lower = np.take_along_axis(np.sort(sortable[:, part], axis=1), middle, axis=1)
        found[:, k] = count[:, 0] > 0
        median[:, k] = np.where(found[:, k], lower[:, 0], 0.0)
    mean = median.sum(axis=1) / np.maximum(found.sum(axis=1), 1)
    median = np.where(found, median, mean[:, None])
    pixels, centres = np.arange(CONTINUUM_GRID.count), [part.mean() for part in parts]
    return median @ np.stack([np.interp(pixels, centres, one) for one in np.eye(blocks)])


@dataclass(frozen=True)
class _Bank:
    """Templates at all velocities: float32 shifted (K, S, m) on the pixels (m,), at lags (S,)."""

    pixels: np.ndarray
    lags: np.ndarray
    shifted: np.ndarray


@cache
def _bank(name: str) -> _Bank:
    """The templates of a group or feature on the pixels where they may be found."""
    reach = FEATURE_REACH_KM_S if name in FEATURES else REACH_KM_S
    count = int(reach / CONTINUUM_GRID.km_s)
    lags = np.arange(-count, count + 1)
    if name in _EMISSION:
        templates = np.stack([_lines(part) for part in _EMISSION[name]])
        touched = np.flatnonzero(templates.any(axis=0))
        used = slice(max(touched[0] - count, 0), touched[-1] + count + 1)
        own = [LINES[line][0] for part in _EMISSION[name] for line in part]
        local, far = (
            line_free(CONTINUUM_GRID, lines) for lines in (_without(_nebular(), own), _nebular())
        )
        allowed = np.where(np.abs(lags[:, None]) * CONTINUUM_GRID.km_s < LOCAL_KM_S, local, far)
    else:
        templates = _absorption(name)
        used = CONTINUUM_GRID.part(*_WINDOWS_ANGSTROM[name])
        allowed = _stellar()
    pixels = np.arange(CONTINUUM_GRID.count)[used]
    origin = pixels - lags[:, None]
    within = (origin >= 0) & (origin < CONTINUUM_GRID.count) & allowed[..., used]
    shifted = templates[:, np.clip(origin, 0, CONTINUUM_GRID.count - 1)] * within
    return _Bank(pixels, lags, shifted.astype(np.float32))


def _absorption(name: str) -> np.ndarray:
    """Absorption templates (K, m) without their running mean."""
    if name == "NaD":
        return remove_continuum(-_gaussians(dict.fromkeys(_SODIUM, 1.0), 150.0)[None])
    if name == "CaHK":
        return remove_continuum(-_gaussians(dict.fromkeys(_CALCIUM, 1.0), 300.0)[None])
    stars = remove_continuum(kcorrect_stars())[:, CONTINUUM_PIXELS]
    return stars if name == "absorption_blue" else stars[:1]


def _lines(fluxes: dict[str, float]) -> np.ndarray:
    """Gaussians (m,) at lines of `LINES`."""
    return _gaussians({LINES[name][0]: flux for name, flux in fluxes.items()}, LINE_SIGMA_KM_S)


def _gaussians(fluxes: dict[float, float], sigma_km_s: float) -> np.ndarray:
    """Gaussians (m,) in ln λ of given relative flux, exactly 0 beyond 4 σ."""
    total = np.zeros(CONTINUUM_GRID.count)
    for centre, flux in fluxes.items():
        u = np.log(CONTINUUM_GRID.angstrom / centre) * SPEED_OF_LIGHT_KM_S / sigma_km_s
        total += np.where(np.abs(u) < 4.0, flux / centre * np.exp(-0.5 * u**2), 0.0)
    return total


def _nebular() -> list[float]:
    """The masked lines except sodium's."""
    return _without(MASKED_ANGSTROM, _SODIUM)


def _without(lines: Iterable[float], others: Iterable[float]) -> list[float]:
    """Lines more than 2 Å from all others."""
    return [line for line in lines if np.abs(np.subtract(line, others)).min() > 2.0]


def _stellar() -> np.ndarray:
    """(m,) pixels that show the stars; [Ne III] and Hε hide only the core of Ca H."""
    wide = _without(_nebular(), _CALCIUM)
    narrow = set(_nebular()) - set(wide)
    return line_free(CONTINUUM_GRID, wide) & line_free(CONTINUUM_GRID, narrow, NARROW_MASK_KM_S)


def _search(
    bank: _Bank, data: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Velocity (N,) in km/s, gain (N,), and whether the group is covered at rest (N,).

    In single precision, for speed: data (N, m) and weights (N, m) are in units of the noise.
    """
    data, weight = (x[:, bank.pixels].astype(np.float32) for x in (data, weight))
    power = bank.shifted[0] ** 2
    whole = power[bank.lags == 0].sum()
    covered = (weight > 0).astype(np.float32) @ power.T >= MINIMUM_COVERAGE * whole
    gain = np.where(covered, _gain(bank.shifted, data, weight), 0.0)
    position = bank.lags[0] + parabola(gain, gain.argmax(axis=1))[0]
    velocity = SPEED_OF_LIGHT_KM_S * np.expm1(position * CONTINUUM_GRID.km_s / SPEED_OF_LIGHT_KM_S)
    return velocity, gain.max(axis=1), covered[:, bank.lags == 0][:, 0]


def _gain(shifted: np.ndarray, data: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Δχ² (N, S) of one or two templates with non-negative coefficients."""
    tiny = np.finfo(np.float32).tiny
    vector = [(weight * data) @ template.T for template in shifted]
    matrix = [weight @ (template**2).T for template in shifted]
    pairs = zip(vector, matrix, strict=True)
    alone = np.max([np.maximum(b, 0.0) ** 2 / np.maximum(a, tiny) for b, a in pairs], axis=0)
    if len(shifted) == 1:
        return alone
    cross = weight @ (shifted[0] * shifted[1]).T
    first = matrix[1] * vector[0] - cross * vector[1]
    second = matrix[0] * vector[1] - cross * vector[0]
    determinant = np.maximum(matrix[0] * matrix[1] - cross**2, tiny)
    both = (first * vector[0] + second * vector[1]) / determinant
    return np.where((first > 0) & (second > 0), both, alone)
