"""What the columns of tables mean: UCDs, as TOPCAT and the Virtual Observatory use them, and
descriptions (UCD1+ controlled vocabulary 1.5)."""

from __future__ import annotations

import re
from collections.abc import Callable

from astropy.io import fits

MEANINGS = {  # name: UCD, description
    "name": ("meta.id;meta.main", "of the galaxy in this run"),
    "identifier": ("meta.id", "of the cutout's file; 0 = unknown"),
    "ra": ("pos.eq.ra;meta.main", "as given with the cutout"),
    "dec": ("pos.eq.dec;meta.main", "as given with the cutout"),
    "redshift": ("src.redshift", "as given with the cutout"),
    "file": ("meta.file", "of the spectrum"),
    "source": ("meta.file", "of the cutout"),
    "redshift_sampled": ("src.redshift", "median of the candidates, as the network sampled it"),
    "sampled": ("meta.number", "candidates sampled"),
    "kept": ("meta.number", "candidates written"),
    "best_candidate": ("meta.number", "which of the sampled ones is best"),
    "best_score": ("stat.likelihood", "similarity of the best candidate to the image, -1 to 1"),
    "median_sigma": ("stat.stdev", "median over pixels of the candidates' spread, normalised"),
    "flux_scale": ("arith.factor", "flux density of one normalised unit"),
    "image_p_value": ("stat.probability", "share of training images that are as unusual"),
    "image_flag": ("meta.code.qual", "unlike the training images: do not trust the spectrum"),
    "delta_gr": ("phot.color;arith.diff", "g-r of the best candidate minus that of the image"),
    "delta_ri": ("phot.color;arith.diff", "r-i of the best candidate minus that of the image"),
    "assumptions": ("meta.note", "what the file of the cutout did not state"),
    "colour_flag": ("meta.code.qual", "colours of spectrum and image disagree"),
    "z": ("src.redshift", "fitted to the spectrum: median of the candidates"),
    "z_margin": ("stat.fit.chi2", "gain in chi2 over the next best redshift"),
    "Dn4000": ("spect.continuum", "4000 A break, Balogh et al. 1999"),
    "gas_velocity": ("spect.dopplerVeloc", "of the emission lines, relative to the redshift"),
    "gas_sigma": ("spect.line.width", "velocity dispersion of the emission lines"),
    "log_nii_halpha": ("arith.ratio;spect.line", "log10 of [N II] 6584 / H alpha"),
    "log_oiii_hbeta": ("arith.ratio;spect.line", "log10 of [O III] 5007 / H beta"),
    "bpt_share": ("stat.probability", "share of the candidates that are of this class"),
    "bpt": ("src.class", "undetermined, star forming, composite, Seyfert or LINER"),
}
IN_SPECTRUM = {  # likewise, of the tables in the file of a spectrum
    "wavelength": ("em.wl", "vacuum, observed frame"),
    "flux": ("phot.flux.density;em.wl", "of the best candidate"),
    "uncertainty": ("stat.stdev;phot.flux.density", "half the 16-84 % range of the candidates"),
    "normalised_flux": ("phot.flux.density;em.wl;arith.ratio", "the same, normalised"),
    "normalised_sigma": ("stat.stdev;phot.flux.density;arith.ratio", "the same, normalised"),
    "normalised_mean": ("stat.mean;phot.flux.density;arith.ratio", "mean of the candidates"),
    "candidate": ("meta.number", "as which it was sampled"),
    "score": ("stat.likelihood", "similarity to the image, -1 to 1"),
    "redshift": ("src.redshift", "of the candidate"),
    "snr": ("stat.snr", "of the candidate, median per pixel"),
    "z_low": ("src.redshift;stat.min", "lower edge of the bin"),
    "z_high": ("src.redshift;stat.max", "upper edge of the bin"),
    "probability": ("stat.probability", "that the redshift is in the bin, given the image"),
}
PATTERNS = (  # of names, UCD, description of what the first group names
    (r"(.+)_flux", "phot.flux;spect.line", "flux of {}"),
    (r"(.+)_ew", "spect.line.eqWidth", "equivalent width of {}, rest frame, positive in emission"),
    (r"(H(?:delta|gamma)[AF]|Fe\d+|Ca\d+|C4668|G4300|Mgb|Hbeta|NaD)", "spect.line.eqWidth",
     "Lick index {}"),
    (r"(CN[12]|Mg[12]|TiO[12])", "spect.line.strength", "Lick index {}"),
)  # fmt: skip


def meaning(name: str) -> tuple[str, str] | None:
    """UCD and description of a column; None for others."""
    if name in MEANINGS:
        return MEANINGS[name]
    if name.endswith("_err") and (of := meaning(name.removesuffix("_err"))):
        return f"stat.error;{of[0].partition(';')[0]}", f"uncertainty of {name[:-4]}"
    for pattern, ucd, text in PATTERNS:
        if match := re.fullmatch(pattern, name):
            return ucd, text.format(match[1])
    return None


def add_meanings(
    table: fits.BinTableHDU, of: Callable[[str], tuple[str, str] | None] = meaning
) -> None:
    """Put the UCD (`TUCDn`) and the description (`TCOMMn`) of every known column into the header
    of a table; `of` looks them up."""
    for number, name in enumerate(table.columns.names, start=1):
        if known := of(name):
            table.header[f"TUCD{number}"], table.header[f"TCOMM{number}"] = known
