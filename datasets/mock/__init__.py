"""A mock SDSS: galaxy images with their fibre spectra, and the truth behind both.

    python -m datasets.mock OUT.h5 --count 5000 --seed 1
    python -m datasets.mock OUT.h5 --count 5000 --seed 1 --pictures  # R G B, not u g r i z

Modules, in the order of the light: `catalogue` (the population of galaxies), `stars` and `lines`
(their spectra), `conditions` (seeing, sky, zero points and Galactic dust by field), `images` and
`pictures` (images in nanomaggies, or as colour JPEGs), `observe` (the fibre and the spectrograph),
`simulate` (all of these for a block of galaxies), `build` (the survey file); `tables` holds the
numbers, `docs/mock.md` the relations with their sources.

The file's `truth` group has, per galaxy: `noiseless` (4500 px, prepared like the noisy
spectrum); `log_mass` (M☉), `log_ssfr` (1/yr), `log_oh` (12 + log O/H), `metallicity` ([Z/H]
of the stars), `a_v` (mag), `log_age_yr` (light-weighted, a proxy), `sigma_star_kms`,
`gas_sigma_kms`, `dn4000`, `bpt_class` (0 star forming, 1 composite, 2 active), `type` and
`nucleus` (an index of `catalogue.TYPES`; 0 none, 1 LINER, 2 Seyfert), `flux_LINE`
(1e-17 erg/s/cm²) and `ew_LINE` (rest frame Å, positive in emission) in the fibre for the lines of
`tables`;
`total_nanomaggies` and `fibre_nanomaggies` (u g r i z, without noise and neighbours);
`residual_ebv` (mag, of Galactic dust that the correction left over); `bulge_total`,
`radius_arcsec`, `cos_inclination`, `position_angle`, `young_share`.
"""
