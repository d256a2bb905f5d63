"""Names of columns and header entries, in lower case, that tables and files of others use."""

from collections.abc import Iterable

IDENTIFIERS = ("identifier", "objid", "specobjid", "bestobjid")  # first: preferred
NAMES = ("name", "file", "image", "spectrum")  # of text, also where it is all digits
RA = ("ra", "ra_obj", "raj2000", "ra_deg", "alpha_j2000")  # degrees
DEC = ("dec", "dec_obj", "dej2000", "decj2000", "dec_deg", "delta_j2000")
REDSHIFTS = ("redshift", "zspec", "z_spec", "specz", "z")
MAGNITUDES = {"u", "g", "r", "i"}  # beside which z is another one, not the redshift


def is_magnitude(name: str, names: Iterable[str]) -> bool:
    """Whether a column called `name` is a magnitude, and not the redshift, among `names`."""
    return name == "z" and set(names) >= MAGNITUDES
