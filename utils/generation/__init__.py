"""From cutouts to ranked candidate spectra, and the files that hold them."""
