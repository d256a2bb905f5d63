"""An evaluation from its options to its figures: see `utils.evaluate`."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from functools import cached_property, partial
from pathlib import Path

import h5py
import numpy as np

from datasets.errors import UserError
from datasets.photometry import has_colours
from datasets.spectrum_transform import PHASES
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
from utils.evaluation import (
    candidate_sources as methods,
)
from utils.evaluation import (
    photometric_consistency as colours,
)
from utils.evaluation import (
    subgroups,
)
from utils.evaluation.aggregate import (
    flux_metrics,
    measured_metrics,
    paired_differences,
    ranking_errors,
    without_nan,
)
from utils.evaluation.candidate_sources import CONSTANT, GENERATED, TRUE_SPECTRA, Method
from utils.evaluation.candidates import draw
from utils.evaluation.derived_quantities import with_constant
from utils.evaluation.measurement_cache import (
    Spectroscope,
    library_of,
    measure_method,
    measure_training,
    measure_truth,
)
from utils.evaluation.pixel_metrics import Judged, judge_method
from utils.generation.conditions import CONDITIONS, validate_conditions
from utils.generation.pipeline import Pipeline, sampling_of
from utils.spectroscopy.measurements import DEFAULT_REDSHIFT_RANGE
from utils.training.regression import load_regression

LARGE_POOL = 2000  # of the second retrieval, or the split where it is smaller
REDSHIFT_MARGIN = 0.03  # around those of the training split, within which redshifts are fitted
MASSES = ("log_mass", "logMass_Maraston09", "logMass_ConroyDust")


class Evaluation:
    """Everything that belongs to one output folder.

    Args:
        options: of `utils.evaluate`.

    Raises:
        UserError: checkpoint and survey do not fit.
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
        if options.against == "noiseless" and "noiseless" not in self.survey.truth_names:
            raise UserError(f"{options.survey}: no noiseless spectra, which only a mock survey has")
        self.requested = {name: getattr(options, name) for name in CONDITIONS}
        validate_conditions(stages[0], self.requested)
        self.towers = self.pipeline.last.contrastive
        known = self.towers.survey
        if known.bands != self.survey.bands or known.grid != self.survey.grid:
            raise UserError(f"{options.survey}: other bands or wavelengths than the checkpoint's")
        if options.rank != "contrastive" and not has_colours(self.survey):
            raise UserError(f"--rank {options.rank}: {options.survey} has no calibrated g, r and i")
        self.rows = self.survey.indices(options.split)[: options.galaxies]
        self.library = library_of(options.ssp)
        self.folder = Path(options.output)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.wavelength = self.pipeline.wavelength_angstrom

    @cached_property
    def identity(self) -> dict:
        """What the candidates depend on."""
        sampling = asdict(self.sampling)
        return {
            "checkpoints": [file_digest(path) for path in self.options.checkpoint],
            "survey": file_digest(self.options.survey),
            "split": self.options.split,
            "galaxies": len(self.rows),
            "sampling": {
                name: sampling[name] for name in ("sampler", "steps", "candidates", "guidance")
            },
            "given": self.requested,
            "against": self.options.against,
            "seed": self.options.seed,
            "precision": "bfloat16" if self.pipeline.bfloat16 else "float32",
        }

    def spectra(self, rows: np.ndarray) -> np.ndarray:
        """Spectra (b, n) of rows of the survey, on the generator's pixels."""
        step = PHASES if self.pipeline.last.spectra.representation == "low" else 1
        if self.options.against == "noiseless":
            return self.survey.truth("noiseless", rows)[:, ::step]
        return self.survey.read("spectra", rows)[:, ::step]

    def run(self) -> dict:
        """Draw, judge, and write `galaxies.h5` and `evaluation.json`; returns the latter."""
        path = self.folder / "candidates.h5"
        with draw(
            path, self.pipeline, self.survey, self.rows, self.sampling, self.identity
        ) as file:
            figures = self._judge(file)
        text = json.dumps(without_nan(figures), indent=1, ensure_ascii=False, allow_nan=False)
        part = self.folder / ".evaluation.json.part"
        part.write_text(text + "\n")
        part.replace(self.folder / "evaluation.json")
        return figures

    def _judge(self, file: h5py.File) -> dict:
        seen = colours.colours_of_images(self.survey, self.rows)
        flux = file["flux"]
        raw = colours.differences(self.wavelength, lambda part: flux[part], len(self.rows), seen)
        temperature = self.towers.config.towers.temperature
        orders = colours.orders(file["scores"][:], raw, temperature)
        own = methods.generated(flux, orders[self.options.rank])
        everyone = [own, *self._others()]
        judged = {m.name: self._judge_flux(m) for m in everyone}
        errors = {name: j.errors for name, j in judged.items()}
        offsets = self._colours(everyone, seen)
        figures = {
            "identity": self.identity,
            "sources": {
                "survey": str(Path(self.options.survey).resolve()),
                "checkpoints": [str(Path(p).resolve()) for p in self.options.checkpoint],
                "rank": self.options.rank,
            },
            "methods": flux_metrics(errors),
            "differences": paired_differences(errors),
            "calibration": {name: j.calibration() for name, j in judged.items()},
            **self._retrieval(),
            "colours": {
                "methods": {n: colours.distribution(v[:, 0]) for n, v in offsets.items()},
                "rankings": colours.compare_rankings(
                    ranking_errors(flux, orders, lambda part: self.spectra(self.rows[part]))
                ),
            },
        }
        truth, measured = None, {}
        if not self.options.no_measure:
            truth, measured = self._measure(everyone)
            new = measured_metrics(truth, measured, self._log_mass(), self.options.seed)
            for name, tarp in new.pop("tarp").items():
                figures["calibration"][name] |= tarp
            figures |= new
            by_ranking = colours.measured_by_ranking(
                truth, measured[GENERATED], orders[self.options.rank], orders
            )
            for name, scatters in by_ranking.items():
                figures["colours"]["rankings"][name]["measured"] = scatters
        positive = self.spectra(self.rows).min(axis=1) > 0
        masks = subgroups.groups(self.survey, self.rows, truth, positive)
        figures["subgroups"] = subgroups.by_subgroup(masks, errors, CONSTANT)
        extra = {"order": orders[self.options.rank]}
        self._write_galaxies(extra, errors, offsets, truth, measured)
        return figures

    def _others(self) -> list[Method]:
        count, seed = self.sampling.candidates, self.options.seed
        training = methods.Training.read(
            self.folder / "training.h5", self.survey, self.towers, self.spectra
        )
        found = methods.baseline_methods(
            self.survey, self.rows, count, self.towers, training, self.spectra, seed
        )
        if self.options.regression is None:
            return found
        network = load_regression(self.options.regression, self.survey, self.pipeline.device)
        step = PHASES if self.pipeline.last.spectra.representation == "low" else 1
        regression = methods.regression_method(
            partial(network.predict, step=step),
            self.survey,
            self.rows,
            count,
            self.spectra,
            seed,
            file_digest(self.options.regression),
        )
        return [regression, *found]

    def _judge_flux(self, method: Method) -> Judged:
        return judge_method(
            method,
            self.rows,
            self.spectra,
            self.wavelength,
            self.survey.indices("train"),
            self.options.seed,
        )

    def _colours(self, everyone: list[Method], seen: np.ndarray) -> dict[str, np.ndarray]:
        """Colours of candidates minus those of the images, (N, P, 2) by method, and of the truth
        (N, 1, 2); nothing without photometry."""
        if not np.isfinite(seen).any():
            return {}
        truth = Method("truth", lambda part: self.spectra(self.rows[part])[:, None])
        return {
            m.name: colours.differences(self.wavelength, m.candidates, len(self.rows), seen)
            for m in (truth, *everyone)
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

    def _measure(self, everyone: list[Method]) -> tuple[dict, dict[str, dict]]:
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
        truth, fitted = measure_truth(
            spectroscope, lambda part: self.spectra(self.rows[part]), redshift[self.rows]
        )
        of_training = [m for m in everyone if m.rows is not None]
        found = measure_training(spectroscope, of_training, self.spectra, redshift)
        count = len(self.rows), self.sampling.candidates
        for method in everyone:
            if method.rows is None and method.name != CONSTANT:
                found[method.name] = measure_method(spectroscope, method, *count)
        found = with_constant(found)
        measured = {m.name: found[m.name] for m in everyone}
        return truth, measured | {TRUE_SPECTRA: {k: v[:, None] for k, v in fitted.items()}}

    def _redshift_range(self) -> tuple[float, float]:
        redshift = self.survey.catalogue.get("z")
        if redshift is None:
            return DEFAULT_REDSHIFT_RANGE
        known = redshift[self.survey.indices("train")]
        return float(known.min()) - REDSHIFT_MARGIN, float(known.max()) + REDSHIFT_MARGIN

    def _log_mass(self) -> np.ndarray:
        """log M★/M☉ (N,) from the catalogue or a mock's truth; NaN if neither knows."""
        for name in MASSES:
            if name in self.survey.catalogue:
                return self.survey.catalogue[name][self.rows]
            if name in self.survey.truth_names:
                return self.survey.truth(name, self.rows)
        return np.full(len(self.rows), np.nan)

    def _write_galaxies(
        self,
        extra: dict[str, np.ndarray],
        errors: dict[str, dict[str, np.ndarray]],
        offsets: dict[str, np.ndarray],
        truth: dict | None,
        measured: dict[str, dict],
    ) -> None:
        part = self.folder / ".galaxies.h5.part"
        with h5py.File(part, "w") as file:
            file["row"] = self.rows
            file["identifier"] = self.survey.catalogue["identifier"][self.rows]
            file["log_mass"] = self._log_mass()
            for name, values in extra.items():
                file[name] = values
            groups = {f"errors/{name}": columns for name, columns in errors.items()}
            groups |= {"colours": offsets, "truth": truth or {}}
            groups |= {f"measured/{name}": columns for name, columns in measured.items()}
            for group, columns in groups.items():
                for name, values in columns.items():
                    file[f"{group}/{name}"] = values
        part.replace(self.folder / "galaxies.h5")
