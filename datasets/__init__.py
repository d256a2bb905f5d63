"""From files to arrays and back: spectra, images, SDSS readers, survey files, the mock survey."""
