"""Rendered images for real SDSS spectra.

The spectra, redshifts and colours are real; the images are not. Each is rendered as those of the
mock survey, with a bulge share, size, arms and lumps that suit the galaxy's morphological class,
colour and redshift, and its band fluxes are scaled so that, inside the 3″ fibre aperture,

    Σ_c s_cb F_cb = the flux that SDSS imaging measured there (`calibflux`) ,

with s_cb the share of component c inside the aperture in band b. So a model can learn spectra from
real colours, but nothing true about shapes. Galaxies without coverage of the method's grid or
without measured fluxes are skipped and listed in `OUT.skipped.csv`. On request each galaxy is there
again, farther away (`moved`): with the position of the original, and so in the same split.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import NamedTuple

import numpy as np

from datasets.atomic_files import write_csv
from datasets.constants import SDSS_BANDS, SDSS_PIXEL_ARCSEC
from datasets.errors import UserError
from datasets.mock import images
from datasets.mock.catalogue import arcsec_per_kpc, distance_modulus
from datasets.mock.semisynthetic.moved import Moved, farther_redshift
from datasets.photometry import colours
from datasets.sdss.spec_files import SpectraCollection, SpectrumFileError, read_spectra_collection
from datasets.spectra import (
    METHOD_GRID,
    Preparation,
    PreparedSpectrum,
    SpectrumError,
    prepare_spectrum,
    signal_to_noise,
)
from datasets.survey_writer import SurveyWriter

BLOCK = 32
ELLIPTICAL, SPIRAL, IRREGULAR = range(3)
MORPHOLOGY = {"E": ELLIPTICAL, "Sp": SPIRAL, "Ir": IRREGULAR}
# Ranges of u-g, g-r, r-i, i-z in mag beyond which photometry is not trusted, and the largest
# difference of g-r and r-i from the spectrum's: blends, cosmic rays, failed pixels.
COLOUR_RANGE = np.array([(-0.2, 2.8), (-0.3, 1.6), (-0.4, 0.9), (-0.5, 0.9)])
COLOUR_TOLERANCE = 0.3
RED_G_R = 0.75  # galaxies of unknown morphology that are redder count as elliptical
# Flux of a young relative to an old population of equal r flux, u g r i z.
YOUNG_COLOUR = np.array([2.4, 1.5, 1.0, 0.88, 0.80])
FIBRE_LOSS = 1.0  # mag: about what the fibre misses of a nearby galaxy
RADIUS_ARCSEC = 1.2, 9.0  # what a cutout can show
FREE_IDENTIFIERS = 1024  # from one specObjID to the next
COPIED = ("ra", "dec", "z", "zwarning", "plate", "mjd", "fiber", "subclass", "morph")
PROVENANCE = {
    "kind": "semi-synthetic survey",
    "description": "real SDSS spectra; ugriz images rendered, not observed: their fibre-aperture "
    "fluxes are SDSS's calibflux, their shapes are random numbers that suit class and colour",
}


def make_semisynthetic(
    path: str | Path,
    spectra: str | Path,
    seed: int = 1,
    overwrite: bool = False,
    moved: int = 0,
) -> list[dict]:
    """Write a survey file with rendered images.

    Args:
        path: The survey file.
        spectra: HDF5 file as `read_spectra_collection` takes it, with the columns `calibflux` and
            `spectroflux` (N, 5) in nanomaggies, and `morph`.
        seed: ≥ 0, of the shapes and the noise.
        overwrite: Replace an existing file.
        moved: Copies of each galaxy at larger redshifts; their identifiers are the original's
            plus 1, 2, …, which it leaves free.

    Returns:
        The skipped galaxies: rows with specobjid, row and reason, also in `PATH.skipped.csv`.

    Raises:
        UserError: `path` exists and `overwrite` is not set, the spectra cannot be used, or there
            are to be more copies than free identifiers.
    """
    if not 0 <= moved < FREE_IDENTIFIERS:
        raise UserError(f"--moved {moved}: 0 to {FREE_IDENTIFIERS - 1}")
    collection = read_spectra_collection(spectra)
    missing = {"calibflux", "spectroflux", "morph"} - collection.catalogue.keys()
    if missing:
        raise SpectrumFileError(f"{spectra} has no column {sorted(missing)}: no colours to render")
    provenance = {**PROVENANCE, "spectra": Path(spectra).name, "seed": seed}
    if moved:
        provenance["moved"] = f"{moved} copies of each galaxy at larger redshifts"
    skipped = []
    with SurveyWriter(
        path,
        SDSS_BANDS,
        SDSS_PIXEL_ARCSEC,
        METHOD_GRID,
        Preparation(),
        provenance=provenance,
        overwrite=overwrite,
    ) as writer:
        for first in range(0, len(collection), BLOCK):
            block = range(first, min(first + BLOCK, len(collection)))
            for copy in range(moved + 1):
                used = _usable(collection, block, seed, copy, skipped)
                block = list(used) if copy == 0 else block  # what is skipped once has no copies
                if used:
                    writer.append(**_galaxies(collection, used, seed, copy))
    write_csv(f"{path}.skipped.csv", ("row", "specobjid", "reason"), map(dict.values, skipped))
    return skipped


class _Spectrum(NamedTuple):
    """A spectrum of the survey, its redshift, and its S/N."""

    prepared: PreparedSpectrum
    z: float
    snr: float


def _usable(
    collection: SpectraCollection, rows: Sequence[int], seed: int, copy: int, skipped: list[dict]
) -> dict[int, _Spectrum]:
    """The rows that can be used with their spectra, moved if `copy` > 0; the others join
    `skipped`."""
    used = {}
    for row in rows:
        try:
            used[row] = _spectrum(collection, row, seed, copy)
        except SpectrumError as error:
            identifier = int(collection.catalogue["specobjid"][row])
            skipped.append({"row": row, "specobjid": identifier, "reason": str(error)})
    return used


def _spectrum(collection: SpectraCollection, row: int, seed: int, copy: int) -> _Spectrum:
    if copy == 0:
        _check_colours(collection.catalogue, row)
    wavelength, z = collection.wavelength_angstrom, collection.catalogue["z"][row]
    flux, ivar = collection.flux[row], collection.ivar[row]
    if copy:
        stream = np.random.default_rng([seed, int(collection.catalogue["specobjid"][row]), copy])
        magnitude = _magnitude(collection.catalogue["calibflux"][row, 2]) - FIBRE_LOSS
        moved = farther_redshift(wavelength, ivar, z, magnitude, stream)
        wavelength, z = wavelength * (1 + moved) / (1 + z), moved
    return _Spectrum(
        prepare_spectrum(wavelength, flux, ivar), z, signal_to_noise(wavelength, flux, ivar)
    )


def _check_colours(catalogue: dict[str, np.ndarray], row: int) -> None:
    if catalogue["cls"][row] != "GALAXY":
        raise SpectrumError(f"class {catalogue['cls'][row]}, not a galaxy")
    if not catalogue["specobjid"][row]:
        raise SpectrumError("no specObjID: nothing identifies it")
    flux = catalogue["calibflux"][row]
    if not (np.isfinite(flux).all() and (flux > 0).all()):
        raise SpectrumError("calibflux is not positive in all bands")
    colour = colours(flux)
    own = catalogue["spectroflux"][row, 1:4]
    wrong = (colour < COLOUR_RANGE[:, 0]) | (colour > COLOUR_RANGE[:, 1])
    if wrong.any() or (own <= 0).any():
        raise SpectrumError("calibflux has colours outside the range of galaxies")
    if np.abs(colour[1:3] - colours(own)).max() > COLOUR_TOLERANCE:
        raise SpectrumError("calibflux disagrees with the colours of the spectrum")


def _magnitude(nanomaggies: np.ndarray) -> np.ndarray:
    return 22.5 - 2.5 * np.log10(nanomaggies)


def _galaxies(
    collection: SpectraCollection, used: dict[int, _Spectrum], seed: int, copy: int
) -> dict:
    """The arguments of `SurveyWriter.append` for some rows of the collection."""
    rows, prepared = np.array(list(used)), [spectrum.prepared for spectrum in used.values()]
    identifier = collection.catalogue["specobjid"][rows].astype(np.uint64) + np.uint64(copy)
    fibre = collection.catalogue["calibflux"][rows].astype(np.float64)
    streams = [np.random.default_rng([seed, int(i)]) for i in identifier]
    catalogue = {name: collection.catalogue[name][rows] for name in COPIED}
    shape = _appearance(fibre, catalogue["z"], _kinds(collection, rows), streams)
    moved = None
    if copy:
        z = np.array([spectrum.z for spectrum in used.values()])
        moved = Moved.of(fibre, catalogue["z"], z)
        catalogue["z"] = z.astype(catalogue["z"].dtype)
    cutouts, fibre = render(shape, fibre, streams, moved)
    magnitude = _magnitude(fibre)
    return {
        "images": cutouts,
        "spectra": np.stack([p.flux for p in prepared]),
        "normalisation": np.array([p.normalisation for p in prepared]),
        "interpolated": np.stack([p.interpolated for p in prepared]),
        "catalogue": {
            "identifier": identifier,
            "class": collection.catalogue["cls"][rows],
            **catalogue,
            "sn": np.array([spectrum.snr for spectrum in used.values()]),
            **{f"fibermag_{band}": magnitude[:, i] for i, band in enumerate(SDSS_BANDS)},
        },
    }


def _kinds(collection: SpectraCollection, rows: np.ndarray) -> np.ndarray:
    """ELLIPTICAL, SPIRAL or IRREGULAR; from the colour where there is no visual class."""
    flux = collection.catalogue["calibflux"][rows]
    red = 2.5 * np.log10(flux[:, 2] / flux[:, 1]) > RED_G_R
    guess = np.where(red, ELLIPTICAL, SPIRAL)
    names = collection.catalogue["morph"][rows]
    return np.array([MORPHOLOGY.get(n, other) for n, other in zip(names, guess, strict=True)])


def _appearance(
    fibre: np.ndarray, z: np.ndarray, kind: np.ndarray, streams: list[np.random.Generator]
) -> dict[str, np.ndarray]:
    """A shape for each galaxy, as `images.scene` takes it, with `young` and `seeing`."""
    u = np.array([stream.random(8) for stream in streams]).T
    normal = np.array([stream.standard_normal(5) for stream in streams]).T
    g_r = 2.5 * np.log10(fibre[:, 2] / fibre[:, 1])
    young = np.clip((0.95 - g_r) / 0.5, 0.0, 1.0)
    bulge = np.choose(kind, [0.78 + 0.1 * normal[0], 0.40 - 0.35 * young + 0.1 * normal[0], 0.03])
    # Size from luminosity.
    absolute = _magnitude(fibre[:, 2]) - FIBRE_LOSS - distance_modulus(z)
    log_kpc = np.choose(kind, [0.45, 0.65, 0.55]) - 0.11 * (absolute + 21.0) + 0.12 * normal[1]
    radius = 10**log_kpc * arcsec_per_kpc(z)
    return {
        "young": np.where(kind == ELLIPTICAL, 0.0, young),
        "radius_arcsec": np.clip(radius, *RADIUS_ARCSEC),
        "bulge_total": np.clip(bulge, 0.0, 1.0),
        "bulge_axis_ratio": np.clip(0.82 + 0.1 * normal[2], 0.5, 1.0),
        "cos_inclination": np.where(kind == ELLIPTICAL, 0.5 + 0.5 * u[0], u[0]),
        "position_angle": np.pi * u[1],
        "arm_strength": np.where(kind == SPIRAL, 0.3 + 0.6 * u[2], 0.0),
        "arm_count": np.choose((4 * u[3]).astype(int), [2, 2, 3, 4]),
        "arm_pitch": np.radians(12 + 18 * u[4]) * np.where(u[5] < 0.5, -1, 1),
        "lumpiness": np.choose(kind, [0.0, 0.35, 0.7]) * np.exp(0.3 * normal[3]),
        "seeing": np.exp(0.07 * normal[4]),
        "x0": u[6] - 1.0,
        "y0": u[7] - 1.0,
    }


def render(
    shape: dict[str, np.ndarray],
    fibre: np.ndarray,
    streams: list[np.random.Generator],
    moved: Moved | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Images of galaxies, with noise and neighbours.

    Args:
        shape: That of `_appearance`.
        fibre: (n, 5) nanomaggies inside the fibre aperture.
        streams: n random streams.
        moved: To where the galaxies are moved, whose shape and fluxes are those before.

    Returns:
        Images (n, 5, 64, 64), and the nanomaggies (n, 5) inside the aperture.
    """
    maps = images.scene(shape, streams if moved is None else deepcopy(streams))
    psf = images.seeing(shape["seeing"][:, None] * images.SEEING_ARCSEC)
    shares = images.fibre_shares(maps, psf, shape["x0"], shape["y0"])
    bulge, young = shape["bulge_total"], 0.7 * shape["young"]
    red = np.stack([bulge, (1 - bulge) * (1 - young)], axis=1)[..., None]
    blue = ((1 - bulge) * young)[:, None, None] * YOUNG_COLOUR
    nucleus = np.zeros_like(blue)
    mixture = np.concatenate([red * np.ones_like(YOUNG_COLOUR), blue, nucleus], axis=1)
    fluxes = mixture * (fibre / (mixture * shares).sum(axis=1))[:, None]
    if moved is not None:
        radius = np.clip(shape["radius_arcsec"] * moved.size, *RADIUS_ARCSEC)
        maps = images.scene(shape | {"radius_arcsec": radius}, streams)
        shares = images.fibre_shares(maps, psf, shape["x0"], shape["y0"])
        fluxes = fluxes * moved.flux[:, None]
        fibre = (fluxes * shares).sum(axis=1)
    cutouts = images.render(maps, fluxes, psf, images.neighbours(streams))
    return images.add_noise(cutouts, streams), fibre
