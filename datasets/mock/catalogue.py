"""The mock survey's galaxies: masses, histories, shapes and the scaling relations among them.

Stellar masses follow a Schechter (1976) law flat in log M★, redshifts the volume in
0.05 < z < 0.15, and only galaxies with 14.5 < r < 17.77 (the main galaxy sample of SDSS, Strauss
et al. 2002) are kept. A galaxy is star forming, green, quiescent or post-starburst, with a
probability that depends on its mass; metallicity, dust, velocity dispersion, bulge share, size
and nuclear activity follow from mass and type with scatter. M★ in M☉, sSFR in 1/yr.

Every galaxy has a random stream seeded by (seed, index): candidates are sampled from it, in blocks,
until one passes the magnitude limit. The same stream supplies image and noise, so that a galaxy
depends on its seed and index only.
"""

from __future__ import annotations

import numpy as np
from astropy.cosmology import FlatLambdaCDM

TYPES = ("star forming", "green valley", "quiescent", "post-starburst")
STAR_FORMING, GREEN, QUIESCENT, POST_STARBURST = range(4)
NO_AGN, LINER, SEYFERT = range(3)

MAGNITUDE_LIMITS = (14.5, 17.77)
REDSHIFT_LIMITS = (0.05, 0.15)
COSMOLOGY = FlatLambdaCDM(H0=70.0, Om0=0.3)
SOLAR_R_MAGNITUDE = 4.65  # absolute, AB (Willmer 2018, ApJS 236, 47)
CANDIDATES = 64  # per block: about one in eight passes the magnitude limit
UNIFORMS, NORMALS = 10, 14  # random numbers of each kind per candidate


def distance_modulus(z: np.ndarray) -> np.ndarray:
    """m - M in magnitudes (no K-correction)."""
    return COSMOLOGY.distmod(z).value


def arcsec_per_kpc(z: np.ndarray) -> np.ndarray:
    """Apparent size of one kiloparsec at redshift `z`."""
    return COSMOLOGY.arcsec_per_kpc_proper(z).value


def sample(
    seed: int, first: int, count: int, redshifts: tuple[float, float] = REDSHIFT_LIMITS
) -> tuple[list[np.random.Generator], dict]:
    """Galaxies `first` … `first + count - 1` of the survey `seed`, within `redshifts`.

    Returns:
        Their random streams, and the catalogue: a dict of (count,) arrays.
    """
    streams = [np.random.default_rng([seed, first + i]) for i in range(count)]
    chosen = [_first_observable(stream, redshifts) for stream in streams]
    catalogue = {name: np.array([one[name] for one in chosen]) for name in chosen[0]}
    catalogue["identifier"] = (np.int64(seed) << 32) + first + np.arange(count, dtype=np.int64)
    return streams, catalogue


def _first_observable(
    stream: np.random.Generator, redshifts: tuple[float, float]
) -> dict[str, float]:
    while True:
        uniform = stream.random((UNIFORMS, CANDIDATES))
        normal = stream.standard_normal((NORMALS, CANDIDATES))
        candidates = _candidates(uniform, normal, redshifts)
        bright, faint = MAGNITUDE_LIMITS
        exists = candidates.pop("exists")  # with the probability of the mass function
        visible = exists & (candidates["r"] > bright) & (candidates["r"] < faint)
        if visible.any():
            return {name: values[visible.argmax()] for name, values in candidates.items()}


def _candidates(
    uniform: np.ndarray, normal: np.ndarray, redshifts: tuple[float, float]
) -> dict[str, np.ndarray]:
    """Galaxies of a volume, observable or not, from unit deviates (k, n)."""
    u, g = iter(uniform), iter(normal)
    log_mass = 9.0 + 2.8 * next(u)
    exists = next(u) < np.exp(-(10 ** (log_mass - 10.75)))
    low, high = redshifts
    z = np.cbrt(low**3 + (high**3 - low**3) * next(u))
    kind = _kind(log_mass, next(u))
    history = _history(log_mass, kind, g)
    shape = _shape(log_mass, z, kind, u, g)
    edge_on = 1 + 0.7 * (1 - shape["cos_inclination"])
    dust = np.clip(0.25 + 0.30 * (log_mass - 9.3), 0.1, None)
    dust = np.choose(kind, [dust, 0.5 * dust, 0.16, 0.5 * dust])
    a_v = np.clip(dust * edge_on * np.exp(0.3 * next(g)), 0.0, 3.0)
    ratio = np.where(kind == QUIESCENT, 0.42, 0.25) - 0.25 * history["young_share"]
    ratio = ratio + 0.1 * history["metallicity"] + 0.06 * next(g)
    absolute = SOLAR_R_MAGNITUDE - 2.5 * (log_mass - ratio)
    nucleus = _nucleus(log_mass, kind, next(u), next(u))
    log_sigma = 2.22 + 0.27 * (log_mass - 10.6) + 0.18 * (shape["bulge_total"] - 0.5)
    return {
        "exists": exists,
        "z": z,
        "r": absolute + distance_modulus(z) + z,  # K-correction in r: about z magnitudes
        "type": kind.astype(np.int8),
        "log_mass": log_mass,
        "a_v": a_v,
        "sigma_star_kms": 10 ** (log_sigma + 0.05 * next(g)),
        "nucleus": nucleus.astype(np.int8),
        "ra": 110.0 + 150.0 * next(u),
        "dec": np.degrees(np.arcsin(0.9 * next(u))),
        **history,
        **shape,
    }


def _kind(log_mass, u) -> np.ndarray:
    """Type index, from the share of quiescent galaxies at this mass."""
    quiescent = 0.90 / (1 + np.exp(-(log_mass - 10.40) / 0.28))
    green = 0.13
    kind = np.where(u < 0.01 + green + (0.99 - green) * quiescent, QUIESCENT, STAR_FORMING)
    kind = np.where(u < 0.01 + green, GREEN, kind)
    return np.where(u < 0.01, POST_STARBURST, kind)


def _history(log_mass, kind, g) -> dict[str, np.ndarray]:
    """Star formation, chemical enrichment and the share of young light in the disc."""
    main_sequence = -9.95 - 0.2 * (log_mass - 10)
    centre = np.choose(kind, [main_sequence, -10.25, -12.1, -11.6])
    offset = np.choose(kind, [0.30, 0.40, 0.30, 0.30]) * next(g)
    # Enrichment flattens above 10^10 M☉ and is lower for a given mass where gas falls in
    # (Mannucci et al. 2010).
    rise = log_mass - 10
    log_oh = 8.68 + np.where(rise < 0, 0.55, 0.20) * rise - 0.20 * offset + 0.07 * next(g)
    forming = np.isin(kind, (STAR_FORMING, POST_STARBURST))
    metallicity = -0.12 + 0.3 * (log_mass - 10.5) + np.where(forming, -0.15, 0.12)
    log_ssfr = centre + offset
    return {
        "log_ssfr": log_ssfr,
        "log_oh": np.clip(log_oh, 8.0, 8.95),
        "metallicity": np.clip(metallicity + 0.1 * next(g), -1.0, 0.4),
        "young_share": 1 / (1 + np.exp(-(log_ssfr + 10.6) / 0.45)),
        "frosting": 0.02 * np.exp(0.8 * next(g)),
        "ionisation": next(g),
        "line_scatter": next(g),
    }


def _shape(log_mass, z, kind, u, g) -> dict[str, np.ndarray]:
    """Bulge share, radii in arcsec and orientation."""
    mean = np.choose(kind, [0.08 + 0.12 * (log_mass - 9.5), 0.45, 0.72, 0.60])
    spread = np.choose(kind, [0.10, 0.15, 0.15, 0.15])
    bulge_total = np.clip(mean + spread * next(g), 0.0, 1.0)
    early = bulge_total > 0.5
    log_kpc = np.where(early, 0.62 + 0.56 * (log_mass - 10.7), 0.72 + 0.24 * (log_mass - 10.5))
    radius_kpc = 10 ** (log_kpc + 0.12 * next(g))
    cos_inclination = next(u)
    return {
        "bulge_total": bulge_total,
        "radius_kpc": radius_kpc,
        "radius_arcsec": radius_kpc * arcsec_per_kpc(z),
        "cos_inclination": cos_inclination,
        "bulge_axis_ratio": np.clip(0.80 + 0.12 * next(g), 0.45, 1.0),
        "position_angle": np.pi * next(u),
    }


def _nucleus(log_mass, kind, u_active, u_seyfert) -> np.ndarray:
    chance = np.clip(0.06 + 0.35 * (log_mass - 10), 0, 0.5) * np.choose(kind, [1.2, 1.4, 0.35, 1.0])
    seyfert = np.where(kind == QUIESCENT, 0.10, 0.16)
    active = np.where(u_seyfert < seyfert, SEYFERT, LINER)
    return np.where(u_active < chance, active, NO_AGN)
