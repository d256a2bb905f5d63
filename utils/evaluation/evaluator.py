"""An evaluation from its options to its metrics: see `utils.evaluate`."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from functools import cached_property
from pathlib import Path

import h5py
import numpy as np

from datasets.atomic_files import atomic_path, write_text
from datasets.errors import UserError
from datasets.survey import Survey
from utils.core.checkpoints import load_generator
from utils.core.device import pick_device
from utils.core.provenance import file_digest
from utils.core.retrieval import (
    POOL,
    embed_images,
    embed_spectra,
    retrieval_metrics,
    validation_pool,
)
from utils.core.survey_identity import survey_identity
from utils.evaluation import photometric_consistency as colours
from utils.evaluation import subgroups
from utils.evaluation.aggregate import (
    flux_metrics,
    measured_metrics,
    paired_differences,
    ranking_errors,
    without_nan,
)
from utils.evaluation.baselines import TrainingFeatures, baseline_methods, regression_method
from utils.evaluation.cache_identity import code_digest
from utils.evaluation.candidates import CODE, generate_all, version_of
from utils.evaluation.derived_quantities import Columns, with_constant
from utils.evaluation.measurement_cache import (
    Spectroscope,
    measure_method,
    measure_training,
    measure_truth,
)
from utils.evaluation.method import CONSTANT, GENERATED, TRUE_SPECTRA, Method
from utils.evaluation.pixel_metrics import PixelScores, score_method
from utils.generation.conditions import CONDITIONS, validate_conditions
from utils.generation.pipeline import Pipeline, check_ranking, sampling_of
from utils.spectroscopy.measurements import DEFAULT_REDSHIFT_RANGE
from utils.spectroscopy.ssp_library import read_library
from utils.training.regression import load_regression

LARGE_POOL = 2000  # galaxies of the second retrieval, or the split where it is smaller
REDSHIFT_MARGIN = 0.03  # added on both sides of the training split's range for redshift fits
MASSES = ("log_mass", "logMass_Maraston09", "logMass_ConroyDust")  # columns with log M★/M☉


class Evaluation:
    """Everything that belongs to one output folder.

    Args:
        options: of `utils.evaluate`.

    Raises:
        UserError: checkpoint, survey and options do not fit together.
    """

    def __init__(self, options: argparse.Namespace):
        self.options = options
        self.survey = Survey(options.survey)
        stages = [load_generator(path) for path in options.checkpoint]
        self.sampling = sampling_of(stages[-1].config.sampling, options)
        self.pipeline = Pipeline(
            stages,
            pick_device(options.device),
            options.precision,
            guidance=self.sampling.guidance,
        )
        self.pipeline.check(self.sampling)
        if options.against == "noiseless" and "noiseless" not in self.survey.truth_names:
            raise UserError(
                f"--against noiseless: {options.survey} has no noiseless spectra, which only a "
                "mock survey has"
            )
        self.requested = {name: getattr(options, name) for name in CONDITIONS}
        validate_conditions(stages[0], self.requested)
        self.towers, self.transform = self.pipeline.last.contrastive, self.pipeline.last.spectra
        check_ranking(options.rank, self.towers.survey)
        trained, survey = self.towers.survey, self.survey
        for name, ours, theirs in (
            ("bands", survey.bands, trained.bands),
            ("wavelengths", survey.grid, trained.grid),
            ("image unit", survey.image_unit, trained.image_unit),
        ):
            if ours != theirs:
                raise UserError(f"{options.survey}: other {name} than the checkpoint's survey")
        self.rows = self.survey.indices(options.split)[: options.galaxies]
        self.library = None if options.ssp is None else read_library(options.ssp)
        self.folder = Path(options.output)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.wavelength = self.pipeline.wavelength_angstrom

    @cached_property
    def identity(self) -> dict:
        """Everything that the candidates depend on."""
        sampling = asdict(self.sampling)
        return {
            "checkpoints": [file_digest(path) for path in self.options.checkpoint],
            "survey": survey_identity(self.survey),
            "split": self.options.split,
            "galaxies": len(self.rows),
            "sampling": {
                name: sampling[name] for name in ("sampler", "steps", "candidates", "guidance")
            },
            "given": self.requested,
            "against": self.options.against,
            "seed": self.options.seed,
            "precision": "bfloat16" if self.pipeline.bfloat16 else "float32",
            "code": code_digest(*CODE),
        }

    @property
    def spectra_identity(self) -> dict:
        """The part of the identity that the survey's spectra, as evaluated, depend on."""
        return {name: self.identity[name] for name in ("survey", "against")}

    def spectra(self, rows: np.ndarray) -> np.ndarray:
        """Spectra (b, n) of rows of the survey, on the generator's pixels."""
        if self.options.against == "noiseless":
            return self.transform.subsample(self.survey.truth("noiseless", rows))
        return self.transform.subsample(self.survey.read("spectra", rows))

    def true_spectra(self, part: slice) -> np.ndarray:
        """Spectra (b, n) of a slice of the galaxies, on the generator's pixels."""
        return self.spectra(self.rows[part])

    def run(self) -> dict:
        """Generate, evaluate, write `galaxies.h5` and `evaluation.json`; returns the latter."""
        path = self.folder / "candidates.h5"
        with generate_all(
            path, self.pipeline, self.survey, self.rows, self.sampling, self.identity
        ) as file:
            metrics = self._evaluate(file)
        text = json.dumps(without_nan(metrics), indent=1, ensure_ascii=False, allow_nan=False)
        write_text(self.folder / "evaluation.json", text + "\n")
        return metrics

    def _evaluate(self, file: h5py.File) -> dict:
        image_colours = colours.colours_of_images(self.survey, self.rows)
        orders = self._orders(file, image_colours)
        order = orders[self.options.rank]
        own = Method(
            GENERATED, lambda part: file["flux"][part], True, order=order, version=version_of(file)
        )
        methods = [own, *self._baselines()]
        scores = {method.name: self._score(method) for method in methods}
        errors = {name: score.errors for name, score in scores.items()}
        offsets = self._colours(methods, image_colours)
        rankings = ranking_errors(file["flux"], orders, self.true_spectra)
        metrics = {
            "identity": self.identity,
            "sources": {
                "survey": str(Path(self.options.survey).resolve()),
                "checkpoints": [str(Path(p).resolve()) for p in self.options.checkpoint],
                "rank": self.options.rank,
            },
            "methods": flux_metrics(errors),
            "differences": paired_differences(errors),
            "calibration": {name: score.calibration() for name, score in scores.items()},
            **self._retrieval(),
            "colours": {
                "methods": {n: colours.distribution(v[:, 0]) for n, v in offsets.items()},
                "rankings": colours.compare_rankings(rankings),
            },
        }
        truth, measured = None, {}
        if not self.options.no_measure:
            truth, measured = self._measure(methods)
            self._add_measured(metrics, truth, measured, orders)
        positive = self.spectra(self.rows).min(axis=1) > 0
        masks = subgroups.groups(self.survey, self.rows, truth, positive)
        metrics["subgroups"] = subgroups.by_subgroup(masks, errors, CONSTANT)
        self._write_galaxies(order, errors, offsets, truth, measured)
        return metrics

    def _orders(self, file: h5py.File, image_colours: np.ndarray) -> dict[str, np.ndarray]:
        """Positions in the file of candidates (N, P), best first, by ranking."""
        offsets = colours.differences(
            self.wavelength, lambda part: file["flux"][part], len(self.rows), image_colours
        )
        return colours.orders(file["scores"][:], offsets, self.towers.config.towers.temperature)

    def _baselines(self) -> list[Method]:
        count, seed = self.sampling.candidates, self.options.seed
        towers = {"towers": self.identity["checkpoints"][-1]}
        training = TrainingFeatures.read(
            self.folder / "training.h5",
            self.survey,
            self.towers,
            self.spectra,
            self.spectra_identity | towers,
        )
        found = baseline_methods(
            self.survey, self.rows, count, self.towers, training, self.spectra, seed
        )
        if self.options.regression is None:
            return found
        network = load_regression(self.options.regression, self.survey, self.pipeline.device)
        regression = regression_method(
            lambda images: self.transform.subsample(network.predict(images)),
            self.survey,
            self.rows,
            count,
            self.spectra,
            seed,
            file_digest(self.options.regression),
        )
        return [regression, *found]

    def _score(self, method: Method) -> PixelScores:
        return score_method(
            method,
            self.rows,
            self.spectra,
            self.wavelength,
            self.survey.indices("train"),
            self.options.seed,
        )

    def _colours(self, methods: list[Method], image_colours: np.ndarray) -> dict[str, np.ndarray]:
        """Colours of candidates minus those of the images, (N, P, 2) by method, and of the truth
        (N, 1, 2); nothing without photometry."""
        if not np.isfinite(image_colours).any():
            return {}
        truth = Method("truth", lambda part: self.true_spectra(part)[:, None])
        return {
            m.name: colours.differences(
                self.wavelength, m.candidates, len(self.rows), image_colours
            )
            for m in (truth, *methods)
        }

    def _retrieval(self) -> dict[str, dict[str, float]]:
        """R@1, 5 and 10, plain and with swapped noise, in the pools of the split."""
        network, images, spectra = self.towers.network, self.towers.images, self.towers.spectra
        pool = validation_pool(self.survey, self.options.split, LARGE_POOL, self.towers.config.data)
        flux, swapped = (embed_spectra(network, spectra, pool[n]) for n in ("flux", "swapped"))
        vectors = (embed_images(network, images, pool["images"]), flux, swapped)
        small = [rows[:POOL] for rows in vectors]
        return {
            "retrieval": retrieval_metrics(*small),
            "retrieval_large": retrieval_metrics(*vectors),
        }

    def _measure(self, methods: list[Method]) -> tuple[Columns, dict[str, Columns]]:
        """Quantities of the true spectra (N,), and of each method's candidates (N, P)."""
        spectroscope = Spectroscope(
            self.folder / "measured.h5",
            self.wavelength,
            self._redshift_range(),
            self.survey.preparation.smoothing_sigma_angstrom,
            self.library,
            self.options.workers,
        )
        redshift = self.survey.catalogue.get("z", np.full(len(self.survey), np.nan))
        of, count = self.spectra_identity, self.sampling.candidates
        truth, fitted = measure_truth(spectroscope, self.rows, self.spectra, redshift, of)
        of_training = [m for m in methods if m.rows is not None]
        found = measure_training(spectroscope, of_training, self.spectra, redshift, of)
        for method in methods:
            if method.rows is None and method.name != CONSTANT:
                found[method.name] = measure_method(spectroscope, method, self.rows, count, of)
        found = with_constant(found)
        measured = {m.name: found[m.name] for m in methods}
        return truth, measured | {TRUE_SPECTRA: {k: v[:, None] for k, v in fitted.items()}}

    def _add_measured(
        self,
        metrics: dict,
        truth: Columns,
        measured: dict[str, Columns],
        orders: dict[str, np.ndarray],
    ) -> None:
        """Add to `metrics` all that depends on measured quantities."""
        new = measured_metrics(truth, measured, self._log_mass(), self.options.seed)
        for name, tarp in new.pop("tarp").items():
            metrics["calibration"][name] |= tarp
        metrics |= new
        scatters = colours.measured_by_ranking(
            truth, measured[GENERATED], orders[self.options.rank], orders
        )
        for name, scatter in scatters.items():
            metrics["colours"]["rankings"][name]["measured"] = scatter

    def _redshift_range(self) -> tuple[float, float]:
        redshift = self.survey.catalogue.get("z")
        if redshift is None:
            return DEFAULT_REDSHIFT_RANGE
        training = redshift[self.survey.indices("train")]
        return float(training.min()) - REDSHIFT_MARGIN, float(training.max()) + REDSHIFT_MARGIN

    def _log_mass(self) -> np.ndarray:
        """log M★/M☉ (N,) from the catalogue or a mock's truth; NaN if neither has it."""
        for name in MASSES:
            if name in self.survey.catalogue:
                return self.survey.catalogue[name][self.rows]
            if name in self.survey.truth_names:
                return self.survey.truth(name, self.rows)
        return np.full(len(self.rows), np.nan)

    def _write_galaxies(
        self,
        order: np.ndarray,
        errors: dict[str, Columns],
        offsets: dict[str, np.ndarray],
        truth: Columns | None,
        measured: dict[str, Columns],
    ) -> None:
        groups = {f"errors/{name}": columns for name, columns in errors.items()}
        groups |= {"colours": offsets, "truth": truth or {}}
        groups |= {f"measured/{name}": columns for name, columns in measured.items()}
        path = self.folder / "galaxies.h5"
        with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
            file["row"] = self.rows
            file["identifier"] = self.survey.catalogue["identifier"][self.rows]
            file["log_mass"] = self._log_mass()
            file["order"] = order
            for group, columns in groups.items():
                for name, values in columns.items():
                    file[f"{group}/{name}"] = values
