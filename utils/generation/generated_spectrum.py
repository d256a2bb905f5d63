"""A generated spectrum in memory: its candidates, and how they were made."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from datasets.errors import UserError
from datasets.synthetic_photometry import synthetic_colours

if TYPE_CHECKING:
    from specutils import Spectrum

BLOCK = 16  # galaxies that are measured together
HEADER_DIGITS = 14  # of a number of any sign and size, in the 20 characters of a FITS header


@dataclass(frozen=True)
class Provenance:
    """How spectra were made. Each field is a keyword of the file's header.

    Args:
        seed: Of the random numbers.
        sampled: Number of candidates.
        sampler: E.g. "dpm, 20 steps".
        checkpoints: Name and digest of each network's file.
        code_version: Of this project.
        normalisation: What the normalised flux was divided by, e.g. "median of 5500-7000 Angstrom".
        smoothing_sigma_angstrom: Of the Gaussian that the training spectra were smoothed with.
        averaged: Number of candidates, best first, that the mean is of; None for all.
    """

    seed: int
    sampled: int
    sampler: str
    checkpoints: tuple[str, ...]
    code_version: str
    normalisation: str
    smoothing_sigma_angstrom: float
    averaged: int | None = None


@dataclass(frozen=True)
class GeneratedSpectrum:
    """The candidates that were kept for one galaxy, with mean and spread of all.

    Args:
        name: Of the galaxy, unique in its run.
        wavelength_angstrom: (pixels,) float64, vacuum, observed frame.
        candidates: (kept, pixels) float32, normalised, best first.
        numbers: (kept,) int, the numbers by which they were sampled.
        scores: (kept,) float32, contrastive similarity to the image, −1 … 1.
        mean: (pixels,) float32 of the `provenance.averaged` best candidates, normalised.
        sigma: (pixels,) float32 of all candidates, normalised.
        provenance: How the spectra were made.
        scale: 1e-17 erg/s/cm²/Å per normalised unit; None if unknown.
        source: The file of the cutout.
        ra, dec: Degrees; NaN if unknown.
        identifier: unsigned 64-bit; 0 if unknown.
        redshift: Given with the cutout; NaN if unknown.
        redshifts, snrs: (kept,) float32, of the candidates; NaN for a network without a prior.
        redshift_pdf: Edges (bins + 1,) and probabilities (bins,) of p(z | image), or None.
        image_p_value: Of the cutout among images like the training's (`models.novelty`); NaN if
            unknown.
        image_flag: Whether the cutout is unlike those: do not trust the spectrum.
        image_colours: g − r and r − i of the cutout in the fibre's aperture, mag; NaN if unknown.
        assumptions: What was assumed, or not used, of the cutout's file.
    """

    name: str
    wavelength_angstrom: np.ndarray
    candidates: np.ndarray
    numbers: np.ndarray
    scores: np.ndarray
    mean: np.ndarray
    sigma: np.ndarray
    provenance: Provenance
    scale: float | None = None
    source: str = ""
    ra: float = math.nan
    dec: float = math.nan
    identifier: int = 0
    redshift: float = math.nan
    redshifts: np.ndarray | None = None
    snrs: np.ndarray | None = None
    redshift_pdf: tuple[np.ndarray, np.ndarray] | None = None
    image_p_value: float = math.nan
    image_flag: bool = False
    image_colours: tuple[float, float] = (math.nan, math.nan)
    assumptions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Round numbers as a FITS header does: a spectrum equals the one read from its file."""
        for name in ("scale", "ra", "dec", "redshift", "image_p_value"):
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, _as_in_header(value))
        colours = tuple(_as_in_header(colour) for colour in self.image_colours)
        object.__setattr__(self, "image_colours", colours)

    @property
    def best(self) -> np.ndarray:
        """(pixels,) normalised flux of the best candidate."""
        return self.candidates[0]

    @property
    def colours(self) -> tuple[float, float]:
        """g − r and r − i of the best candidate, mag; NaN where they are not covered."""
        return tuple(map(float, synthetic_colours(self.wavelength_angstrom, self.best)))

    def to_specutils(self, candidate: int | None = None) -> Spectrum:
        """As a `specutils.Spectrum` in erg/s/cm²/Å, or normalised where the scale is unknown.

        Args:
            candidate: 0 is the best; None gives the best with the uncertainty of all.

        Raises:
            UserError: specutils is not installed.
        """
        try:
            from specutils import Spectrum
        except ImportError as error:
            raise UserError("specutils is needed: pip install specutils") from error
        from astropy import units
        from astropy.nddata import StdDevUncertainty

        unit = 1e-17 * units.Unit("erg / (s cm2 Angstrom)")
        scale = units.Quantity(1.0) if self.scale is None else self.scale * unit
        flux = self.candidates[candidate or 0] * scale
        sigma = StdDevUncertainty(self.sigma * scale) if candidate is None else None
        meta = {"name": self.name, "redshift": self.redshift}
        wavelength = self.wavelength_angstrom * units.AA
        return Spectrum(flux, wavelength, uncertainty=sigma, meta=meta)


def _as_in_header(value: float) -> float:
    return float(f"{value:.{HEADER_DIGITS}g}")
