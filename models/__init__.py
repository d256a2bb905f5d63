"""The networks and their mathematics: functions of tensors, nothing else.

Nothing here reads or writes files, logs, or knows of a configuration; sizes come in as arguments.

============================  =====================================================================
`image_encoder`               cutout -> spatial map and embedding (ResNet-18, 34, 50)
`spectrum_encoder`            spectrum -> embedding (1-D ResNet)
`contrastive`                 the two together: NT-Xent loss, retrieval, ranking of candidates
`residual`, `attention`       the blocks the 1-D networks are made of
`unet`                        noisy spectrum, time and condition tokens -> prediction
`condition`                   cutout -> condition tokens, from a frozen or a jointly trained encoder
`diffusion`                   noise schedule, training loss, the complete denoiser
`samplers`                    from noise to spectra: ancestral, DDIM, DPM-Solver++
`generator`                   reproducible candidates for a batch of cutouts, and their scores
============================  =====================================================================
"""
