"""Wavelengths of spectral lines, each written once."""

LINES = {
    "OII3727": (3727.09, 3729.88),
    "Hbeta": (4862.68,),
    "OIII4959": (4960.30,),
    "OIII5007": (5008.24,),
    "OI6300": (6302.05,),
    "NII6548": (6549.86,),
    "Halpha": (6564.61,),
    "NII6584": (6585.27,),
    "SII6716": (6718.29,),
    "SII6731": (6732.67,),
}
"""Vacuum wavelengths in Å; the [O II] doublet, unresolved at SDSS resolution, has equal halves."""
