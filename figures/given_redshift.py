"""Spectra at the given redshift, in the rest frame, with residuals in units of their spread."""

from __future__ import annotations

import h5py
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from datasets.spectra import SIGMA_PERCENTILES, candidate_sigma
from figures.evaluation_files import Results
from utils.plotting.style import COLOURS, new_figure, styled

COUNT = 4
LARGEST_PULL = 5.0  # shown


@styled
def draw_given_redshift(results: Results) -> Figure | None:
    """Galaxies from young to old: truth, mean and central 68 % of the candidates, and below the
    difference in σ of a single candidate, (1 + 1/P)^½ times their spread."""
    path = results.folder / "candidates_given_redshift.h5"
    if not path.exists():
        return None
    figure = new_figure(1.75 * COUNT + 0.3)
    figure.get_layout_engine().set(h_pad=0.01, hspace=0)
    rows = figure.add_gridspec(COUNT, 1)
    with h5py.File(path) as file:
        for place, number in enumerate(results.spread(COUNT)):
            upper, lower = (
                rows[place]
                .subgridspec(2, 1, height_ratios=(2.2, 1), hspace=0)
                .subplots(sharex=True)
            )
            _draw_galaxy(upper, lower, results, number, file["flux"][number])
            if place == COUNT - 1:
                lower.set_xlabel("Rest wavelength (Å, vacuum)")
                lower.tick_params(labelbottom=True)
            if place == 0:
                figure.legend(
                    *upper.get_legend_handles_labels(), loc="outside upper right", ncols=3
                )
    figure.supylabel("Normalised flux, and residual in σ", fontsize=8)
    return figure


def _draw_galaxy(
    upper: Axes, lower: Axes, results: Results, number: int, candidates: np.ndarray
) -> None:
    galaxy = results.galaxy(number)
    rest = results.wavelength_angstrom / (1 + galaxy.redshift)
    low, high = np.percentile(candidates, SIGMA_PERCENTILES, axis=0)
    mean = candidates.mean(axis=0)
    sigma = candidate_sigma(candidates) * np.sqrt(1 + 1 / len(candidates))
    own = COLOURS["generated"]
    upper.fill_between(rest, low, high, color=own, alpha=0.35, lw=0, label="central 68 %")
    upper.plot(rest, galaxy.truth, color=COLOURS["truth"], lw=0.5, label="true")
    upper.plot(rest, mean, color=own, lw=0.6, label="mean of the candidates")
    top = np.percentile(np.concatenate([galaxy.truth, mean]), 99.7)
    ends = results.wavelength_angstrom[[0, -1]] / (1 + np.mean(results.redshift))
    upper.set(ylim=(0, 1.15 * top), xlim=ends)  # the same for all galaxies
    upper.set_title(f"z = {galaxy.redshift:.4f}", loc="left", y=0.99)
    pull = (galaxy.truth - mean) / np.maximum(sigma, 1e-6)
    lower.axhspan(-1, 1, color="0.9", lw=0)
    lower.plot(rest, np.clip(pull, -LARGEST_PULL, LARGEST_PULL), color=COLOURS["truth"], lw=0.4)
    lower.set(ylim=(-LARGEST_PULL, LARGEST_PULL), yticks=(-3, 0, 3))
    lower.tick_params(labelbottom=False)
