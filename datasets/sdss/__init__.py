"""SDSS's own files: spectra, frames, the DeepDIP cube, the archive."""
