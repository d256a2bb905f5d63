"""Velocity dispersion, age, metallicity and reddening from mixtures of simple stellar populations.

After the kinematics (`kinematics`) the spectrum d, at rest and without emission lines, is modelled
by a non-negative mixture of the library A behind dust, at the resolution and σ★ of the galaxy:

    d ≈ Σ_k w_k [A_k ∗ G(s)] · 10^(−0.4 E(B−V) k(λ))

with the curve of Calzetti et al. (2000). E(B−V) minimises χ²; w ≥ 0 follows by linear algebra. The
weights are fractions of the light over 5000–5500 Å; age and metallicity are the means of log age
and log Z/Z☉ with these weights. Their errors are the scatter over realisations of the noise and of
E(B−V). If the best fit is worse than σ allows, the noise is scaled up to match.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from scipy.optimize import minimize_scalar
from tqdm import tqdm

from datasets.constants import SPEED_OF_LIGHT_KM_S
from datasets.process_pool import process_pool
from utils.spectroscopy.broadening import BroadenedLibrary, Galaxy, Observation
from utils.spectroscopy.dust import transmission
from utils.spectroscopy.kinematics import NonNegativeFit, fit_kinematics, noise_scale
from utils.spectroscopy.ppxf_engine import MAXIMUM_EBV, fit_with_ppxf, load_ppxf
from utils.spectroscopy.ssp_library import SspLibrary
from utils.spectroscopy.wavelength import sdss_line_spread_km_s

MINIMUM_PIXELS = 500  # good ones, for a fit
START_KM_S = 150.0  # dispersion at which the populations are chosen first
REALISATIONS = 8  # of the noise, for the errors
CHUNK = 16  # spectra that a process fits at a time
POPULATION_UNITS = {
    "sigma_star": "km/s",
    "sigma_star_err": "km/s",
    "stellar_velocity": "km/s",
    "log_age_gyr": "",
    "log_age_gyr_err": "",
    "metallicity": "",
    "metallicity_err": "",
    "ebv": "mag",
    "ebv_err": "mag",
    "population_chi2": "",
}


def fit_populations(
    wavelength_angstrom: np.ndarray,
    flux: np.ndarray,
    sigma: np.ndarray | None,
    redshift: np.ndarray,
    library: SspLibrary,
    *,
    engine: str = "nnls",
    instrument_km_s: np.ndarray | None = None,
    smoothing_sigma_angstrom: float = 0.0,
    workers: int = 1,
    progress: bool = False,
) -> dict[str, np.ndarray]:
    """Fit every spectrum, one after the other.

    Args:
        wavelength_angstrom: (n,) vacuum, observed frame, increasing.
        flux: (N, n) F_λ in any unit; NaN marks bad pixels.
        sigma: (N, n) in the unit of flux, not finite or 0 where there is no measurement, or None.
        redshift: (N,).
        library: from `ssp_library.read_library`.
        engine: "nnls", or "ppxf": pPXF, which users install, gives everything but the errors of
            age, metallicity and E(B−V).
        instrument_km_s: (n,) Gaussian width of the spectrograph's line spread function; default
            `wavelength.sdss_line_spread_km_s`.
        smoothing_sigma_angstrom: further Gaussian smoothing in the observed frame; 2 for prepared
            spectra.
        workers: processes, of which each has at least `CHUNK` spectra. A script that asks for
            several guards its main part with `if __name__ == "__main__"`.
        progress: show a bar.

    Returns:
        The columns of `POPULATION_UNITS`, (N,) each; NaN for spectra with fewer than
        `MINIMUM_PIXELS` good pixels inside the fitted range. population_chi2 is per pixel.

    Raises:
        ValueError: if the engine is unknown.
        UserError: if pPXF is asked for and not installed, or a process was killed.
    """
    if engine not in ("nnls", "ppxf"):
        raise ValueError(f"engine must be 'nnls' or 'ppxf', not {engine!r}")
    if engine == "ppxf":
        load_ppxf()
    if instrument_km_s is None:
        instrument_km_s = sdss_line_spread_km_s(wavelength_angstrom)
    smoothing_km_s = SPEED_OF_LIGHT_KM_S * smoothing_sigma_angstrom / wavelength_angstrom
    resolution = np.hypot(instrument_km_s, smoothing_km_s)
    rows = [slice(start, start + CHUNK) for start in range(0, max(len(flux), 1), CHUNK)]
    chunks = [(flux[r], None if sigma is None else sigma[r], redshift[r]) for r in rows]
    arguments = (wavelength_angstrom, resolution, BroadenedLibrary(library), engine)
    bar = tqdm(total=len(flux), desc="populations", disable=not progress, leave=False)
    with bar, _pool(min(workers, len(chunks)), arguments) as fit:
        parts = []
        for part in fit(chunks):
            parts.append(part)
            bar.update(len(part["ebv"]))
    return {name: np.concatenate([part[name] for part in parts]) for name in POPULATION_UNITS}


@contextmanager
def _pool(workers: int, arguments: tuple) -> Iterator[Callable[[list], Iterator[dict]]]:
    """A map of `_fit_chunk` over chunks: here, or in several processes of one thread each.

    Not in threads: between its many short calls of numpy a fit holds the interpreter's lock.
    """
    if workers <= 1:
        yield lambda chunks: (_fit_chunk(*arguments, *chunk) for chunk in chunks)
        return
    with process_pool(workers, _start, arguments) as pool:
        yield lambda chunks: pool.map(_fit_in_process, chunks)


_arguments: tuple = ()  # of `_fit_chunk`, in a process of the pool


def _start(arguments: tuple) -> None:
    global _arguments
    _arguments = arguments


def _fit_in_process(chunk: tuple) -> dict[str, np.ndarray]:
    return _fit_chunk(*_arguments, *chunk)


def _fit_chunk(
    wavelength_angstrom: np.ndarray,
    resolution_km_s: np.ndarray,
    bank: BroadenedLibrary,
    engine: str,
    flux: np.ndarray,
    sigma: np.ndarray | None,
    redshift: np.ndarray,
) -> dict[str, np.ndarray]:
    """The columns of some spectra."""
    result = {name: np.full(len(flux), np.nan) for name in POPULATION_UNITS}
    for row in range(len(flux)):
        one = slice(row, row + 1)
        observation = Observation(
            wavelength_angstrom,
            flux[one],
            None if sigma is None else sigma[one],
            resolution_km_s,
        )
        for name, value in _fit_one(observation, float(redshift[row]), bank, engine).items():
            result[name][row] = value
    return result


def _fit_one(
    observation: Observation, redshift: float, bank: BroadenedLibrary, engine: str
) -> dict[str, float]:
    if not np.isfinite(redshift):
        return {}
    galaxy = observation.at_rest(redshift, bank)
    if np.count_nonzero(galaxy.root_weight) < MINIMUM_PIXELS:
        return {}
    has_sigma = observation.sigma is not None
    sigma_star, sigma_err, velocity = fit_kinematics(galaxy, bank, START_KM_S, has_sigma)
    if np.isnan(sigma_star):
        return {}
    galaxy = observation.at_rest(_moved(redshift, velocity), bank)
    if engine == "ppxf":
        sigma_star, sigma_err, shift, ebv, weights = fit_with_ppxf(galaxy, bank, sigma_star)
    else:
        sigma_star, sigma_err, shift = fit_kinematics(galaxy, bank, sigma_star, has_sigma)
        if np.isnan(sigma_star):
            return {}
        galaxy = observation.at_rest(_moved(redshift, velocity + shift), bank)
        ebv, weights = _mixture(galaxy, bank.at(galaxy.kernel(sigma_star)), bank)
    populations = bank.at(galaxy.kernel(sigma_star))
    chi2 = _chi2(galaxy, populations, bank, ebv)
    scale = noise_scale(chi2, galaxy, has_sigma)
    ebv_err = _ebv_error(galaxy, populations, bank, ebv, scale)
    age_err, metallicity_err = _scatter(galaxy, populations, bank, (ebv, ebv_err), scale)
    age, metallicity = _light_weighted(weights, bank)
    return {
        "sigma_star": sigma_star,
        "sigma_star_err": sigma_err,
        "stellar_velocity": velocity + shift,
        "log_age_gyr": age,
        "log_age_gyr_err": age_err,
        "metallicity": metallicity,
        "metallicity_err": metallicity_err,
        "ebv": ebv,
        "ebv_err": ebv_err,
        "population_chi2": chi2 / galaxy.independent,
    }


def _moved(redshift: float, velocity_km_s: float) -> float:
    return (1.0 + redshift) * (1.0 + velocity_km_s / SPEED_OF_LIGHT_KM_S) - 1.0


def _dusty(
    galaxy: Galaxy, populations: np.ndarray, bank: BroadenedLibrary, ebv: float
) -> np.ndarray:
    """Weighted populations (m, K) behind dust."""
    through = galaxy.root_weight * transmission(bank.grid.angstrom, ebv)
    return populations * through[:, None]


def _chi2(galaxy: Galaxy, populations: np.ndarray, bank: BroadenedLibrary, ebv: float) -> float:
    design = _dusty(galaxy, populations, bank, ebv)
    return NonNegativeFit(design).minimum(galaxy.flux * galaxy.root_weight)


def _mixture(
    galaxy: Galaxy, populations: np.ndarray, bank: BroadenedLibrary
) -> tuple[float, np.ndarray]:
    """Best E(B−V) and the weights (K,) there."""
    ebv = float(
        minimize_scalar(
            lambda value: _chi2(galaxy, populations, bank, value),
            bounds=(0.0, MAXIMUM_EBV),
            method="bounded",
            options={"xatol": 2e-3},
        ).x
    )
    design = _dusty(galaxy, populations, bank, ebv)
    return ebv, NonNegativeFit(design).weights(galaxy.flux * galaxy.root_weight)


def _ebv_error(
    galaxy: Galaxy, populations: np.ndarray, bank: BroadenedLibrary, ebv: float, scale: float
) -> float:
    """Half width at Δχ² = scale, from the curvature of χ² over ±0.03 mag; at most `MAXIMUM_EBV`."""
    step = 0.03
    below, here, above = (
        _chi2(galaxy, populations, bank, ebv + offset) for offset in (-step, 0.0, step)
    )
    curvature = (below - 2.0 * here + above) / (2.0 * step**2)
    return float(min(np.sqrt(scale / curvature), MAXIMUM_EBV)) if curvature > 0 else MAXIMUM_EBV


def _light_weighted(weights: np.ndarray, bank: BroadenedLibrary) -> tuple[float, float]:
    """Mean log age in Gyr and mean log Z/Z☉ of a mixture (K,)."""
    share = weights / weights.sum() if weights.sum() > 0 else np.full(weights.shape, np.nan)
    library = bank.library
    return float(share @ np.log10(library.age_gyr)), float(share @ library.metallicity)


def _scatter(
    galaxy: Galaxy,
    populations: np.ndarray,
    bank: BroadenedLibrary,
    ebv_and_error: tuple[float, float],
    scale: float,
) -> tuple[float, float]:
    """Standard deviations of age and metallicity over noise and E(B−V).

    Three values of E(B−V) with the variance of its error, `REALISATIONS` of the noise for each.
    """
    generator = np.random.default_rng(0)
    ebv, error = ebv_and_error
    means = []
    for offset in (-np.sqrt(1.5), 0.0, np.sqrt(1.5)):
        fit = NonNegativeFit(_dusty(galaxy, populations, bank, max(ebv + offset * error, 0.0)))
        noise = generator.normal(0.0, np.sqrt(scale), (REALISATIONS, galaxy.flux.size))
        data = galaxy.flux * galaxy.root_weight
        for noisy in data + noise * (galaxy.root_weight > 0):
            means.append(_light_weighted(fit.weights(noisy), bank))
    age_err, metallicity_err = np.std(means, axis=0)
    return float(age_err), float(metallicity_err)
