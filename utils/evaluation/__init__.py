"""The parts of `python -m utils.evaluate`: from candidates to the metrics a referee would ask for.

`evaluator` runs the evaluation. `candidates`, `baselines` and `method`: candidate spectra of the
generator and of the baselines. `metrics`, `pixel_metrics` and `calibration`: their scores pixel by
pixel. `measurement_cache`, `derived_quantities`, `population_statistics` and `self_consistency`:
quantities measured on the spectra. `photometric_consistency`: colours. `subgroups`, `bootstrap`,
`aggregate`: metrics of parts, their errors, and all of them together. `report`, `comparison` and
`markdown`: tables. `cache_identity`: what the files in the output folder were made from.
"""
