"""The networks and their mathematics: functions of tensors, nothing else.

Nothing here reads or writes files, logs, or depends on a configuration; sizes are arguments.

Stage 1 trains the towers, stage 2 the generator:

============================  =====================================================================
`image_encoder`               cutout -> spatial map and embedding (ResNet-18, 34, 50)
`spectrum_encoder`            spectrum -> embedding (1-D ResNet)
`contrastive`                 both towers: NT-Xent loss, retrieval, ranking of candidates
`conditioning`                cutout -> features -> condition tokens, frozen or jointly trained
`diffusion`                   noise schedule, denoiser, training loss
`unet`                        noisy spectrum, time and condition tokens -> prediction
`blocks`, `attention`         the parts of the 1-D networks
`samplers`                    from noise to spectra: ancestral, DDIM, DPM-Solver++
`spectral_basis`              mean and principal components of rest-frame spectra
`spectrum_prior`              redshift, S/N and coefficients -> mean and σ of every pixel
`property_heads`              p(redshift | image), p(S/N | image); regression of the coefficients
`convex_hull`                 sampled coefficients -> the nearest mixture of galaxies
`generator`                   candidates for a batch of galaxies, and their scores
`random_streams`              random numbers that depend on seed, galaxy and candidate alone
============================  =====================================================================

What decides a generated spectrum in the default configuration: redshift and S/N are sampled from
the property heads, the coefficients from a regression with the residual of a similar training
galaxy. They set the mean and the σ of every pixel. The diffusion model generates the residual about
that mean, conditional on the image; it adds noise and what the basis cannot express. A network
trained with `redshift` and `snr` `unconditional`, the published method, diffuses the spectrum
itself.
"""
