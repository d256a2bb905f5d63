"""Libraries of simple stellar populations, read from a folder in their authors' file layouts.

    MaStar    MaStar-SSP-A01.000-Z+0.00.fits[.gz]    Maraston et al. 2020, as in MaNGA's DAP
    E-MILES   Ech1.30Zp0.06T01.0000_iTp0.00_baseFe.fits    Vazdekis et al. 2016; also MILES (M…)
    BC03      bc2003_hr_m62_chab_ssp.ised_ASCII[.gz]       Bruzual & Charlot 2003, high resolution

Every population is brought to vacuum, to the rest-frame grid and to unit mean flux over
`LIGHT_BAND_ANGSTROM`: mixture weights are then fractions of that light. The resolution of the
library is kept as a Gaussian width in km/s per pixel.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.interpolate import CubicSpline

from datasets.constants import SPEED_OF_LIGHT_KM_S
from datasets.errors import UserError
from datasets.fits_input import open_fits
from datasets.wavelengths import air_to_vacuum
from utils.spectroscopy.wavelength import FWHM_PER_SIGMA, REST_GRID

LIGHT_BAND_ANGSTROM = (5000.0, 5500.0)  # populations have unit mean flux here
AGES_PER_METALLICITY = 16  # at most
BC03_METALLICITIES = {"22": 1e-4, "32": 4e-4, "42": 4e-3, "52": 8e-3, "62": 0.02, "72": 0.05}  # Z
BC03_SOLAR = 0.02  # Z☉
BLUE_LIMIT_ANGSTROM = 2000.0  # of the part of BC03 spectra that is read
MILES_FWHM_ANGSTROM, BC03_FWHM_ANGSTROM = 2.51, 3.0  # resolution


@dataclass(frozen=True)
class SspLibrary:
    """flux (K, m) on `REST_GRID`; age_gyr, metallicity = log Z/Z☉ (K,); sigma_km_s (m,).

    covered_angstrom is the range in which all populations have data; outside flux is 0.
    """

    name: str
    flux: np.ndarray
    age_gyr: np.ndarray
    metallicity: np.ndarray
    sigma_km_s: np.ndarray
    covered_angstrom: tuple[float, float]

    def patterns(self) -> np.ndarray:
        """(4, m) for `continuum.continuum_basis`: two old metallicities, 1 Gyr and 0.1 Gyr."""
        corners = ((10.0, 0.3), (10.0, -0.7), (1.0, 0.0), (0.1, 0.0))
        log_age = np.log10(self.age_gyr)
        nearest = [
            np.argmin((log_age - np.log10(age)) ** 2 + (self.metallicity - metallicity) ** 2)
            for age, metallicity in corners
        ]
        covered = np.flatnonzero(self.flux[0] != 0)[[0, -1]]
        inside = np.clip(np.arange(REST_GRID.count), *covered)
        return self.flux[nearest][:, inside]


@dataclass(frozen=True)
class _Population:
    """One spectrum as read: vacuum wavelengths (n,), flux (n,), FWHM resolution in km/s (n,)."""

    wavelength_angstrom: np.ndarray
    flux: np.ndarray
    fwhm_km_s: np.ndarray
    age_gyr: float
    metallicity: float


MASTAR_NAME = re.compile(r"MaStar-SSP-A(?P<age>[\d.]+)-Z(?P<z>[+-][\d.]+)\.fits(\.gz)?$")
MILES_NAME = re.compile(
    r"[EM](?:un|bi|ku|kb|ch)\d\.\d+Z(?P<sign>[pm])(?P<z>\d\.\d+)T(?P<age>\d+\.\d+)[^/]*\.fits(\.gz)?$"
)
BC03_NAME = re.compile(r"bc2003_hr_(?:\w+_)?m1?(?P<z>\d2)_\w+_ssp\.ised_ASCII(\.gz)?$")


def _constant_fwhm(wavelength_angstrom: np.ndarray, fwhm_angstrom: float) -> np.ndarray:
    return SPEED_OF_LIGHT_KM_S * fwhm_angstrom / wavelength_angstrom


def _read_mastar(path: Path, name: re.Match) -> list[_Population]:
    with open_fits(path) as hdus:
        header, flux = hdus[0].header, hdus[0].data.astype(float)
        pixel = np.arange(flux.size) + 1.0 - header["CRPIX1"]
        wavelength = 10.0 ** (header["CRVAL1"] + header["CD1_1"] * pixel)
        fwhm = SPEED_OF_LIGHT_KM_S / hdus["SRES"].data.astype(float)
    return [_Population(wavelength, flux, fwhm, float(name["age"]), float(name["z"]))]


def _read_miles(path: Path, name: re.Match) -> list[_Population]:
    with open_fits(path) as hdus:
        header, flux = hdus[0].header, hdus[0].data.astype(float)
    pixel = np.arange(flux.size) + 1.0 - header.get("CRPIX1", 1.0)
    wavelength = air_to_vacuum(header["CRVAL1"] + header["CDELT1"] * pixel)
    metallicity = float(name["z"]) * (1.0 if name["sign"] == "p" else -1.0)
    fwhm = _constant_fwhm(wavelength, MILES_FWHM_ANGSTROM)
    return [_Population(wavelength, flux, fwhm, float(name["age"]), metallicity)]


def _read_bc03(path: Path, name: re.Match) -> list[_Population]:
    """Read lists of numbers, each preceded by its length: ages in years; after lines of text,
    wavelengths in Å; and for every age the spectrum and the values of an index."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt") as file:
        lines = iter(file.read().splitlines())
    ages, _ = _counted(_until_complete(lines))
    text_ends = next(line for line in lines if _begins_a_list(line))
    numbers = np.array(" ".join([text_ends, *lines]).split(), float)
    air, numbers = _counted(numbers)
    optical = air > BLUE_LIMIT_ANGSTROM
    wavelength = air_to_vacuum(air[optical])
    fwhm = _constant_fwhm(wavelength, BC03_FWHM_ANGSTROM)
    metallicity = np.log10(BC03_METALLICITIES[name["z"]] / BC03_SOLAR)
    populations = []
    for age_yr in ages:
        flux, numbers = _counted(numbers)
        _, numbers = _counted(numbers)
        if age_yr > 0:
            age_gyr = age_yr / 1e9
            populations.append(_Population(wavelength, flux[optical], fwhm, age_gyr, metallicity))
    return populations


def _until_complete(lines: Iterator[str]) -> np.ndarray:
    """The numbers of the first list of a file, its length included."""
    words = next(lines).split()
    while len(words) <= int(words[0]):
        words += next(lines).split()
    return np.array(words, float)


def _begins_a_list(line: str) -> bool:
    words = line.split()
    return len(words) > 1 and words[0].isdigit() and int(words[0]) > 100


def _counted(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first list, without its length, and the numbers after it."""
    end = 1 + int(numbers[0])
    return numbers[1:end], numbers[end:]


LAYOUTS: dict[str, tuple[re.Pattern, Callable[[Path, re.Match], list[_Population]]]] = {
    "MaStar": (MASTAR_NAME, _read_mastar),
    "E-MILES": (MILES_NAME, _read_miles),
    "BC03": (BC03_NAME, _read_bc03),
}


def read_library(folder: str | Path) -> SspLibrary:
    """Read the library in a folder; its layout is recognised by the file names.

    Args:
        folder: with files of one layout; others are ignored.

    Returns:
        SspLibrary of at most `AGES_PER_METALLICITY` ages, evenly in log age, per metallicity.

    Raises:
        UserError: the folder has no file of these layouts, or one cannot be read.
    """
    files = sorted(Path(folder).glob("*"))
    for layout, (pattern, reader) in LAYOUTS.items():
        matches = [(path, match) for path in files if (match := pattern.match(path.name))]
        if matches:
            populations = []
            for path, match in matches:
                try:
                    populations += reader(path, match)
                except (KeyError, ValueError, OSError, StopIteration, IndexError) as error:
                    raise UserError(f"{path}: not a {layout} file ({error!r})") from error
            return _assemble(layout, _thin(populations))
    raise UserError(
        f"{folder}: no file of a stellar library. Expected names like "
        "MaStar-SSP-A01.000-Z+0.00.fits.gz, Ech1.30Zp0.06T01.0000_iTp0.00_baseFe.fits or "
        "bc2003_hr_m62_chab_ssp.ised_ASCII"
    )


def _thin(populations: list[_Population]) -> list[_Population]:
    """The ages nearest to an even logarithmic sequence, for every metallicity."""
    kept = []
    for metallicity in sorted({p.metallicity for p in populations}):
        group = sorted(
            (p for p in populations if p.metallicity == metallicity), key=lambda p: p.age_gyr
        )
        log_age = np.log10([p.age_gyr for p in group])
        even = np.linspace(log_age[0], log_age[-1], AGES_PER_METALLICITY)
        nearest = np.unique(np.abs(log_age - even[:, None]).argmin(axis=1))
        kept += [group[k] for k in nearest]
    return kept


def _assemble(name: str, populations: list[_Population]) -> SspLibrary:
    grid = REST_GRID.angstrom
    low = max(p.wavelength_angstrom[0] for p in populations)
    high = min(p.wavelength_angstrom[-1] for p in populations)
    if low > LIGHT_BAND_ANGSTROM[0] or high < LIGHT_BAND_ANGSTROM[1]:
        raise UserError(f"{name}: populations cover {low:.0f}–{high:.0f} Å, not 5000–5500 Å")
    inside = (grid >= low) & (grid <= high)
    flux = np.zeros((len(populations), grid.size))
    for row, p in zip(flux, populations, strict=True):
        row[inside] = CubicSpline(p.wavelength_angstrom, p.flux)(grid[inside])
    flux /= flux[:, REST_GRID.part(*LIGHT_BAND_ANGSTROM)].mean(axis=1, keepdims=True)
    first = populations[0]
    return SspLibrary(
        name,
        flux,
        np.array([p.age_gyr for p in populations]),
        np.array([p.metallicity for p in populations]),
        np.interp(grid, first.wavelength_angstrom, first.fwhm_km_s) / FWHM_PER_SIGMA,
        (float(low), float(high)),
    )
