"""An evaluation from its options to its metrics: see `utils.evaluate`."""

from __future__ import annotations

import json
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path

import h5py
import numpy as np

from datasets.atomic_files import write_text
from datasets.errors import UserError
from utils.core.folder_lock import lock_folder
from utils.core.provenance import file_digest
from utils.core.run_log import shielded
from utils.core.survey_identity import survey_identity
from utils.core.survey_rows import random_subset
from utils.evaluation import conditional, memorising, subgroups
from utils.evaluation import photometric_consistency as photometry
from utils.evaluation.ablations import ABLATIONS
from utils.evaluation.aggregate import ranking_errors, without_nan
from utils.evaluation.answers import Answer, answer, answer_redshift
from utils.evaluation.baselines import (
    Baselines,
    TrainingFeatures,
    features_of_images,
    regression_method,
)
from utils.evaluation.candidates import generate_all, version_of
from utils.evaluation.derived_quantities import Columns, with_constant
from utils.evaluation.galaxies_file import write_galaxies
from utils.evaluation.gallery import write_evaluation_gallery
from utils.evaluation.measurement_cache import (
    measure_method,
    measure_training,
    measure_truth,
)
from utils.evaluation.method import (
    CLIMATOLOGY,
    CONSTANT,
    GENERATED,
    PHOTOMETRY,
    SHIFTED,
    TRUE_SPECTRA,
    Method,
)
from utils.evaluation.question import (
    OBSERVED,
    REDSHIFT,
    REST,
    Question,
    observed_question,
    rest_question,
)
from utils.evaluation.retrieval import retrieval_of_split
from utils.evaluation.setup import EvaluationSetup, catalogue_redshift
from utils.evaluation.template_fit import template_methods
from utils.training.regression import load_regression

COMPARED_WITH = {OBSERVED: PHOTOMETRY, REST: SHIFTED}  # by question, in subgroups


class Evaluation(EvaluationSetup):
    """Everything that belongs to one output folder; arguments as of `EvaluationSetup`."""

    def run(self) -> dict:
        """Generate, evaluate, write `galaxies.h5` and `evaluation.json`; returns the latter."""
        with lock_folder(self.folder), ExitStack() as self._files:
            return self._run()

    def _run(self) -> dict:
        file = self._candidates("candidates.h5", self.requested)
        colours = photometry.colours_of_images(self.survey, self.rows)
        orders = self._orders(file, colours)
        methods = self._methods(file, orders[self.options.rank])
        truth, of_training = None, {}
        if not self.options.no_measure:
            truth, of_training = self._measured_truth[0], self._measured_training(methods)
        of_redshift, redshift_scores = {}, {}
        if self.requested["redshift"] == "sampled":
            of_redshift, redshift_scores = answer_redshift(methods[OBSERVED], self.redshift, file)
        count = len(self.rows)
        observed = observed_question(self.wavelength, count, self.true_spectra, self.reference[0])
        questions = [observed, self._rest] if methods[REST] else [observed]
        answers = {}
        for question in questions:
            own, measured = methods[question.name], {}
            if truth is not None:
                measured = self._measure(own, of_training[question.name], question.name == REST)
            log_mass, seed = self.log_mass(), self.options.seed
            answers[question.name] = answer(question, own, truth, measured, log_mass, seed)
        true = Method(TRUE_SPECTRA, lambda part: self.true_spectra(part)[:, None])
        with_truth = [true, *methods[OBSERVED]]
        offsets = photometry.all_offsets(self.wavelength, with_truth, colours)
        metrics = {
            "identity": self.identity | {"training survey": survey_identity(self.library)},
            "sources": {
                "survey": str(Path(self.survey.path).resolve()),
                "checkpoints": [str(Path(p).resolve()) for p in self.options.checkpoint],
                "rank": self.options.rank,
            },
            REDSHIFT: of_redshift,
            **{name: found.metrics for name, found in answers.items()},
            "photometry": {
                "colours": {n: photometry.distribution(v[:, 0]) for n, v in offsets.items()},
                "bands": photometry.predictive_check(
                    self.wavelength, with_truth, self.survey, self.rows
                ),
                "rankings": self._rankings(file, orders, truth, answers[OBSERVED]),
            },
            **retrieval_of_split(self.survey, self.options.split, self.towers),
            "memorising": self._memorising(methods[OBSERVED][0]),
            "conditional": self._conditional(answers, redshift_scores, truth),
            "subgroups": self._subgroups(answers, truth),
        }
        columns = {
            "row": self.rows,
            "identifier": self.survey.catalogue["identifier"][self.rows],
            "redshift": self.redshift,
            "magnitude": self.magnitude,
            "log_mass": self.log_mass(),
            "order": orders[self.options.rank],
        }
        path = self.folder / "galaxies.h5"
        write_galaxies(path, columns, answers, redshift_scores, offsets, truth)
        text = json.dumps(without_nan(metrics), indent=1, ensure_ascii=False, allow_nan=False)
        write_text(self.folder / "evaluation.json", text + "\n")
        with shielded("the gallery"):
            order = orders[self.options.rank]
            write_evaluation_gallery(self, file, order, answers[OBSERVED], truth or {})
        return metrics

    # The candidates of all methods.

    def _candidates(self, name: str, given: dict, ablation: str | None = None) -> h5py.File:
        """The file `name` of candidates, generated if it is missing."""
        identity = self.identity | {"given": given} | ({"ablation": ablation} if ablation else {})
        file = generate_all(
            self.folder / name,
            self.pipeline,
            self.survey,
            self.rows,
            self.sampling,
            identity,
            ablation,
        )
        return self._files.enter_context(file)

    def _orders(self, file: h5py.File, image_colours: np.ndarray) -> dict[str, np.ndarray]:
        """Positions in the file of candidates (N, P), best first, by ranking."""
        offsets = photometry.differences(
            self.wavelength, lambda part: file["flux"][part], len(self.rows), image_colours
        )
        temperature = self.towers.config.towers.temperature
        return photometry.orders(file["scores"][:], offsets, temperature)

    def _methods(self, file: h5py.File, order: np.ndarray) -> dict[str, list[Method]]:
        """All methods, by question; none at given redshifts that the generator does not take."""
        baselines = self._baselines()
        fits = self._template_fits()
        observed = [_generated(GENERATED, file, order)]
        for option in self.options.ablations:
            ablated = self._candidates(f"candidates_{option}.h5", self.requested, option)
            observed.append(_generated(ABLATIONS[option][0], ablated))
        observed += [*self._regression(), *baselines.observed(), *fits[:1]]
        if not self._takes_redshifts():
            return {OBSERVED: observed, REST: []}
        given, given_order = file, order
        if self.requested["redshift"] != "given":
            requested = self.requested | {"redshift": "given"}
            given, given_order = self._candidates("candidates_given_redshift.h5", requested), None
        own = _generated(GENERATED, given, given_order)
        mean = self._rest.climatology.flux.mean(axis=0)
        others = baselines.at_redshift(self.redshift, self.frame, mean)
        return {OBSERVED: observed, REST: [own, *others, *fits[1:]]}

    def _takes_redshifts(self) -> bool:
        """Whether the generator can be given the catalogue's redshifts of these galaxies."""
        why = self.why_not_given()
        if not why and not np.isfinite(self.training_redshift).all():
            why = f"{self.library.path} has no redshifts"
        if why:
            print(f"spectra at a given redshift are not evaluated: {why}")
        return not why

    def _baselines(self) -> Baselines:
        towers = {"towers": self.identity["checkpoints"][-1]}
        training = TrainingFeatures.read(
            self.folder / "training.h5",
            self.library,
            self.training_rows,
            self.towers,
            self.library_spectra,
            self.spectra_identity(self.library) | towers,
        )
        features = features_of_images(self.survey, self.rows, self.towers)
        return Baselines(
            training,
            self.training_redshift,
            self.library_spectra,
            *features,
            self.sampling.candidates,
            self.options.seed,
        )

    def _template_fits(self) -> list[Method]:
        """The template fit with fitted and with given redshifts, if it is asked for."""
        if not self.options.template_fit:
            return []
        if not np.isfinite(self.training_redshift).all():
            raise UserError(
                f"--template-fit: {self.library.path} has no redshifts of training galaxies, whose "
                "distribution the fit needs; leave the option out"
            )
        fits = template_methods(
            self.survey,
            self.rows,
            self.sampling.candidates,
            self.wavelength,
            self.training_redshift,
            self.redshift,
            self.options.seed,
        )
        if fits is None:
            raise UserError(
                f"--template-fit: {self.survey.path} has no calibrated images in three or more of "
                "the bands u, g, r, i, z; leave the option out"
            )
        return list(fits)

    def _regression(self) -> list[Method]:
        if self.options.regression is None:
            return []
        network = load_regression(self.options.regression, self.survey, self.pipeline.device)
        regression = regression_method(
            lambda images: self.transform.subsample(network.predict(images)),
            self.survey,
            self.rows,
            self.sampling.candidates,
            self.own_spectra,
            self.options.seed,
            file_digest(self.options.regression),
        )
        return [regression]

    # The questions and their answers.

    @cached_property
    def _rest(self) -> Question:
        return rest_question(self.frame, self.redshift, self.true_spectra, self.reference)

    @cached_property
    def _measured_truth(self) -> tuple[Columns, Columns]:
        redshift, of = catalogue_redshift(self.survey), self.spectra_identity(self.survey)
        return measure_truth(self.spectroscope, self.rows, self.own_spectra, redshift, of)

    def _measured_training(self, methods: dict[str, list[Method]]) -> dict[str, dict[str, Columns]]:
        """Quantities (N, P) of the methods whose candidates are training spectra, by question and
        name; each training galaxy is measured once, at its catalogue redshift."""
        named = [(q, m) for q, group in methods.items() for m in group if m.rows is not None]
        redshift, of = catalogue_redshift(self.library), self.spectra_identity(self.library)
        columns = measure_training(
            self.spectroscope, [m for _, m in named], self.library_spectra, redshift, of
        )
        found: dict[str, dict[str, Columns]] = {question: {} for question in methods}
        for (question, method), values in zip(named, columns, strict=True):
            found[question][method.name] = values
        return found

    def _measure(
        self, methods: list[Method], of_training: dict[str, Columns], given: bool
    ) -> dict[str, Columns]:
        """Quantities of each method's candidates (N, P), at fitted or at given redshifts."""
        found, of = dict(of_training), self.spectra_identity(self.survey)
        for method in methods:
            if method.rows is None and method.name != CONSTANT:
                found[method.name] = measure_method(
                    self.spectroscope, method, self.rows, self.sampling.candidates, of, given
                )
        found = with_constant(found)
        measured = {m.name: found[m.name] for m in methods}
        if given:
            return measured
        fitted = self._measured_truth[1]
        return measured | {TRUE_SPECTRA: {k: v[:, None] for k, v in fitted.items()}}

    # What else a referee asks.

    def _rankings(
        self,
        file: h5py.File,
        orders: dict[str, np.ndarray],
        truth: Columns | None,
        observed: Answer,
    ) -> dict:
        """What each ranking of the candidates makes of the best one."""
        rankings = photometry.compare_rankings(
            ranking_errors(file["flux"], orders, self.true_spectra)
        )
        if truth is not None:
            order = orders[self.options.rank]
            measured = observed.measured[GENERATED]
            scatters = photometry.measured_by_ranking(truth, measured, order, orders)
            for name, scatter in scatters.items():
                rankings[name]["measured"] = scatter
        return rankings

    def _memorising(self, own: Method) -> dict:
        """Distances to the nearest training spectra."""
        rows = self.library.indices("train")
        rows = random_subset(self.library, rows, memorising.LIBRARY, self.options.seed)
        galaxies = max(1, memorising.SPECTRA // self.sampling.candidates)
        candidates = own.candidates(slice(0, galaxies))
        samples = {
            GENERATED: candidates.reshape(-1, candidates.shape[-1]),
            TRUE_SPECTRA: self.true_spectra(slice(0, memorising.SPECTRA)),
        }
        distances = memorising.memorising_metrics(
            self.wavelength, samples, len(rows), lambda part: self.library_spectra(rows[part])
        )
        return {"distances": distances}

    def _conditional(
        self, answers: dict[str, Answer], scores: dict[str, Columns], truth: Columns | None
    ) -> dict:
        """Calibration of the generator in bins of magnitude and redshift."""
        covered = {"pixels": answers[OBSERVED].errors[GENERATED]["coverage_68"]}
        if "coverage_68" in scores.get(GENERATED, {}):
            covered["z"] = scores[GENERATED]["coverage_68"]
        if REST in answers:
            covered["pixels, z given"] = answers[REST].errors[GENERATED]["coverage_68"]
            if truth is not None:
                measured = answers[REST].measured[GENERATED]
                covered |= conditional.covered_quantities(truth, measured)
        bins = {}
        if self.magnitude is not None:
            bins |= conditional.quantile_bins("r", self.magnitude)
        if np.isfinite(self.redshift).all():
            bins |= conditional.quantile_bins("z", self.redshift)
        bins["all"] = np.ones(len(self.rows), bool)
        return conditional.conditional_coverage(bins, covered)

    def _subgroups(self, answers: dict[str, Answer], truth: Columns | None) -> dict:
        """Scores of classes of galaxies, by question."""
        positive = self.own_spectra(self.rows).min(axis=1) > 0
        masks = subgroups.groups(self.survey, self.rows, truth, positive)
        return {
            name: subgroups.by_subgroup(masks, found.errors, CLIMATOLOGY, COMPARED_WITH[name])
            for name, found in answers.items()
        }


def _generated(name: str, file: h5py.File, order: np.ndarray | None = None) -> Method:
    """Candidates of a file as a method, best first by `order` or as they are."""
    redshift = file["redshift"][:].astype(float)
    return Method(
        name,
        lambda part: file["flux"][part],
        ranked=True,
        order=order,
        version=version_of(file),
        redshift=redshift if np.isfinite(redshift).all() else None,
    )
