"""The networks and their mathematics: functions of tensors, nothing else.

Nothing here reads or writes files, logs, or depends on a configuration; sizes are arguments.

Stage 1 trains the towers, stage 2 the generator:

============================  =====================================================================
`image_encoder`               cutout -> spatial map and embedding (ResNet-18, 34, 50)
`spectrum_encoder`            spectrum -> embedding (1-D ResNet)
`contrastive`                 both towers: NT-Xent loss, retrieval, ranking of candidates
`conditioning`                features of a cutout -> condition tokens, frozen or jointly trained
`diffusion`                   noise schedule, denoiser, training loss: of both diffusion models
`parameter_denoiser`          noisy parameters, time and condition tokens -> prediction
`unet`                        noisy spectrum, time and condition tokens -> prediction
`blocks`, `attention`         the parts of the 1-D networks
`samplers`                    from noise to spectra: Adams-Bashforth, DPM-Solver++, DDIM, ancestral
`spectral_basis`              mean and principal components of rest-frame spectra
`spectrum_prior`              redshift, S/N and coefficients -> mean and σ of every pixel
`whitening`                   residuals in coordinates in which stationary noise is white
`novelty`                     how unlike the training images a cutout is, as a p-value
`generator`                   candidates for a batch of galaxies, and their scores
`random_streams`              random numbers that depend on seed, galaxy and candidate alone
============================  =====================================================================

A generated spectrum comes from two diffusion models that attend to the same condition tokens. The
parameter diffusion samples redshift, S/N and the coefficients of rest-frame components. They set
mean and σ of every pixel, and the spectrum diffusion, the U-Net, samples the whitened residual.
With `diffusion.prior: none`, the published method, the U-Net diffuses the spectrum itself.
"""
