"""Cutouts of galaxies, in the formats that surveys serve."""
