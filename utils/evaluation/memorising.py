"""Do candidates repeat training spectra? Distances to the nearest training spectrum.

A generator that has memorised its training set makes spectra that are nearer to a training spectrum
than the spectra of new galaxies are. Distances are root mean squares over pixels, and over bins of
100 Å, in which noise averages out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from utils.evaluation.markdown import number, rows_of
from utils.evaluation.metrics import coarse

SPECTRA = 2000  # candidates whose nearest training spectrum is searched for
LIBRARY = 20_000  # training spectra among which it is searched for
PERCENTILES = (1, 16, 50)
BLOCK = 512  # training spectra at once


def nearest_distances(spectra: np.ndarray, training: Iterator[np.ndarray]) -> np.ndarray:
    """Root mean square distance (m,) of spectra (m, n) to the nearest of all training spectra.

    Args:
        spectra: (m, n).
        training: blocks (b, n) of the training spectra.
    """
    spectra = spectra.astype(np.float64)
    norm = np.einsum("mn,mn->m", spectra, spectra)
    nearest = np.full(len(spectra), np.inf)
    for block in training:
        block = block.astype(np.float64)
        squared = norm[:, None] + np.einsum("bn,bn->b", block, block) - 2 * spectra @ block.T
        nearest = np.minimum(nearest, squared.min(axis=1))
    return np.sqrt(np.maximum(nearest, 0) / spectra.shape[1])


def memorising_metrics(
    wavelength_angstrom: np.ndarray,
    samples: dict[str, np.ndarray],
    count: int,
    training: Callable[[slice], np.ndarray],
) -> dict:
    """Percentiles of the distances of each sample, over pixels and over bins.

    Args:
        wavelength_angstrom: (n,).
        samples: spectra (m, n) by name.
        count: number of training spectra.
        training: reads the training spectra (b, n) of a slice.
    """
    everything = np.concatenate(list(samples.values()))
    ends = np.cumsum([len(spectra) for spectra in samples.values()])[:-1]
    result = {name: {} for name in samples}
    parts = [slice(start, min(start + BLOCK, count)) for start in range(0, count, BLOCK)]
    for kind, transform in (("pixels", None), ("bins", wavelength_angstrom)):
        blocks = (_binned(training(part), transform) for part in parts)
        distances = nearest_distances(_binned(everything, transform), blocks)
        for name, own in zip(samples, np.split(distances, ends), strict=True):
            result[name][kind] = np.percentile(own, PERCENTILES).tolist()
    return result


def _binned(flux: np.ndarray, wavelength_angstrom: np.ndarray | None) -> np.ndarray:
    return flux if wavelength_angstrom is None else coarse(wavelength_angstrom, flux)


def table(metrics: dict) -> list[str]:
    """The Markdown table of `memorising_metrics`."""
    columns = [f"{kind}: {p} %" for kind in ("pixels", "100 Å bins") for p in PERCENTILES]
    rows = (
        [name, *(number(v) for v in found["pixels"]), *(number(v, 4) for v in found["bins"])]
        for name, found in metrics.items()
    )
    return rows_of(["distance to the nearest training spectrum", *columns], rows)
