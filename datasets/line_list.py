"""Rest wavelengths of spectral lines in vacuum, each written once.

Names carry the traditional wavelength in air, as in the literature: "OIII5007" lies at 5008.24 Å
in vacuum. Sources: the line list of the SDSS data releases, NIST for the absorption lines.
"""

EMISSION_ANGSTROM = {
    "OII3726": 3727.09, "OII3729": 3729.88, "NeIII3869": 3869.86, "HeI3889": 3889.75,
    "H8": 3890.15, "NeIII3967": 3968.59, "Hepsilon": 3971.20, "Hdelta": 4102.89,
    "Hgamma": 4341.68, "OIII4363": 4364.44, "HeI4471": 4472.73, "HeII4686": 4687.02,
    "Hbeta": 4862.68, "OIII4959": 4960.30, "OIII5007": 5008.24, "NI5200": 5201.71,
    "HeI5876": 5877.25, "OI6300": 6302.05, "SIII6312": 6313.81, "OI6363": 6365.54,
    "NII6548": 6549.86, "Halpha": 6564.61, "NII6584": 6585.27, "HeI6678": 6679.99,
    "SII6716": 6718.29, "SII6731": 6732.67, "ArIII7136": 7137.77,
}  # fmt: skip

ABSORPTION_ANGSTROM = {
    "CaK": 3934.78, "CaH": 3969.59, "Mgb1": 5185.05, "Mgb2": 5174.12, "Mgb4": 5168.76,
    "NaD1": 5897.56, "NaD2": 5891.58,
}  # fmt: skip  # stellar and interstellar; the Balmer lines stand above

# The lines that are measured. The [O II] doublet is unresolved at SDSS resolution: one line with
# two equal halves.
LINES = {
    "OII3727": (EMISSION_ANGSTROM["OII3726"], EMISSION_ANGSTROM["OII3729"]),
    **{
        name: (EMISSION_ANGSTROM[name],)
        for name in (
            "Hbeta", "OIII4959", "OIII5007", "OI6300", "NII6548", "Halpha", "NII6584", "SII6716",
            "SII6731",
        )
    },
}  # fmt: skip
