"""All measurements of a spectrum, as catalogue columns.

Columns: z; Dn4000 and the Lick indices; velocity and width of the gas; flux and equivalent width of
each emission line; the two BPT ratios and the class; on request the velocities of
`utils.spectroscopy.line_velocities`; with a library of stellar populations also σ★, age,
metallicity and E(B−V). The error of a column has its name + "_err".

Spectra are measured in blocks, by several threads if requested; the results depend on neither.
Linear algebra has one thread within each: more would wait for each other, and round differently.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from datasets.line_list import LINES
from utils.spectroscopy.bpt import BPT_CLASSES, BPT_RATIOS, measure_bpt
from utils.spectroscopy.continuum import continuum_basis, default_basis, fit_continuum
from utils.spectroscopy.emission_lines import fit_lines
from utils.spectroscopy.lick_indices import LICK_INDICES, measure_indices
from utils.spectroscopy.line_velocities import measure_coherence
from utils.spectroscopy.populations import POPULATION_UNITS, fit_populations
from utils.spectroscopy.redshift import fit_redshift
from utils.spectroscopy.ssp_library import SspLibrary
from utils.spectroscopy.wavelength import DEFAULT_REDSHIFT_RANGE

BLOCK = 128  # spectra
PERCENTILES = (16.0, 50.0, 84.0)


def column_units(flux_unit: str = "", populations: bool = False) -> dict[str, str]:
    """Unit of every column of `measure`; flux_unit is that of F_λ, empty for normalised spectra."""
    line_flux = f"{flux_unit} Angstrom".strip()
    units = {"z": "", "z_err": "", "z_margin": "", "Dn4000": "", "Dn4000_err": ""}
    for name, index in LICK_INDICES.items():
        units |= {name: index.unit, f"{name}_err": index.unit}
    units |= {"gas_velocity": "km/s", "gas_sigma": "km/s"}
    for line in LINES:
        units |= {f"{line}_flux": line_flux, f"{line}_flux_err": line_flux}
        units |= {f"{line}_ew": "Angstrom", f"{line}_ew_err": "Angstrom"}
    for ratio in BPT_RATIOS:
        units |= {ratio: "", f"{ratio}_err": ""}
    units["bpt"] = ""
    return units | POPULATION_UNITS if populations else units


@threadpool_limits.wrap(limits=1, user_api="blas")
def measure(
    wavelength_angstrom: np.ndarray,
    flux: np.ndarray,
    sigma: np.ndarray | None = None,
    redshift: np.ndarray | None = None,
    *,
    redshift_range: tuple[float, float] = DEFAULT_REDSHIFT_RANGE,
    coherence: bool = False,
    library: SspLibrary | None = None,
    engine: str = "nnls",
    smoothing_sigma_angstrom: float = 0.0,
    workers: int = 1,
    progress: bool = False,
) -> dict[str, np.ndarray]:
    """Measure spectra.

    Args:
        wavelength_angstrom: (n,) vacuum, observed frame, increasing, any spacing.
        flux: (N, n) F_λ in any unit; NaN marks bad pixels.
        sigma: (N, n) in the unit of flux, not finite or 0 where there is no measurement. Without it
            the noise of the lines comes from the residuals of the continuum fit, and the errors of
            the indices are NaN.
        redshift: (N,); fitted without it. Rows without a finite redshift measure NaN.
        redshift_range: for `redshift.fit_redshift`.
        coherence: also measure the columns of `line_velocities.coherence_units`.
        library: of stellar populations, from `ssp_library.read_library`, for the continuum under
            the lines and for the population columns.
        engine, smoothing_sigma_angstrom: for `populations.fit_populations`.
        workers: threads; for the populations processes.
        progress: show a bar.

    Returns:
        The columns of `column_units` and the requested further ones, (N,) each. z_err and z_margin
        are NaN for given redshifts.
    """
    flux = np.asarray(flux)
    basis = default_basis() if library is None else continuum_basis(library.patterns())
    one_block = partial(
        _measure_block,
        np.asarray(wavelength_angstrom, float),
        redshift_range,
        basis,
        coherence,
    )
    blocks = list(_blocks(flux, sigma, redshift))
    with ThreadPoolExecutor(max(workers, 1)) as pool:
        parts = list(
            tqdm(
                pool.map(lambda block: one_block(*block), blocks),
                total=len(blocks),
                desc="measuring",
                disable=not progress,
                leave=False,
            )
        )
    result = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    if library is not None:
        result |= fit_populations(
            np.asarray(wavelength_angstrom, float),
            flux,
            sigma,
            result["z"],
            library,
            engine=engine,
            smoothing_sigma_angstrom=smoothing_sigma_angstrom,
            workers=workers,
            progress=progress,
        )
    return result


def _blocks(
    flux: np.ndarray, sigma: np.ndarray | None, redshift: np.ndarray | None
) -> Iterator[tuple]:
    for start in range(0, max(len(flux), 1), BLOCK):
        rows = slice(start, start + BLOCK)
        yield tuple(x if x is None else np.asarray(x[rows], float) for x in (flux, sigma, redshift))


def _measure_block(
    wavelength: np.ndarray,
    redshift_range: tuple[float, float],
    basis: np.ndarray,
    coherence: bool,
    flux: np.ndarray,
    sigma: np.ndarray | None,
    redshift: np.ndarray | None,
) -> dict[str, np.ndarray]:
    result = {name: np.full(len(flux), np.nan) for name in ("z", "z_err", "z_margin")}
    if redshift is None:
        fit = fit_redshift(wavelength, flux, sigma, redshift_range=redshift_range)
        result = {"z": fit.redshift, "z_err": fit.error, "z_margin": fit.margin}
    else:
        result["z"] = redshift
    z = result["z"]
    result |= measure_indices(wavelength, flux, sigma, z)
    has_redshift = np.isfinite(z)
    rest = np.where(has_redshift, z, 0.0)
    continuum = fit_continuum(wavelength, flux, sigma, rest, basis)
    lines = fit_lines(continuum, rest)
    if coherence:
        result |= measure_coherence(continuum, lines, rest)
    result |= {"gas_velocity": lines.velocity_km_s, "gas_sigma": lines.width_km_s}
    for line in LINES:
        result |= {
            f"{line}_flux": lines.flux[line],
            f"{line}_flux_err": lines.flux_err[line],
            f"{line}_ew": lines.ew[line],
            f"{line}_ew_err": lines.ew_err[line],
        }
    ratios, bpt = measure_bpt(lines.flux, lines.flux_err)
    result |= ratios
    result = {name: np.where(has_redshift, column, np.nan) for name, column in result.items()}
    return result | {"bpt": np.where(has_redshift, bpt, "undetermined")}


def measure_candidates(
    wavelength_angstrom: np.ndarray,
    flux: np.ndarray,
    redshift: np.ndarray | None = None,
    **options,
) -> dict[str, np.ndarray]:
    """Measure the candidates of galaxies: their median, and their scatter as uncertainty.

    Args:
        wavelength_angstrom: (n,).
        flux: (N, P, n), P candidates each.
        redshift: (N,) used for all candidates of a galaxy; without it every candidate has its own,
            and the columns z and z_err describe the redshift distribution.
        options: of `measure`.

    Returns:
        The columns of `measure`, (N,) each: medians over the candidates, with half the distance
        between the 16th and 84th percentile as error (NaN for a single candidate). bpt is the most
        frequent class, and the further column bpt_share its frequency. NaNs are left out.
    """
    galaxies, candidates = flux.shape[:2]
    every = None if redshift is None else np.repeat(redshift, candidates)
    columns = measure(wavelength_angstrom, flux.reshape(-1, flux.shape[-1]), None, every, **options)
    result: dict[str, np.ndarray] = {}
    for name, column in columns.items():
        values = column.reshape(galaxies, candidates)
        if name == "bpt":
            counts = np.stack([(values == label).sum(axis=1) for label in BPT_CLASSES])
            result["bpt"] = np.array(BPT_CLASSES)[counts.argmax(axis=0)]
            result["bpt_share"] = counts.max(axis=0) / candidates
        elif not name.endswith("_err"):
            result[name], scatter = median_and_scatter(values)
            if f"{name}_err" in columns:
                result[f"{name}_err"] = scatter
    return result


def median_and_scatter(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Median, and half the distance between the 16th and 84th percentile, (N,) each.

    Args:
        values: (N, P) of P candidates; NaNs are left out, the scatter of fewer than two is NaN.
    """
    percentiles = np.full((3, len(values)), np.nan)
    known = np.isfinite(values).sum(axis=1)
    whole, part = known == values.shape[1], (known > 0) & (known < values.shape[1])
    percentiles[:, whole] = np.percentile(values[whole], PERCENTILES, axis=1)
    if part.any():  # row by row: slow
        percentiles[:, part] = np.nanpercentile(values[part], PERCENTILES, axis=1)
    several = known > 1
    return percentiles[1], np.where(several, 0.5 * (percentiles[2] - percentiles[0]), np.nan)
