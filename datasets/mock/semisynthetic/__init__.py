"""A semi-synthetic survey: rendered images for real SDSS spectra.

    python -m datasets.mock.semisynthetic OUT.h5 --spectra sdss_spectra.h5

`build` writes the survey file. The command stands in a file for itself, so that `--help` does not
import it.
"""
