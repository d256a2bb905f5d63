"""SDSS spectra: `spec` files of every pipeline version, and collections on one grid.

A `spec` file (lite or full, legacy SDSS or BOSS) has a table of pixels (`flux`, `loglam`,
`ivar`, `and_mask`) and a table of one row about the object. HDU names and the case of column
names differ between versions, so both tables are recognised by their columns.

Identifiers follow the layout of the SDSS data model, here with bit ranges:

    specObjID = plate [63:50] | fiber [49:38] | MJD − 50000 [37:24] | run2d [23:10] | 0 [9:0]

where run2d "vN_M_P" counts as 10000 (N − 5) + 100 M + P and legacy ones are plain numbers.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from astropy.io import fits

from datasets.errors import UserError
from datasets.file_limits import check_bytes, check_stored, own_datasets
from datasets.fits_input import open_fits
from datasets.identifiers import exact_identifiers, identifiers_of

LEGACY_RUN2D = (26, 103, 104)  # the pipelines of SDSS-I/II and SEGUE
LOGLAM_STEP = 1e-4  # dex: the pixels of every SDSS spectrum lie at multiples of it
PIXEL_COLUMNS = {"flux", "loglam", "ivar", "and_mask"}
OBJECT_COLUMNS = {"plate", "mjd", "fiberid", "z", "zwarning", "class", "subclass", "run2d"}
OPTIONAL_COLUMNS = {"specobjid", "ra", "dec", "plug_ra", "plug_dec"}
COLLECTION_COLUMNS = {"plate", "mjd", "fiber", "ra", "dec", "z", "zwarning", "cls", "subclass"}


SDSS_V_NAME = re.compile(r"spec-\d+-\d{5}-\d{5,}\.fits(\.gz)?")  # field, MJD, catalogue id
SDSS_V = "a file of SDSS-V (field and catalogue id instead of plate and fiber): not read"


class SpectrumFileError(UserError):
    """A file that is not a readable SDSS spectrum."""


@dataclass(frozen=True)
class SdssSpectrum:
    """One observed spectrum."""

    wavelength_angstrom: np.ndarray  # (n,) float64, vacuum, observed frame
    flux: np.ndarray  # (n,) float64, 1e-17 erg/s/cm²/Å
    ivar: np.ndarray  # (n,) float64, inverse variance of flux; 0 = no data
    and_mask: np.ndarray | None  # (n,) int32, SPPIXMASK bits set in every exposure
    plate: int
    mjd: int
    fiber: int
    specobjid: int  # 64 bits; 0 = unknown
    z: float
    zwarning: int
    spectral_class: str  # GALAXY, QSO, STAR
    subclass: str
    ra: float  # degrees
    dec: float
    run2d: str  # pipeline version; empty = unknown

    @property
    def pixels(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
        """Wavelength, flux, inverse variance and mask, as `datasets.spectra` takes them."""
        return self.wavelength_angstrom, self.flux, self.ivar, self.and_mask


def is_sdss_v(path: str | Path) -> bool:
    """Whether a file is named as those of SDSS-V: spec-FIELD-MJD-CATALOGID.fits."""
    return SDSS_V_NAME.fullmatch(Path(path).name) is not None


def run2d_number(run2d: str) -> int:
    """The pipeline version as in specObjID: "26" → 26, "v5_13_0" → 1300."""
    text = str(run2d).strip()
    if text.isdigit():
        return int(text)
    version = re.fullmatch(r"v(\d+)_(\d+)_(\d+)", text)
    if not version:
        raise ValueError(f"run2d {run2d!r} is neither a number nor vN_M_P")
    major, minor, patch = (int(part) for part in version.groups())
    return 10000 * (major - 5) + 100 * minor + patch


def run2d_name(number: int) -> str:
    """The inverse of `run2d_number`."""
    if number in LEGACY_RUN2D:
        return str(number)
    return f"v{5 + number // 10000}_{number // 100 % 100}_{number % 100}"


def spec_object_identifier(plate: int, mjd: int, fiber: int, run2d: str) -> int:
    """The specObjID of an observation, in the layout at the top of this module.

    Raises:
        ValueError: a part does not fit its bits.
    """
    number = run2d_number(run2d)
    for value, bits in ((plate, 14), (fiber, 12), (mjd - 50000, 14), (number, 14)):
        if not 0 <= value < 1 << bits:
            raise ValueError(f"plate {plate}, MJD {mjd}, fiber {fiber}, run2d {run2d} do not fit")
    return plate << 50 | fiber << 38 | (mjd - 50000) << 24 | number << 10


def spec_object_parts(identifier: int) -> tuple[int, int, int, str]:
    """(plate, MJD, fiber, run2d) of a specObjID: the inverse of `spec_object_identifier`."""
    plate, fiber = identifier >> 50, identifier >> 38 & 0xFFF
    return plate, (identifier >> 24 & 0x3FFF) + 50000, fiber, run2d_name(identifier >> 10 & 0x3FFF)


def read_spec_file(path: str | Path) -> SdssSpectrum:
    """Read an SDSS `spec-PPPP-MMMMM-FFFF.fits` of any version.

    Raises:
        SpectrumFileError: the file is missing, truncated, not FITS or without the two tables, or
            its specObjID contradicts its plate, MJD, fiber and run2d.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message=".*truncated")
            with open_fits(path) as hdus:
                pixels = _find_table(hdus, PIXEL_COLUMNS)
                columns = _find_table(hdus, OBJECT_COLUMNS, OPTIONAL_COLUMNS)
                row = {name: values[0] for name, values in columns.items()}
        return _spectrum(path, pixels, row)
    except SpectrumFileError:
        raise
    except FileNotFoundError:
        raise SpectrumFileError(f"{path}: no such file") from None
    except KeyError as error:
        if is_sdss_v(path):
            raise SpectrumFileError(f"{path}: {SDSS_V}") from None
        raise SpectrumFileError(
            f"{path} is not an SDSS spec file: no table has {error}; spec files lie in "
            "…/spectra/lite/PLATE/ and …/spectra/PLATE/ of the archive"
        ) from None
    except Exception as error:  # astropy raises anything on damage
        reason = " ".join(str(error).split())
        raise SpectrumFileError(
            f"{path} is damaged or not FITS ({reason}): download it again"
        ) from error


def _find_table(
    hdus: fits.HDUList, required: set[str], optional: frozenset[str] | set[str] = frozenset()
) -> dict[str, np.ndarray]:
    """Columns, by lower-case name, of the first table that has the required ones."""
    for hdu in hdus:
        names = {n.lower(): n for n in hdu.columns.names} if hasattr(hdu, "columns") else {}
        if required <= names.keys():
            check_bytes((hdu.size,), 1)
            wanted = (required | optional) & names.keys()
            return {name: np.array(hdu.data[names[name]]) for name in wanted}
    raise KeyError(", ".join(sorted(required)))


def _spectrum(path: str | Path, pixels: dict[str, np.ndarray], row: dict) -> SdssSpectrum:
    plate, mjd, fiber = int(row["plate"]), int(row["mjd"]), int(row["fiberid"])
    run2d = str(row["run2d"]).strip()
    try:
        identifier = spec_object_identifier(plate, mjd, fiber, run2d)
    except ValueError:  # a version that specObjID has no number for
        identifier = 0
    # text in legacy files, a number in BOSS ones, with sign or without
    stored = int(identifiers_of(np.atleast_1d(row.get("specobjid", 0)))[0][0])
    if stored and identifier and stored != identifier:
        raise SpectrumFileError(
            f"{path}: specObjID {stored} contradicts plate {plate}, MJD {mjd}, fiber {fiber}, "
            f"run2d {run2d}, which give {identifier}: download it again"
        )
    return SdssSpectrum(
        wavelength_angstrom=_wavelength(pixels["loglam"]),
        flux=pixels["flux"].astype(np.float64),
        ivar=pixels["ivar"].astype(np.float64),
        and_mask=pixels["and_mask"].astype(np.int32),
        specobjid=identifier or stored,
        run2d=run2d,
        **_about({"fiber": fiber, "cls": row["class"], **row}),
    )


def _about(row: Mapping[str, Any]) -> dict[str, Any]:
    """What a row of columns, called as in a collection, states about its object."""
    return {
        "plate": int(row["plate"]),
        "mjd": int(row["mjd"]),
        "fiber": int(row["fiber"]),
        "z": float(row["z"]),
        "zwarning": int(row["zwarning"]),
        "spectral_class": str(row["cls"]).strip(),
        "subclass": str(row["subclass"]).strip(),
        "ra": float(row["ra"] if "ra" in row else row["plug_ra"]),
        "dec": float(row["dec"] if "dec" in row else row["plug_dec"]),
    }


def _wavelength(loglam: np.ndarray) -> np.ndarray:
    """λ in Å; `loglam` in float32, good to 0.002 px only, is rounded to the grid of SDSS pixels."""
    loglam = loglam.astype(np.float64)
    if not (loglam.size and np.isfinite(loglam).all()):
        raise ValueError("loglam is empty or not finite")
    nearest = np.round(loglam / LOGLAM_STEP) * LOGLAM_STEP
    return 10.0 ** (nearest if np.abs(loglam - nearest).max() < 1e-6 else loglam)


@dataclass(frozen=True)
class SpectraCollection:
    """Many spectra on one grid, arrays as in the file; `collection[i]` is one spectrum."""

    wavelength_angstrom: np.ndarray  # (P,) float64, vacuum, observed frame
    flux: np.ndarray  # (N, P) float32, 1e-17 erg/s/cm²/Å
    ivar: np.ndarray  # (N, P) float32; 0 = no data
    catalogue: dict[str, np.ndarray]  # name → (N, …), exact types

    def __len__(self) -> int:
        return len(self.flux)

    def __getitem__(self, i: int) -> SdssSpectrum:
        row = {name: values[i] for name, values in self.catalogue.items()}
        identifier = int(row["specobjid"])
        return SdssSpectrum(
            wavelength_angstrom=self.wavelength_angstrom,
            flux=self.flux[i].astype(np.float64),
            ivar=self.ivar[i].astype(np.float64),
            and_mask=None,
            specobjid=identifier,
            run2d=spec_object_parts(identifier)[3] if identifier else "",
            **_about(row),
        )

    def __iter__(self) -> Iterator[SdssSpectrum]:
        return (self[i] for i in range(len(self)))


def read_spectra_collection(path: str | Path) -> SpectraCollection:
    """Read an HDF5 file of N spectra on one grid of P pixels.

    The file holds `loglam` (P,), `flux` and `ivar` (N, P), and the (N, …) columns `specobjid`,
    `plate`, `mjd`, `fiber`, `ra`, `dec`, `z`, `zwarning`, `cls`, `subclass` and any others.

    Raises:
        SpectrumFileError: it does not.
    """
    try:
        with h5py.File(path, "r") as file:
            datasets = own_datasets(file)
            for dataset in datasets.values():
                check_stored(dataset)
            columns = {name: _values(dataset) for name, dataset in datasets.items()}
        wavelength = _wavelength(columns.pop("loglam"))
        flux, ivar = columns.pop("flux"), columns.pop("ivar")
        # Unsigned also where a file stores the 64 bits as a signed integer: eBOSS plates > 8191.
        columns["specobjid"] = exact_identifiers(columns["specobjid"])
    except OSError as error:
        raise SpectrumFileError(f"{path} is not a readable HDF5 file: {error}") from error
    except KeyError as error:
        raise SpectrumFileError(f"{path} is not a spectra collection: it lacks {error}") from None
    except Exception as error:  # h5py raises anything on damage
        raise SpectrumFileError(f"{path}: {error}") from error
    return SpectraCollection(wavelength, flux, ivar, columns)


def _values(dataset: h5py.Dataset) -> np.ndarray:
    """What a data set holds; text, of fixed or of any length, as such."""
    if h5py.check_string_dtype(dataset.dtype):
        return dataset.asstr(errors="replace")[:].astype(str)
    return dataset[:]
