"""The baselines, each as P candidates per galaxy, so that every metric exists for it too.

* constant: the training mean, P times;
* climatology: P random training spectra;
* neighbours in photometry: the spectra of the P training galaxies whose magnitude, colours and
  concentration, measured on the images, are nearest;
* neighbours in embedding: the same with the unit vectors of the image tower;
* cross-modal retrieval: the P training spectra whose unit vectors are most similar to the image's;
* regression + residuals: the prediction of a plain network (`utils.train_regression`) plus the
  residuals of P other galaxies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import torch
from scipy.spatial import cKDTree
from tqdm import tqdm

from datasets.atomic_files import atomic_path
from datasets.errors import UserError
from datasets.hdf5_output import new_hdf5
from datasets.photometry import aperture_features
from datasets.survey import Survey
from utils.core.checkpoints import TrainedContrastive
from utils.core.retrieval import embed_images, embed_spectra
from utils.evaluation.cache_identity import (
    NETWORK_CODE,
    array_digest,
    code_digest,
    differences,
    label,
)
from utils.evaluation.method import (
    CLIMATOLOGY,
    CONSTANT,
    EMBEDDING,
    PHOTOMETRY,
    REGRESSION,
    RETRIEVAL,
    SHIFTED,
    Method,
    Spectra,
)
from utils.evaluation.rest_frame import RestFrame

SIMILARITY_VALUES = 20_000_000  # values of the similarity matrix held at a time
READ_ROWS = 512  # galaxies held at a time
FEATURES = ("photometry", "images", "spectra", "mean")  # data sets of the cache
CODE = (
    *NETWORK_CODE,
    "utils/core/retrieval.py",
    "utils/evaluation/baselines.py",
)  # that decides what the cache holds


def climatology(training_count: int, count: int, candidates: int, seed: int) -> np.ndarray:
    """Rows of random training spectra, without repetition within a galaxy: (count, candidates)."""
    generator = np.random.default_rng(seed)
    return np.stack(
        [generator.choice(training_count, candidates, replace=False) for _ in range(count)]
    )


def nearest(training: np.ndarray, test: np.ndarray, candidates: int) -> np.ndarray:
    """Rows of the nearest training galaxies, nearest first.

    Args:
        training: (M, d) features; each dimension is standardised on these.
        test: (N, d) features.
        candidates: number of neighbours, at most M.

    Returns:
        (N, candidates) int64.
    """
    mean, sigma = training.mean(axis=0), training.std(axis=0) + 1e-12
    tree = cKDTree((training - mean) / sigma)
    return tree.query((test - mean) / sigma, k=candidates, workers=-1)[1].reshape(len(test), -1)


def most_similar(training: np.ndarray, test: np.ndarray, candidates: int) -> np.ndarray:
    """Rows of the training vectors with the largest scalar product, largest first.

    Args:
        training: (M, D) unit vectors.
        test: (N, D) unit vectors.
        candidates: number of vectors to find, at most M.

    Returns:
        (N, candidates) int64.
    """
    block = max(1, SIMILARITY_VALUES // len(training))
    found = []
    for start in range(0, len(test), block):
        similarity = test[start : start + block] @ training.T
        some = np.argpartition(-similarity, candidates - 1, axis=1)[:, :candidates]
        order = np.argsort(-np.take_along_axis(similarity, some, 1), axis=1, kind="stable")
        found.append(np.take_along_axis(some, order, 1))
    return np.concatenate(found)


def with_residuals(
    prediction: np.ndarray,
    residuals: np.ndarray,
    own: np.ndarray,
    candidates: int,
    seeds: np.ndarray,
) -> np.ndarray:
    """Candidates of a regression: its prediction plus residuals of other galaxies.

    The residuals of a galaxy are shifted to a mean of zero, so that the mean of its candidates is
    the prediction, and stretched by √(P / (P − 1)) to keep their variance.

    Args:
        prediction: (N, n).
        residuals: (M, n) truth − prediction of galaxies the network was not trained on.
        own: (N,) the galaxy's own row of `residuals`, which is not used; −1 if it has none.
        candidates: P >= 2.
        seeds: (N, …) integers >= 0, one seed per galaxy.

    Returns:
        (N, P, n) in the prediction's type.
    """
    stretch = np.sqrt(candidates / (candidates - 1))
    result = np.empty((len(prediction), candidates, prediction.shape[1]), prediction.dtype)
    for row, (predicted, itself) in enumerate(zip(prediction, own, strict=True)):
        generator = np.random.default_rng(seeds[row])
        others = np.delete(np.arange(len(residuals)), itself if itself >= 0 else [])
        chosen = residuals[generator.choice(others, candidates, replace=len(others) < candidates)]
        result[row] = predicted + stretch * (chosen - chosen.mean(axis=0))
    return result


@dataclass(frozen=True)
class TrainingFeatures:
    """Features of all M training galaxies.

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
        cls,
        path: Path,
        survey: Survey,
        rows: np.ndarray,
        towers: TrainedContrastive,
        spectra: Spectra,
        identity: dict,
    ) -> TrainingFeatures:
        """The features in the cache `path`, computed first if it is missing or another's.

        Args:
            path: of the cache, `training.h5`.
            survey: the survey file.
            rows: (M,) of its training galaxies.
            towers: the contrastive networks.
            spectra: reads spectra (b, n) of the survey.
            identity: of towers, survey and spectra; that of the code is added here.
        """
        identity = {**identity, "rows": array_digest(rows), "code": code_digest(*CODE)}
        if not _is_current(path, identity):
            columns = _training_columns(survey, rows, towers, spectra)
            with atomic_path(path) as temporary, new_hdf5(temporary) as file:
                label(file, identity)
                for name, values in zip(FEATURES, columns, strict=True):
                    file[name] = values
        with h5py.File(path) as file:
            return cls(rows, *(file[name][:] for name in FEATURES))


def _is_current(path: Path, identity: dict) -> bool:
    if not path.exists():
        return False
    with h5py.File(path) as file:
        changed = differences(file, identity)
    if changed:
        print(f"{path}: made from another {', '.join(changed)}; computed again")
    return not changed


def _training_columns(
    survey: Survey, rows: np.ndarray, towers: TrainedContrastive, spectra: Spectra
) -> list[np.ndarray]:
    """The data sets `FEATURES` from one pass over the training split."""
    parts: list[tuple[np.ndarray, ...]] = []
    total = 0.0
    for part in _blocks(rows, "reading the training split"):
        flux = survey.read("spectra", part)
        vectors = embed_spectra(towers.network, towers.spectra, torch.from_numpy(flux))
        parts.append((*image_features(survey, part, towers), vectors.numpy()))
        total = total + spectra(part).sum(axis=0, dtype=np.float64)
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return [*columns, (total / len(rows)).astype(np.float32)]


def image_features(
    survey: Survey, rows: np.ndarray, towers: TrainedContrastive
) -> tuple[np.ndarray, np.ndarray]:
    """Photometric features (b, d) and unit vectors (b, D) of the images of `rows`."""
    images = torch.from_numpy(survey.read("images", rows))
    scale = survey.pixel_scale_arcsec
    vectors = embed_images(towers.network, towers.images, images, scale)
    return aperture_features(images, scale).numpy(), vectors.numpy()


def _blocks(rows: np.ndarray, title: str) -> Iterator[np.ndarray]:
    starts = range(0, len(rows), READ_ROWS)
    for start in tqdm(starts, desc=title, unit="block", disable=None):
        yield rows[start : start + READ_ROWS]


@dataclass(frozen=True)
class Baselines:
    """What the baselines are made of: the training galaxies, and the evaluated ones.

    Args:
        training: features of the M training galaxies.
        training_redshift: (M,), NaN if the catalogue has none.
        spectra: reads their spectra (b, n) by row of their survey.
        photometry, vectors: features (N, d) and (N, D) of the images of the N evaluated galaxies.
        count: candidates P per galaxy.
        seed: of the climatology.
    """

    training: TrainingFeatures
    training_redshift: np.ndarray
    spectra: Spectra
    photometry: np.ndarray
    vectors: np.ndarray
    count: int
    seed: int

    def observed(self) -> list[Method]:
        """Those that know the image alone."""
        training = self.training
        chosen = {
            CLIMATOLOGY: self._random(),
            PHOTOMETRY: nearest(training.photometry, self.photometry, self.count),
            EMBEDDING: nearest(training.images, self.vectors, self.count),
            RETRIEVAL: most_similar(training.spectra, self.vectors, self.count),
        }
        constant = np.full((len(self.photometry), self.count), np.mean(self.training_redshift))
        return [
            self._constant(training.mean, constant),
            *(self._of_training(name, places) for name, places in chosen.items()),
        ]

    def at_redshift(self, redshift: np.ndarray, frame: RestFrame, mean: np.ndarray) -> list[Method]:
        """Those that also have the redshift, to which the evaluation shifts their spectra.

        Args:
            redshift: (N,) of the evaluated galaxies.
            frame: the rest frame.
            mean: mean spectrum (m,) in it, the constant.
        """
        training = np.column_stack([self.training.photometry, self.training_redshift])
        own = np.column_stack([self.photometry, redshift])
        chosen = {CLIMATOLOGY: self._random(), SHIFTED: nearest(training, own, self.count)}
        given = np.repeat(redshift[:, None], self.count, axis=1)
        shifted = np.array([frame.unshift(mean, z) for z in redshift])
        return [
            self._constant(shifted, given),
            *(self._of_training(name, places) for name, places in chosen.items()),
        ]

    def _random(self) -> np.ndarray:
        galaxies, training = len(self.photometry), len(self.training.rows)
        return climatology(training, galaxies, self.count, self.seed)

    def _constant(self, spectrum: np.ndarray, redshift: np.ndarray) -> Method:
        """The same spectrum (n,) or (N, n) in the place of all candidates."""
        rows = np.broadcast_to(spectrum, (len(redshift), spectrum.shape[-1]))

        def read(part: slice) -> np.ndarray:
            return np.repeat(rows[part, None], self.count, axis=1)

        return Method(CONSTANT, read, spread=False, redshift=redshift)

    def _of_training(self, name: str, places: np.ndarray) -> Method:
        rows = self.training.rows[places]

        def candidates(part: slice) -> np.ndarray:
            wanted = rows[part]
            return self.spectra(wanted.ravel()).reshape(*wanted.shape, -1)

        redshift = self.training_redshift[places]
        return Method(name, candidates, name != CLIMATOLOGY, rows=rows, redshift=redshift)


def features_of_images(
    survey: Survey, rows: np.ndarray, towers: TrainedContrastive
) -> tuple[np.ndarray, np.ndarray]:
    """Photometric features (N, d) and unit vectors (N, D) of the images of `rows` (N,)."""
    features = [image_features(survey, part, towers) for part in _blocks(rows, "reading images")]
    return tuple(np.concatenate(column) for column in zip(*features, strict=True))


def regression_method(
    predict: Callable[[np.ndarray], np.ndarray],
    survey: Survey,
    rows: np.ndarray,
    count: int,
    spectra: Spectra,
    seed: int,
    version: str,
) -> Method:
    """A regression's predictions plus residuals of validation galaxies, except the galaxy's own.

    Args:
        predict: spectra (b, n) for images (b, bands, H, W).
        survey: the survey file.
        rows: (N,) galaxies of the survey.
        count: candidates P per galaxy.
        spectra: reads spectra (b, n) of the survey.
        seed: of the choice of residuals.
        version: identifies the network.

    Raises:
        UserError: the survey has fewer than two validation galaxies.
    """
    others = survey.indices("validation")[:READ_ROWS]
    if len(others) < 2:
        raise UserError(
            f"--regression: {survey.path} has {len(others)} validation galaxies, whose residuals "
            "are needed; leave the option out"
        )
    residuals = spectra(others) - predict(survey.read("images", others))
    place = {int(row): number for number, row in enumerate(others)}
    own = np.array([place.get(int(row), -1) for row in rows])

    def candidates(part: slice) -> np.ndarray:
        prediction = predict(survey.read("images", rows[part]))
        seeds = np.stack([np.full(len(prediction), seed), rows[part]], axis=1)
        return with_residuals(prediction, residuals, own[part], count, seeds)

    code = code_digest(*CODE, "utils/training/regression.py")
    return Method(REGRESSION, candidates, version=f"{version} seed {seed} {code}")
