"""The steps that the training scripts share: data, checks, plan, start."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import ignite.distributed as idist
import torch
import yaml
from torch import nn
from torch.utils.data import DataLoader

from datasets.errors import UserError
from datasets.spectrum_transform import SpectrumTransform
from datasets.survey import Survey
from datasets.survey_dataset import SurveyDataset
from datasets.survey_description import IMAGES, SPECTRA
from utils.core.checkpoints import TrainedContrastive, read_checkpoint, trained_weights
from utils.core.command_line import Flags
from utils.core.config import Config, DataConfig, GenerativeConfig, to_dict
from utils.core.folder_lock import lock_folder
from utils.core.interruption import Interrupted
from utils.core.run_directory import CONFIG, check_run, record_run, run_folder
from utils.core.run_log import LOGGER, log_to
from utils.core.survey_rows import blocks, split_rows
from utils.training.trainer import Task, Trainer


def open_survey(config: DataConfig) -> Survey:
    """The survey file.

    Raises:
        UserError: there is none, with how to make one.
    """
    try:
        return Survey(config.survey)
    except FileNotFoundError as error:
        raise UserError(
            f"{config.survey}: no such survey file; make one with `python -m datasets.mock "
            f"{config.survey} --count 20000`, or from real spectra and images with `python -m "
            "utils.build_survey`; name it with --data.survey"
        ) from error


def training_split(
    survey: Survey, config: DataConfig, device: torch.device
) -> tuple[SurveyDataset, SpectrumTransform]:
    """The training galaxies for `device`, and the transform fitted to their spectra.

    Raises:
        UserError: there are no training or no validation galaxies.
    """
    rows = split_rows(survey, "train", config)
    split_rows(survey, "validation", config)  # refuses an empty one
    spectra = SpectrumTransform.fit(
        (survey.read("spectra", part) for part in blocks(rows)),
        config.representation,
        config.flux,
        config.standardise,
        survey.grid,
    )
    return SurveyDataset(survey, rows, config.in_memory, device), spectra


def check_towers(towers: TrainedContrastive, survey: Survey, config: GenerativeConfig) -> None:
    """Refuse a contrastive checkpoint that does not fit the survey or the configuration.

    Raises:
        UserError: naming what differs.
    """
    towers.survey.check(survey, *IMAGES, *SPECTRA, remedy="train stage 1 on this survey first")
    smoothed = survey.preparation.smoothing_sigma_angstrom > 0
    if config.compatibility == "original" and smoothed and survey.preparation.edges != "zero":
        raise UserError(
            f"compatibility: original needs spectra smoothed as the original's, and {survey.path} "
            "has others: build it again with --preparation original"
        )
    if towers.spectra.representation != config.data.representation:
        raise UserError(
            f"{config.diffusion.contrastive} was trained with representation "
            f"{towers.spectra.representation}; data.representation is {config.data.representation}"
        )


def start_from(path: str | Path, kind: str, network: nn.Module, bands: Sequence[str]) -> None:
    """Give `network` the trained weights of a checkpoint of another run, to train them further.

    The prior, the mean and σ of the photometry and the noise schedule stay as they are. `kind` is
    that of `read_checkpoint`; a warning says if `bands`, those of the survey, are others.

    Raises:
        UserError: as `read_checkpoint`; or the checkpoint's network has other sizes.
    """
    checkpoint = read_checkpoint(path, kind)
    before = checkpoint["about"]["survey"]["bands"]
    if [*before] != [*bands]:
        LOGGER.warning("%s was trained on %s, not %s", path, ", ".join(before), ", ".join(bands))
    weights, own = trained_weights(checkpoint), network.state_dict()
    built_with = ("schedule.", "prior.", "condition.photometry_mean", "condition.photometry_sigma")
    shapes, own_shapes = (
        {name: w.shape for name, w in state.items() if not name.startswith(built_with)}
        for state in (weights, own)
    )
    differing = sorted(
        name
        for name in shapes.keys() | own_shapes.keys()
        if shapes.get(name) != own_shapes.get(name)
    )
    if differing:
        raise UserError(
            f"{path}: {len(differing)} weights, such as {differing[0]}, have other shapes than in "
            "the configured network: run.start_from needs the same sizes and bands"
        )
    network.load_state_dict(own | {name: weights[name] for name in shapes})


def describe_plan(
    config: Config,
    flags: Flags,
    survey: Survey,
    loader: DataLoader,
    networks: Sequence[nn.Module],
    device: torch.device,
) -> None:
    """Print the resolved configuration, the data and the size of the networks.

    Raises:
        UserError: the run may not begin or go on in its directory.
    """
    check_run(run_folder(config.run.output), to_dict(config), flags.resume)
    if idist.get_rank() != 0:
        return
    weights = " + ".join(f"{sum(p.numel() for p in n.parameters()):,}" for n in networks)
    count, size = len(loader.dataset), config.optimiser.batch_size
    print(yaml.safe_dump(to_dict(config), sort_keys=False))
    print(survey.describe())
    world, parts = idist.get_world_size(), config.optimiser.accumulate
    print(f"training   {count} galaxies, {len(loader)} batches of {size} per epoch")
    if world * parts > 1:
        share = f"{world} process(es) × {parts} part(s) × {size // world // parts} galaxies"
        print(f"batch      {size} = {share}")
    print(f"networks   {weights} weights to train")
    print(f"computing  on {device.type}, {world} process(es)")


def start(
    task: Task,
    loader: DataLoader,
    config: Config,
    flags: Flags,
    device: torch.device,
    part: str = "",
) -> Path | None:
    """Train, from the beginning or from where a stopped run was.

    `part` is a subfolder of the run directory, for the first of two trainings.

    Returns:
        The folder with the trained weights; None after a dry run, which ends before training.

    Raises:
        Interrupted: as `Trainer.fit`; or the run was asked to stop between the two trainings.
    """
    folder, values = run_folder(config.run.output) / part, to_dict(config)
    trainer = Trainer(task, loader, config.optimiser, config.run, device)
    resume = check_run(folder, values, flags.resume)
    if flags.dry_run:
        LOGGER.info("dry run: everything is ready, nothing was written")
        return None
    idist.barrier()  # every process has looked before the first one writes
    first = idist.get_rank() == 0
    with lock_folder(folder) if first else nullcontext():
        if first:
            stopped = (folder / CONFIG).exists()
            changed = record_run(folder, values, config.run.seed, resume)
            log_to(folder)
            if stopped and not resume:
                LOGGER.info("%s: no checkpoint to go on from, the run begins anew", folder)
            for line in changed:
                LOGGER.info("changed: %s", line)
        trainer.fit(folder, resume, flags.deadline)
    idist.barrier()  # the last checkpoint is written
    if part and trainer.stopped:
        raise Interrupted(
            f"stopped by {trainer.interruption.reason} after the training in {folder}; go on with "
            "--resume"
        )
    return folder
