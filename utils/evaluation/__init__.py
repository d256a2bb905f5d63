"""The parts of `python -m utils.evaluate`: from candidates to figures a referee would ask for.

`methods`: the generator and the baselines, each as candidates for the same galaxies; `spectra`:
judged pixel by pixel; `calibration` and `resampling`: the statistics; `measuring`, `quantities`,
`relations`: what is measured on the spectra; `colours`: synthetic against image photometry;
`subgroups`; `tables`: for people.
"""
