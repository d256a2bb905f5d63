"""Measuring galaxy spectra: redshift, indices, emission lines, classes, stellar populations.

`measurements.measure` does all of it on arrays, `python -m utils.measure` on files. Conventions:
wavelengths in vacuum and Å, flux density F_λ as an array of N spectra with n pixels, σ in the same
unit or None.
"""
