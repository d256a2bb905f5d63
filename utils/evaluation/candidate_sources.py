"""The generator and what it has to beat, each as candidates for the same galaxies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import torch
from tqdm import tqdm

from datasets.photometry import photometric_features
from datasets.survey import Survey
from utils.core.checkpoints import TrainedContrastive
from utils.core.retrieval import embed_images, embed_spectra
from utils.evaluation import baselines

READ_ROWS = 512  # galaxies held at once while something is computed of all training galaxies
GENERATED, CONSTANT, CLIMATOLOGY = "generated", "constant", "climatology"
REGRESSION = "regression + residuals"
TRUE_SPECTRA = "true spectra"  # beside the methods: measured as they are, redshifts fitted

Spectra = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Method:
    """One way to get spectra for images.

    Args:
        name: as it stands in tables.
        drawn: the candidates (b, P, n) of a slice of the galaxies, best first if ranked and there
            is no `order`.
        ranked: whether their order means something.
        spread: whether a galaxy's candidates differ.
        rows: (N, P) rows of the survey, where the candidates are training spectra.
        order: (N, P) numbers of the candidates drawn, best first.
        version: distinguishes what is measured on its spectra from that of others of its name.
    """

    name: str
    drawn: Callable[[slice], np.ndarray]
    ranked: bool = False
    spread: bool = True
    rows: np.ndarray | None = None
    order: np.ndarray | None = None
    version: str = ""

    def candidates(self, part: slice) -> np.ndarray:
        """The candidates (b, P, n) of a slice of the galaxies, best first if ranked."""
        flux = self.drawn(part)
        if self.order is None:
            return flux
        return np.take_along_axis(flux, self.order[part, :, None], axis=1)


@dataclass(frozen=True)
class Training:
    """What the baselines need of all M training galaxies.

    Args:
        rows: (M,) of the survey.
        photometry: (M, d) features of the images.
        images, spectra: (M, D) unit vectors of the two towers.
        mean: (n,) mean spectrum.
    """

    rows: np.ndarray
    photometry: np.ndarray
    images: np.ndarray
    spectra: np.ndarray
    mean: np.ndarray

    @classmethod
    def read(
        cls, cache: Path, survey: Survey, towers: TrainedContrastive, spectra: Spectra
    ) -> Training:
        """One pass over the training split; kept in the file `cache` for the next time."""
        rows = survey.indices("train")
        if not cache.exists():
            parts: list[tuple[np.ndarray, ...]] = []
            total = 0.0
            for part in _blocks(rows, "reading the training split"):
                flux = survey.read("spectra", part)
                vectors = embed_spectra(towers.network, towers.spectra, torch.from_numpy(flux))
                parts.append((*image_features(survey, part, towers), vectors.numpy()))
                total = total + spectra(part).sum(axis=0, dtype=np.float64)
            columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
            mean = (total / len(rows)).astype(np.float32)
            temporary = cache.with_name(f".{cache.name}.part")
            with h5py.File(temporary, "w") as file:
                for name, values in zip(_CACHED, (*columns, mean), strict=True):
                    file[name] = values
            temporary.replace(cache)
        with h5py.File(cache) as file:
            return cls(rows, *(file[name][:] for name in _CACHED))


_CACHED = ("photometry", "images", "spectra", "mean")


def image_features(
    survey: Survey, rows: np.ndarray, towers: TrainedContrastive
) -> tuple[np.ndarray, np.ndarray]:
    """Photometric features (b, d) and unit vectors (b, D) of the images of `rows`."""
    images = survey.read("images", rows)
    vectors = embed_images(towers.network, towers.images, torch.from_numpy(images)).numpy()
    return photometric_features(images, survey.pixel_scale_arcsec), vectors


def _blocks(rows: np.ndarray, title: str) -> Iterator[np.ndarray]:
    starts = range(0, len(rows), READ_ROWS)
    for start in tqdm(starts, desc=title, unit="block", disable=None):
        yield rows[start : start + READ_ROWS]


def generated(flux: h5py.Dataset, order: np.ndarray) -> Method:
    """The generator's candidates (N, P, n), with their numbers best first (N, P)."""
    return Method(GENERATED, lambda part: flux[part], ranked=True, order=order)


def baseline_methods(
    survey: Survey,
    rows: np.ndarray,
    count: int,
    towers: TrainedContrastive,
    training: Training,
    spectra: Spectra,
    seed: int,
) -> list[Method]:
    """All baselines without a network of their own, for the galaxies `rows` (N,) of the survey."""
    features = [image_features(survey, part, towers) for part in _blocks(rows, "reading images")]
    photometry, vectors = (np.concatenate(column) for column in zip(*features, strict=True))
    chosen = {
        CLIMATOLOGY: baselines.climatology(len(training.rows), len(rows), count, seed),
        "neighbours in photometry": baselines.nearest(training.photometry, photometry, count),
        "neighbours in embedding": baselines.nearest(training.images, vectors, count),
        "cross-modal retrieval": baselines.most_similar(training.spectra, vectors, count),
    }

    def constant(part: slice) -> np.ndarray:
        return np.broadcast_to(training.mean, (len(rows[part]), count, len(training.mean)))

    return [
        Method(CONSTANT, constant, spread=False),
        *(_of_training(name, training.rows[places], spectra) for name, places in chosen.items()),
    ]


def _of_training(name: str, rows: np.ndarray, spectra: Spectra) -> Method:
    def candidates(part: slice) -> np.ndarray:
        wanted = rows[part]
        return spectra(wanted.ravel()).reshape(*wanted.shape, -1)

    return Method(name, candidates, ranked=name != CLIMATOLOGY, rows=rows)


def regression_method(
    predict: Callable[[np.ndarray], np.ndarray],
    survey: Survey,
    rows: np.ndarray,
    count: int,
    spectra: Spectra,
    seed: int,
    version: str,
) -> Method:
    """A regression's predictions with residuals of the validation split, a galaxy's own left out.

    Args:
        predict: spectra (b, n) for images (b, bands, H, W).
        version: of the network.
        survey, rows, count, spectra, seed: as for `baseline_methods`.
    """
    others = survey.indices("validation")[:READ_ROWS]
    residuals = spectra(others) - predict(survey.read("images", others))
    place = {int(row): number for number, row in enumerate(others)}
    own = np.array([place.get(int(row), -1) for row in rows])

    def candidates(part: slice) -> np.ndarray:
        prediction = predict(survey.read("images", rows[part]))
        seeds = np.stack([np.full(len(prediction), seed), rows[part]], axis=1)
        return baselines.with_residuals(prediction, residuals, own[part], count, seeds)

    return Method(REGRESSION, candidates, version=version)
