"""The parts of a generation run from the options of `generate.py`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets.cutouts.conversion import CutoutFormat, stated_units
from datasets.cutouts.reader import Cutout, CutoutReader
from datasets.errors import UserError
from datasets.survey_description import SurveyDescription
from utils.core.checkpoints import TrainedGenerator, load_generator
from utils.core.config import SamplingConfig
from utils.core.device import pick_device
from utils.core.provenance import code_version, file_digest
from utils.core.shipped_weights import shipped_weights, weights_path
from utils.core.weights_file import read_description
from utils.generation.batch_run import BatchRun
from utils.generation.conditions import CONDITIONS, REDSHIFT, validate_conditions
from utils.generation.generated_spectrum import Provenance
from utils.generation.pipeline import Pipeline, make_sampler, sampling_of
from utils.generation.products import Products

if TYPE_CHECKING:
    from utils.generation.products import Workers
    from utils.generation.redshift_catalogue import RedshiftTable

CPU_ROWS, GPU_ROWS = 64, 4096  # candidates that go through the network together
CPU_GALAXIES, GPU_GALAXIES = 8, 256  # in a batch
KEPT_OPTIONS = ("seed", "redshift_column", "rank", "bands", "pixel_scale", "unit", "zero_point")
LOOKED_AT = 20  # cutouts, of which one must fit weights to choose these


def load_pipeline(options: argparse.Namespace) -> tuple[Pipeline, SamplingConfig]:
    """The trained networks, and how to sample.

    Raises:
        UserError: a checkpoint cannot be used, or an option does not fit it.
    """
    return build_pipeline([load_generator(path) for path in checkpoint_paths(options)], options)


def build_pipeline(
    stages: Sequence[TrainedGenerator], options: argparse.Namespace
) -> tuple[Pipeline, SamplingConfig]:
    """The same, of networks that are loaded."""
    device = pick_device(options.device)
    sampling = sampling_of(stages[-1].config.sampling, options)
    pipeline = Pipeline(
        stages,
        device,
        options.precision,
        rows_at_once=CPU_ROWS if device.type == "cpu" else GPU_ROWS,
        rank=options.rank,
        guidance=sampling.guidance,
    )
    pipeline.check(sampling)
    if options.steps and sampling.sampler == "ancestral":
        raise UserError(
            f"--steps {options.steps}: ancestral sampling takes all of the schedule; leave it "
            "out, or give another --sampler"
        )
    return pipeline, sampling


def checkpoint_paths(options: argparse.Namespace) -> list[Path]:
    """The files of the networks: those named, or the shipped weights that fit the cutouts.

    Raises:
        UserError: weights of that name do not exist, or none fit.
    """
    if options.checkpoint:
        return [Path(path) for path in options.checkpoint]
    if options.weights is None:
        options.weights = _fitting_weights(options)
    return [weights_path(options.weights)]


def _fitting_weights(options: argparse.Namespace) -> str:
    """The name of the first shipped weights that one of the first cutouts fits."""
    reasons: dict[str, list[str]] = {}  # names of weights by reason
    for name, path in shipped_weights().items():
        survey = SurveyDescription.from_dict(read_description(path)["about"]["survey"])
        items = list(
            islice(CutoutReader(options.cutouts, cutout_format(survey, options)), LOOKED_AT)
        )
        if any(isinstance(item, Cutout) for item in items):
            return name
        for item in items[:1]:
            label = f"{name} ({' '.join(survey.bands)})"
            reasons.setdefault(f"{item.path}: {item.reason}", []).append(label)
    if len(reasons) == 1 < len(shipped_weights()):  # whatever the weights
        raise UserError(
            f"none of the first cutouts can be used; {next(iter(reasons))}. Name the weights with "
            "--weights to go on to the others"
        )
    why = "; ".join(f"{', '.join(names)}: {reason}" for reason, names in reasons.items())
    raise UserError(
        "none of the weights that come with the project fit these cutouts: train your own "
        f"(docs/your_survey.md) and name them with --checkpoint. {why}"
    )


def _requested_conditions(pipeline: Pipeline, options: argparse.Namespace) -> dict[str, str]:
    """What is requested for redshift and S/N, by name.

    Raises:
        UserError: the network does not take it.
    """
    requested = {name: getattr(options, name) for name in CONDITIONS}
    if options.catalogue:
        requested[REDSHIFT] = "given"
    validate_conditions(pipeline.stages[0], requested)
    return requested


def _kept_candidates(sampling: SamplingConfig, options: argparse.Namespace) -> int:
    """How many candidates are written.

    Raises:
        UserError: more than there are.
    """
    kept = options.keep or sampling.candidates
    if kept > sampling.candidates:
        raise UserError(f"--keep {kept} of {sampling.candidates} candidates: keep 1 to all of them")
    return kept


def redshift_table(options: argparse.Namespace) -> RedshiftTable | None:
    """The table of redshifts, if the command line names one.

    Raises:
        UserError: options that contradict each other, or a table that cannot be used.
    """
    if not options.catalogue and not options.redshift_column:
        return None
    if not options.catalogue:
        raise UserError(
            "--redshift-column: name its table with --catalogue; redshifts that the cutouts "
            "themselves give are taken with --redshift given"
        )
    if not options.redshift_column:
        raise UserError("--catalogue: name its column of redshifts with --redshift-column")
    if options.redshift not in ("sampled", "given"):
        raise UserError(
            f"--redshift {options.redshift} and --catalogue contradict each other: leave one out"
        )
    from utils.generation.redshift_catalogue import RedshiftTable  # astropy is slow to import

    return RedshiftTable(options.catalogue, options.redshift_column)


def cutout_format(survey: SurveyDescription, options: argparse.Namespace) -> CutoutFormat:
    """The images of the survey that a network was trained on, which it takes, and what the command
    line states about the files."""
    return CutoutFormat(
        survey.bands,
        survey.pixel_scale_arcsec,
        survey.image_size,
        input_bands=tuple(map(str.strip, options.bands.split(","))) if options.bands else None,
        input_pixel_scale_arcsec=options.pixel_scale,
        input_unit=stated_units(options.unit, options.zero_point),
    )


def join_processes(options: argparse.Namespace) -> None:
    """Where torchrun or srun started several processes, become one of them, on its own GPU.

    Raises:
        UserError: they would write the same files.
    """
    from utils.core.process_group import join, started_elsewhere

    if not started_elsewhere():
        return
    if not options.shards:
        raise UserError("several processes: add --shards, so that each writes its own files")
    options.device = str(join(pick_device(options.device), "gloo"))


def make_run(
    pipeline: Pipeline,
    sampling: SamplingConfig,
    reader: CutoutReader,
    options: argparse.Namespace,
    redshifts: RedshiftTable | None = None,
    workers: Workers | None = None,
) -> BatchRun:
    """The run over all cutouts, or, with `--shards`, this process's part of it.

    Raises:
        UserError: as `_requested_conditions` and `_kept_candidates`, or it is not clear to which
            cutout a redshift belongs.
    """
    if redshifts:
        redshifts.check(reader.sources)
    on_cpu = pipeline.device.type == "cpu"
    products = Products(
        Path(options.output),
        pipeline.last.contrastive.survey,
        _provenance_of(pipeline, sampling, options),
        _kept_candidates(sampling, options),
        0 if options.no_pictures or options.shards else options.pictures,
        not options.no_measure,
    )
    arguments = {
        "products": products,
        "pipeline": pipeline,
        "sampler": make_sampler(sampling),
        "batch": options.batch_size or (CPU_GALAXIES if on_cpu else GPU_GALAXIES),
        "requested": _requested_conditions(pipeline, options),
        "redshifts": redshifts,
    }
    if not options.shards:
        return BatchRun(**arguments, workers=workers)
    import torch.distributed as dist

    from utils.generation.sharded_run import ShardedRun

    together = dist.is_initialized()
    return ShardedRun(
        **arguments,
        blocks=tuple(reader.blocks(options.shards)),
        rank=dist.get_rank() if together else 0,
        world=dist.get_world_size() if together else 1,
    )


def _provenance_of(
    pipeline: Pipeline, sampling: SamplingConfig, options: argparse.Namespace
) -> Provenance:
    """How the spectra are made, for the header of every file."""
    preparation = pipeline.last.contrastive.survey.preparation
    first, last = preparation.window_angstrom
    steps = "" if sampling.sampler == "ancestral" else f", {sampling.steps} steps"
    return Provenance(
        seed=options.seed,
        sampled=sampling.candidates,
        sampler=f"{sampling.sampler}{steps}",
        checkpoints=tuple(f"{p.name} {file_digest(p)}" for p in checkpoint_paths(options)),
        code_version=code_version(),
        normalisation=f"{preparation.normalisation} of {first:g}-{last:g} Angstrom",
        smoothing_sigma_angstrom=preparation.smoothing_sigma_angstrom,
        averaged=sampling.mean_of_best,
    )


def settings_of(
    run: BatchRun, sampling: SamplingConfig, reader: CutoutReader, options: argparse.Namespace
) -> dict[str, Any]:
    """The settings that must stay the same for a run to go on."""
    table = run.redshifts
    return {
        "checkpoints": list(run.products.provenance.checkpoints),
        "sampling": asdict(sampling),
        "keep": run.products.kept,
        **run.requested,
        "catalogue": f"{table.path.name} {file_digest(table.path)}" if table else None,
        "precision": "bfloat16" if run.pipeline.bfloat16 else "float32",
        **{name: getattr(options, name) for name in KEPT_OPTIONS},
        "files_of_one_name": reader.namesakes(),
        **(_settings_of_shards(run, options) if options.shards else {}),
    }


def _settings_of_shards(run: BatchRun, options: argparse.Namespace) -> dict[str, Any]:
    from utils.generation.sharded_run import digest_of

    return {
        "batch_size": run.batch,  # for the same bits
        "galaxies_per_shard": options.shards,
        "shards": len(run.blocks),
        "cutouts": digest_of(run.blocks),
    }


def plan(run: BatchRun, reader: CutoutReader) -> str:
    """What will be done, for people; of several processes the first says it."""
    if run.rank > 0:
        return ""
    survey, made = run.products.survey, run.products.provenance
    wavelength = run.pipeline.wavelength_angstrom
    first, last = wavelength[[0, -1]]
    lines = [
        f"cutouts     {len(reader)}",
        f"network     {', '.join(made.checkpoints)}, trained on {survey.name}",
        f"images      {' '.join(survey.bands)}, {survey.pixel_scale_arcsec:g} arcsec/px",
        f"spectra     {len(wavelength)} px, {first:.0f}-{last:.0f} Å (vacuum)",
        f"candidates  {made.sampled} each, {run.products.kept} kept, {made.sampler}",
        f"output      {run.folder}, seed {made.seed}, on {run.pipeline.device}",
    ]
    return "\n".join(lines + run.describe())
