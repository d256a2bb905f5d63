"""What is evaluated, and with what: surveys, generator, galaxies, frames, measurements."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from functools import cached_property
from pathlib import Path

import numpy as np

from datasets.errors import UserError
from datasets.survey import Survey
from datasets.survey_description import IMAGES, SPECTRA
from utils.core.checkpoints import load_generator
from utils.core.device import pick_device
from utils.core.provenance import file_digest
from utils.core.survey_identity import survey_identity
from utils.core.survey_rows import random_subset
from utils.evaluation import conditional
from utils.evaluation.cache_identity import code_digest
from utils.evaluation.candidates import CODE
from utils.evaluation.climatology import SPECTRA as REFERENCE_SPECTRA
from utils.evaluation.measurement_cache import Spectroscope
from utils.evaluation.rest_frame import RestFrame
from utils.generation.conditions import CONDITIONS, validate_conditions, why_out_of_range
from utils.generation.pipeline import Pipeline, check_ranking, sampling_of
from utils.spectroscopy.measurements import DEFAULT_REDSHIFT_RANGE
from utils.spectroscopy.ssp_library import read_library

REDSHIFT_MARGIN = 0.03  # added on both sides of the range of redshifts in which they are fitted
SAME = ("identifier", "ra", "dec")  # of one galaxy in two surveys
MASSES = ("log_mass", "logMass_Maraston09", "logMass_ConroyDust")  # columns with log M★/M☉


class EvaluationSetup:
    """Everything that follows from the options before anything is generated.

    Args:
        options: of `utils.evaluate`.

    Raises:
        UserError: checkpoint, survey and options do not fit together.
    """

    def __init__(self, options: argparse.Namespace):
        self.options = options
        self.survey = Survey(options.survey)
        self.library = Survey(options.training_survey or options.survey)
        stages = [load_generator(path) for path in options.checkpoint]
        self.sampling = sampling_of(stages[-1].config.sampling, options)
        self.pipeline = Pipeline(
            stages,
            pick_device(options.device),
            options.precision,
            guidance=self.sampling.guidance,
        )
        self.pipeline.check(self.sampling)
        for survey in (self.survey, self.library):
            self._check(survey)
        self.requested = {name: getattr(options, name) for name in CONDITIONS}
        validate_conditions(stages[0], self.requested)
        self._check_candidates()
        if "no-unet" in options.ablations and self.pipeline.last.network.prior is None:
            raise UserError("--ablations no-unet: this network generates the spectrum itself")
        self.towers, self.transform = self.pipeline.last.contrastive, self.pipeline.last.spectra
        check_ranking(options.rank, self.towers.survey)
        self.rows = self._rows()
        self.redshift = catalogue_redshift(self.survey)[self.rows]
        if self.requested["redshift"] == "given" and self.why_not_given():
            raise UserError(f"--redshift given: {self.why_not_given()}; leave the option out")
        self.populations = None if options.ssp is None else read_library(options.ssp)
        self.folder = Path(options.output)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.wavelength = self.pipeline.wavelength_angstrom

    def _check(self, survey: Survey) -> None:
        """Refuse a survey that the checkpoint or the options do not fit."""
        trained = self.pipeline.last.contrastive.survey
        trained.check(survey, *IMAGES, *SPECTRA, remedy="evaluate it on a survey like its own")
        if self.options.against == "noiseless" and "noiseless" not in survey.truth_names:
            raise UserError(
                f"--against noiseless: {survey.path} has no noiseless spectra, which only a mock "
                "survey has"
            )

    def _check_candidates(self) -> None:
        """Refuse numbers of candidates that scores or baselines cannot have."""
        count, training = self.sampling.candidates, len(self.training_rows)
        if count < 2:
            raise UserError(
                f"--candidates {count}: scores compare candidates with each other; give at least 2"
            )
        if count > training:
            raise UserError(
                f"{self.library.path}: {training} training galaxies, of which baselines of {count} "
                "candidates cannot be made; give fewer --candidates, or another --training-survey"
            )

    def _rows(self) -> np.ndarray:
        split = self.options.split
        rows = np.arange(len(self.survey)) if split == "all" else self.survey.indices(split)
        if len(rows) == 0:
            raise UserError(f"{self.survey.path}: no galaxies in the split {split}")
        rows = _with_redshift(self.survey, rows, split)[: self.options.galaxies]
        own, training = (
            set(zip(*(survey.catalogue[name][part] for name in SAME), strict=True))
            for survey, part in ((self.survey, rows), (self.library, self.library.indices("train")))
        )
        if known := sum(galaxy[0] > 0 for galaxy in own & training):  # 0: unknown
            print(
                f"warning: {known} of {len(rows)} galaxies are among those that the networks and "
                "baselines were made of: their scores are too good",
                file=sys.stderr,
            )
        return rows

    @cached_property
    def training_rows(self) -> np.ndarray:
        """Rows (M,) of the training galaxies that the baselines are made of."""
        return _with_redshift(self.library, self.library.indices("train"), "train")

    @cached_property
    def training_redshift(self) -> np.ndarray:
        """Their redshifts (M,); NaN if the catalogue has none."""
        return catalogue_redshift(self.library)[self.training_rows]

    def why_not_given(self) -> str:
        """Why the generator cannot be given the catalogue's redshifts; empty if it can."""
        stage = self.pipeline.stages[0]
        if stage.parameters is None:
            return "the network was trained without the redshift as a parameter"
        if not np.isfinite(self.redshift).all():
            return f"{self.survey.path} has no redshifts"
        why = [reason for z in self.redshift if (reason := why_out_of_range(stage, z))]
        return f"the network is {why[0]}, and {len(why)} galaxies lie outside" if why else ""

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

    def spectra_identity(self, survey: Survey) -> dict:
        """What the spectra of a survey, as evaluated, depend on."""
        return {"survey": survey_identity(survey), "against": self.options.against}

    def _spectra(self, survey: Survey, rows: np.ndarray) -> np.ndarray:
        """Spectra (b, n) of rows of a survey, on the generator's pixels."""
        if self.options.against == "noiseless":
            return self.transform.subsample(survey.truth("noiseless", rows))
        return self.transform.subsample(survey.read("spectra", rows))

    def own_spectra(self, rows: np.ndarray) -> np.ndarray:
        """Spectra (b, n) of rows of the evaluated survey."""
        return self._spectra(self.survey, rows)

    def library_spectra(self, rows: np.ndarray) -> np.ndarray:
        """Spectra (b, n) of rows of the survey that the baselines are made of."""
        return self._spectra(self.library, rows)

    def true_spectra(self, part: slice) -> np.ndarray:
        """Spectra (b, n) of a slice of the galaxies, on the generator's pixels."""
        return self.own_spectra(self.rows[part])

    @cached_property
    def frame(self) -> RestFrame:
        """The rest frame that all spectra cover."""
        redshift = np.concatenate([self.training_redshift, self.redshift])
        return RestFrame.covering(self.wavelength, redshift)

    @cached_property
    def reference(self) -> tuple[np.ndarray, np.ndarray]:
        """Spectra (R, n) and redshifts (R,) of the climatology."""
        rows = random_subset(self.library, self.training_rows, REFERENCE_SPECTRA, self.options.seed)
        return self.library_spectra(rows), catalogue_redshift(self.library)[rows]

    @cached_property
    def spectroscope(self) -> Spectroscope:
        """Measures spectra, and keeps what it has measured."""
        values = np.concatenate([self.training_redshift, self.redshift])
        values, interval = values[np.isfinite(values)], DEFAULT_REDSHIFT_RANGE
        if len(values):
            interval = values.min() - REDSHIFT_MARGIN, values.max() + REDSHIFT_MARGIN
        return Spectroscope(
            self.folder / "measured.h5",
            self.wavelength,
            (float(interval[0]), float(interval[1])),
            self.survey.preparation.smoothing_sigma_angstrom,
            self.populations,
            self.options.workers,
        )

    @cached_property
    def magnitude(self) -> np.ndarray | None:
        """Total r magnitude (N,) of the images; None without calibrated ones."""
        return conditional.total_magnitude(self.survey, self.rows)

    def log_mass(self) -> np.ndarray:
        """log M★/M☉ (N,) from the catalogue or a mock's truth; NaN if neither has it."""
        for name in MASSES:
            if name in self.survey.catalogue:
                return self.survey.catalogue[name][self.rows]
            if name in self.survey.truth_names:
                return self.survey.truth(name, self.rows)
        return np.full(len(self.rows), np.nan)


def catalogue_redshift(survey: Survey) -> np.ndarray:
    """Redshifts (all,) of a survey, NaN where the catalogue has none."""
    return survey.catalogue.get("z", np.full(len(survey), np.nan)).astype(float)


def _with_redshift(survey: Survey, rows: np.ndarray, split: str) -> np.ndarray:
    """Those of `rows` that have a redshift in the catalogue; all, if none has one."""
    known = np.isfinite(catalogue_redshift(survey)[rows])
    if known.all() or not known.any():
        return rows
    print(
        f"{survey.path}: {np.sum(~known)} of {len(rows)} galaxies ({split}) have no redshift and "
        "are left out"
    )
    return rows[known]
