"""Spectra from files of every kind that this project reads, in blocks on common pixels.

    generated     file of generate.py: all kept candidates of one galaxy, or a shard of many
    spec file     SDSS, any pipeline version
    survey        HDF5 survey file: prepared spectra with their normalisation
    collection    HDF5 file of SDSS spectra on one grid

Flux is in 1e-17 erg/s/cm²/Å wherever the file holds the absolute scale.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import h5py
import numpy as np

from datasets.errors import UserError
from datasets.fits_input import open_fits
from datasets.identifiers import exact_identifiers
from datasets.sdss.spec_files import LOGLAM_STEP, read_spec_file, read_spectra_collection
from datasets.survey import SCHEMA, Survey
from utils.generation.fits_output import read_spectrum
from utils.generation.generated_spectrum import GeneratedSpectrum
from utils.generation.shards import is_shard, read_shards

BLOCK_ROWS = 256
# Pixel numbers log₁₀ λ / 10⁻⁴ that hold every SDSS and BOSS spectrum: 3467 … 10471 Å.
SDSS_PIXELS = (35400, 40200)
FITS_SUFFIXES = (".fits", ".fits.gz", ".fit")
HDF5_SUFFIXES = (".h5", ".hdf5")


@dataclass(frozen=True)
class SpectrumBlock:
    """N spectra on common pixels, vacuum and observed frame.

    flux is (N, n), or (N, P, n) for P candidates; NaN marks bad pixels. sigma is (N, n) or None.
    names, identifier (uint64, 0 = unknown) and catalogue_redshift (NaN = unknown) are (N,);
    physical: flux is in 1e-17 erg/s/cm²/Å.
    """

    names: tuple[str, ...]
    wavelength_angstrom: np.ndarray
    flux: np.ndarray
    sigma: np.ndarray | None = None
    identifier: np.ndarray = field(default_factory=lambda: np.zeros(1, np.uint64))
    catalogue_redshift: np.ndarray = field(default_factory=lambda: np.full(1, np.nan))
    smoothing_sigma_angstrom: float = 0.0
    physical: bool = True

    def joins(self, other: SpectrumBlock) -> bool:
        """Whether both can be one block."""
        return (
            self.flux.shape[1:] == other.flux.shape[1:]
            and (self.sigma is None) == (other.sigma is None)
            and self.smoothing_sigma_angstrom == other.smoothing_sigma_angstrom
            and self.physical == other.physical
            and np.array_equal(self.wavelength_angstrom, other.wavelength_angstrom)
        )


def find_files(paths: list[str]) -> list[Path]:
    """All spectrum files among the paths; a folder stands for the spectra directly inside it.

    Raises:
        UserError: there is none.
    """
    found = []
    for path in map(Path, paths):
        inside = sorted(p for p in path.iterdir() if p.is_file()) if path.is_dir() else [path]
        suffixes = FITS_SUFFIXES + HDF5_SUFFIXES
        found += [p for p in inside if not path.is_dir() or p.name.lower().endswith(suffixes)]
    if not found:
        raise UserError(f"no spectra found in {', '.join(paths)}: name FITS or HDF5 files")
    return found


def read_blocks(path: Path, split: str | None = None) -> Iterator[SpectrumBlock]:
    """The spectra of one file.

    Args:
        path: its kind is recognised by the content.
        split: of a survey: "train", "validation" or "test"; all of them by default.

    Raises:
        UserError: the file cannot be read; the message names it.
    """
    try:
        yield from _blocks(path, split)
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:  # of astropy and h5py
        reason = " ".join(str(error).split())
        raise UserError(reason if str(path) in reason else f"{path}: {reason}") from error


def _blocks(path: Path, split: str | None) -> Iterator[SpectrumBlock]:
    if path.name.lower().endswith(HDF5_SUFFIXES):
        with h5py.File(path, "r") as file:
            survey, shard = file.attrs.get("schema") == SCHEMA, is_shard(file)
        if shard:
            for spectrum in read_shards(path):
                yield _generated(f"{path}#{spectrum.name}", spectrum)
            return
        yield from _survey(path, split) if survey else _collection(path)
        return
    with open_fits(path) as hdus:
        generated = "CANDIDATES" in hdus
    yield _generated(str(path), read_spectrum(path)) if generated else _spec_file(path)


def join_blocks(blocks: Iterator[SpectrumBlock]) -> Iterator[SpectrumBlock]:
    """Neighbouring blocks on the same pixels joined, up to `BLOCK_ROWS` rows each."""
    waiting: list[SpectrumBlock] = []
    for block in blocks:
        rows = sum(len(b.names) for b in waiting) + len(block.names)
        if waiting and (rows > BLOCK_ROWS or not waiting[0].joins(block)):
            yield _joined(waiting)
            waiting = []
        waiting.append(block)
    if waiting:
        yield _joined(waiting)


def _joined(blocks: list[SpectrumBlock]) -> SpectrumBlock:
    rows = ["flux", "identifier", "catalogue_redshift"]
    rows += [] if blocks[0].sigma is None else ["sigma"]
    joined = {name: np.concatenate([getattr(block, name) for block in blocks]) for name in rows}
    return replace(blocks[0], names=sum((block.names for block in blocks), ()), **joined)


def _sigma(ivar: np.ndarray) -> np.ndarray:
    """σ of inverse variances, ∞ where there is no measurement."""
    return np.where(ivar > 0, 1.0 / np.sqrt(np.where(ivar > 0, ivar, 1.0)), np.inf)


def _generated(name: str, spectrum: GeneratedSpectrum) -> SpectrumBlock:
    if spectrum.provenance.normalisation.startswith("minmax"):
        raise UserError(f"{name}: min-max normalised spectra have no zero level to measure from")
    return SpectrumBlock(
        (name,),
        spectrum.wavelength_angstrom,
        spectrum.candidates[None] * (spectrum.scale or 1.0),
        identifier=np.array([spectrum.identifier], np.uint64),
        catalogue_redshift=np.array([spectrum.redshift]),
        smoothing_sigma_angstrom=spectrum.provenance.smoothing_sigma_angstrom,
        physical=spectrum.scale is not None,
    )


def _spec_file(path: Path) -> SpectrumBlock:
    """One SDSS spectrum on `SDSS_PIXELS`, so that spec files can be measured together."""
    spectrum = read_spec_file(path)
    low, high = SDSS_PIXELS
    pixel = np.log10(spectrum.wavelength_angstrom) / LOGLAM_STEP
    if np.abs(pixel - np.round(pixel)).max() > 0.01 or pixel[0] < low or pixel[-1] >= high:
        raise UserError(f"{path}: wavelengths are not on the pixels of SDSS")
    flux, sigma = np.full((2, 1, high - low), np.nan)
    place = np.round(pixel).astype(int) - low
    flux[0, place], sigma[0, place] = spectrum.flux, _sigma(spectrum.ivar)
    return SpectrumBlock(
        (str(path),),
        10.0 ** (LOGLAM_STEP * np.arange(low, high)),
        flux,
        sigma,
        np.array([spectrum.specobjid], np.uint64),
        np.array([spectrum.z]),
    )


def _survey(path: Path, split: str | None) -> Iterator[SpectrumBlock]:
    survey = Survey(path)
    offset = survey.catalogue.get("flux_offset", np.zeros(len(survey)))
    rows = np.arange(len(survey)) if split is None else survey.indices(split)
    for start in range(0, len(rows), BLOCK_ROWS):
        block = rows[start : start + BLOCK_ROWS]
        flux = survey.read("spectra", block) * survey.read("normalisation", block)[:, None]
        flux += offset[block][:, None]
        flux[survey.read("interpolated", block)] = np.nan
        yield SpectrumBlock(
            tuple(f"{path}#{row}" for row in block),
            survey.grid.angstrom,
            flux,
            identifier=exact_identifiers(survey.catalogue["identifier"][block]),
            catalogue_redshift=survey.catalogue.get("z", np.full(len(survey), np.nan))[block],
            smoothing_sigma_angstrom=survey.preparation.smoothing_sigma_angstrom,
        )


def _collection(path: Path) -> Iterator[SpectrumBlock]:
    spectra = read_spectra_collection(path)
    for start in range(0, len(spectra), BLOCK_ROWS):
        rows = slice(start, min(start + BLOCK_ROWS, len(spectra)))
        yield SpectrumBlock(
            tuple(f"{path}#{row}" for row in range(rows.start, rows.stop)),
            spectra.wavelength_angstrom,
            spectra.flux[rows].astype(float),
            _sigma(spectra.ivar[rows].astype(float)),
            exact_identifiers(spectra.catalogue["specobjid"][rows]),
            spectra.catalogue["z"][rows].astype(float),
        )
