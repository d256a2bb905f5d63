"""Pictures of spectra and cutouts."""
