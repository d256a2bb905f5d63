"""Generated spectra as FITS files that astronomers' programs open.

`specutils.Spectrum.read(path)` opens a spectrum file without arguments, with uncertainties;
`astropy.table.Table.read`, TOPCAT and others show its table. The extensions:

    SPECTRUM      table: wavelength (vacuum Å, observed frame), flux of the best candidate and its
                  uncertainty; the best, σ and mean as the network gives them (normalised)
    CANDIDATES    image (kept, pixels) float32, normalised, best first
    SCORES        table: number of each kept candidate (0 … sampled − 1), contrastive score, and
                  the redshift and S/N per pixel it was generated with (NaN without a prior)
    REDSHIFT_PDF  table: p(z | image), where the network gives one: z_low, z_high, probability

For P sampled candidates f_p, the uncertainty is half the distance between the 16th and the 84th
percentile of f_p at each wavelength: how well the image determines the spectrum, including its
redshift; pixels are strongly correlated. The flux is in 1e-17 erg/s/cm²/Å if the photometry of the
image gives the absolute scale s: flux = s f, with the r flux of the image in the fibre's aperture.
In the other bands spectrum and image may differ: the header has the colours of both, IMAGEGR and
IMAGERI, SPECGR and SPECRI, and their differences, DELTAGR and DELTARI. IMGPVAL is small where the
cutout is unlike the training images: do not trust its spectrum. Without photometry the flux stays
normalised. As specutils accepts a flux without unit only from an image, the file then begins
with one, and has its uncertainty in STD. Equal input gives equal bytes.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from astropy.io import fits

from datasets.atomic_files import atomic_path
from datasets.errors import UserError
from datasets.fits_input import open_fits
from utils.generation.column_meanings import IN_SPECTRUM, add_meanings
from utils.generation.generated_spectrum import GeneratedSpectrum, Provenance

FLUX_UNIT = "10**-17 erg Angstrom-1 s-1 cm-2"  # FITS standard; specutils 2.4 reads the factor too


def write_spectrum(path: str | Path, spectrum: GeneratedSpectrum) -> None:
    """Write one spectrum (module docstring), atomically."""
    physical = spectrum.scale is not None
    scale = np.float64(spectrum.scale or 1.0)  # in double precision, whatever its type
    flux = (spectrum.best * scale).astype(np.float32)
    sigma = (spectrum.sigma * scale).astype(np.float32)
    unit = FLUX_UNIT if physical else None
    columns = [
        fits.Column("wavelength", "D", unit="Angstrom", array=spectrum.wavelength_angstrom),
        fits.Column("flux", "E", unit=unit, array=flux),
        fits.Column("uncertainty", "E", unit=unit, array=sigma),
        fits.Column("normalised_flux", "E", array=spectrum.best),
        fits.Column("normalised_sigma", "E", array=spectrum.sigma),
        fits.Column("normalised_mean", "E", array=spectrum.mean),
    ]
    scores = [
        fits.Column("candidate", "J", array=spectrum.numbers),
        fits.Column("score", "E", array=spectrum.scores),
    ]
    conditions = (("redshift", spectrum.redshifts), ("snr", spectrum.snrs))
    scores += [fits.Column(name, "E", array=v) for name, v in conditions if v is not None]
    hdus = [
        fits.BinTableHDU.from_columns(columns, name="SPECTRUM"),
        fits.ImageHDU(np.asarray(spectrum.candidates, np.float32), name="CANDIDATES"),
        fits.BinTableHDU.from_columns(scores, name="SCORES"),
    ]
    if spectrum.redshift_pdf is not None:
        hdus.append(_redshift_table(*spectrum.redshift_pdf))
    for hdu in hdus:
        if isinstance(hdu, fits.BinTableHDU):
            add_meanings(hdu, IN_SPECTRUM.get)
    primary = fits.PrimaryHDU()
    if not physical:
        primary = fits.PrimaryHDU(flux, _wavelength_header(spectrum.wavelength_angstrom))
        hdus.insert(0, fits.ImageHDU(sigma, name="STD"))
    _describe(primary.header, spectrum)
    write_hdus(fits.HDUList([primary, *hdus]), path)


def _redshift_table(edges: np.ndarray, probability: np.ndarray) -> fits.BinTableHDU:
    columns = {"z_low": edges[:-1], "z_high": edges[1:], "probability": probability}
    return fits.BinTableHDU.from_columns(
        [fits.Column(name, "E", array=values) for name, values in columns.items()],
        name="REDSHIFT_PDF",
    )


def _wavelength_header(wavelength_angstrom: np.ndarray) -> fits.Header:
    """World coordinates of a linear or a logarithmic grid of vacuum wavelengths."""
    first, last = wavelength_angstrom[[0, -1]]
    intervals = len(wavelength_angstrom) - 1
    linear = np.allclose(np.diff(wavelength_angstrom), (last - first) / intervals, rtol=1e-6)
    header = fits.Header()
    header.update(
        CTYPE1="WAVE" if linear else "WAVE-LOG", CUNIT1="Angstrom", CRPIX1=1.0, CRVAL1=first,
        CDELT1=(last - first if linear else first * math.log(last / first)) / intervals,
        BUNIT="",
    )  # fmt: skip
    return header


KEYWORDS = {  # field of Provenance: keyword and comment
    "seed": ("SEED", "of the random numbers"),
    "sampled": ("NDRAWN", "candidates sampled"),
    "sampler": ("SAMPLER", ""),
    "code_version": ("CODEVERS", ""),
    "normalisation": ("NORM", "divisor of the normalised flux"),
    "averaged": ("NMEAN", "best candidates in the mean; absent: all"),
    "smoothing_sigma_angstrom": ("LSFSIGMA", "[Angstrom] smoothing on top of SDSS resolution"),
}


COLOUR_KEYWORDS = {
    "IMAGEGR": "[mag] g-r of the cutout in the fibre",
    "IMAGERI": "[mag] r-i of the cutout in the fibre",
}
SPECTRUM_COLOUR_KEYWORDS = {
    "SPECGR": "[mag] g-r of the flux, g extrapolated below it",
    "SPECRI": "[mag] r-i of the flux",
}
DIFFERENCE_KEYWORDS = {"DELTAGR": "[mag] SPECGR - IMAGEGR", "DELTARI": "[mag] SPECRI - IMAGERI"}


def _describe(header: fits.Header, spectrum: GeneratedSpectrum) -> None:
    colours = zip(COLOUR_KEYWORDS.items(), spectrum.image_colours, strict=True)
    own = zip(SPECTRUM_COLOUR_KEYWORDS.items(), spectrum.colours, strict=True)
    differences = np.subtract(spectrum.colours, spectrum.image_colours).tolist()
    differences = zip(DIFFERENCE_KEYWORDS.items(), differences, strict=True)
    cards: list[tuple] = [
        ("OBJECT", spectrum.name),
        ("OBSERVED", False, "generated from an image, not observed"),
        ("FRAME", "observed", "wavelengths are not shifted to rest"),
        ("VACUUM", True, "wavelengths in vacuum"),
        ("SRCFILE", spectrum.source),
        ("OBJID", spectrum.identifier, "0 = unknown"),
        ("RA", spectrum.ra, "[deg]"),
        ("DEC", spectrum.dec, "[deg]"),
        ("REDSHIFT", spectrum.redshift, "as given with the cutout"),
        ("IMGPVAL", spectrum.image_p_value, "of the image, among the training's"),
        ("IMGFLAG", spectrum.image_flag, "unlike the training's: do not trust"),
        ("FLXSCALE", spectrum.scale, "[1e-17 erg/s/cm2/A] per unit, from r of image"),
        *((key, colour, comment) for (key, comment), colour in (*colours, *own, *differences)),
        ("LSFINST", "SDSS spectrographs, R = 1800-2200", "resolution before smoothing"),
        *((key, getattr(spectrum.provenance, f), text) for f, (key, text) in KEYWORDS.items()),
        *((f"CKPT{k}", text) for k, text in enumerate(spectrum.provenance.checkpoints, start=1)),
    ]
    for key, value, *comment in cards:
        if value is None or (isinstance(value, float) and not math.isfinite(value)):
            continue  # FITS has no such value: unknown is absent
        header[key] = (ascii_text(value) if isinstance(value, str) else value, *comment)
    for number, text in enumerate(spectrum.assumptions, start=1):
        header[f"ASSUM{number}"] = ascii_text(text)


def ascii_text(text: str) -> str:
    """The text in the characters that FITS allows; others as escapes."""
    printable = "".join(c if c.isprintable() else " " for c in text)
    return printable.encode("ascii", "backslashreplace").decode()


def read_spectrum(path: str | Path) -> GeneratedSpectrum:
    """Read a file that `write_spectrum` wrote.

    Raises:
        UserError: it is another file, or damaged.
    """
    with open_fits(path) as hdus:
        if "SPECTRUM" not in hdus or "CANDIDATES" not in hdus:
            raise UserError(f"{path} is not a generated spectrum: write it with generate.py")
        header, table, scores = hdus[0].header, hdus["SPECTRUM"].data, hdus["SCORES"].data
        provenance = {f: header.get(key) for f, (key, _) in KEYWORDS.items()}
        return GeneratedSpectrum(
            name=header["OBJECT"],
            wavelength_angstrom=_native(table["wavelength"]),
            candidates=_native(hdus["CANDIDATES"].data),
            numbers=_native(scores["candidate"]),
            scores=_native(scores["score"]),
            mean=_native(table["normalised_mean"]),
            sigma=_native(table["normalised_sigma"]),
            provenance=Provenance(**provenance, checkpoints=tuple(header["CKPT*"].values())),
            scale=header.get("FLXSCALE"),
            source=header["SRCFILE"],
            ra=header.get("RA", math.nan),
            dec=header.get("DEC", math.nan),
            identifier=max(header["OBJID"], 0),  # -1 and the like stand for unknown, too
            redshift=header.get("REDSHIFT", math.nan),
            redshifts=_native(scores["redshift"]) if "redshift" in scores.names else None,
            snrs=_native(scores["snr"]) if "snr" in scores.names else None,
            redshift_pdf=_read_redshift_pdf(hdus),
            image_p_value=header.get("IMGPVAL", math.nan),
            image_flag=header.get("IMGFLAG", False),
            image_colours=tuple(header.get(key, math.nan) for key in COLOUR_KEYWORDS),
            assumptions=tuple(header["ASSUM*"].values()),
        )


def _read_redshift_pdf(hdus: fits.HDUList) -> tuple[np.ndarray, np.ndarray] | None:
    if "REDSHIFT_PDF" not in hdus:
        return None
    table = hdus["REDSHIFT_PDF"].data
    edges = np.append(table["z_low"], table["z_high"][-1:])
    return _native(edges), _native(table["probability"])


def _native(array: np.ndarray) -> np.ndarray:
    return np.array(array, dtype=array.dtype.newbyteorder("="))


def write_hdus(hdus: fits.HDUList, path: str | Path) -> None:
    """Write a FITS file atomically."""
    try:
        with atomic_path(path) as temporary:
            hdus.writeto(temporary, overwrite=True, output_verify="exception")
    except OSError as error:
        if error.filename:
            raise
        # numpy's does not name the file
        raise OSError(f"{path}: cannot be written: {error}") from error
