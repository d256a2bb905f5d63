"""The steps that the training scripts share: data, checks, plan, start."""

from __future__ import annotations

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
from datasets.survey_description import SurveyDescription
from models.conditioning import FrozenCondition
from utils.core.checkpoints import TrainedContrastive, read_checkpoint, trained_weights
from utils.core.command_line import Flags
from utils.core.config import Config, DataConfig, GenerativeConfig, to_dict
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


def training_split(survey: Survey, config: DataConfig) -> tuple[SurveyDataset, SpectrumTransform]:
    """The training galaxies, and the transform fitted to their spectra."""
    rows = split_rows(survey, "train", config)
    if len(rows) == 0:
        raise UserError(f"{survey.path}: no training galaxies")
    spectra = SpectrumTransform.fit(
        (survey.read("spectra", part) for part in blocks(rows)),
        config.representation,
        config.flux,
        config.standardise,
        survey.grid,
    )
    return SurveyDataset(survey, rows, config.in_memory), spectra


def check_towers(towers: TrainedContrastive, survey: Survey, config: GenerativeConfig) -> None:
    """Refuse a contrastive checkpoint that does not fit the survey or the configuration.

    Raises:
        UserError: naming what differs.
    """
    here, then = SurveyDescription.of(survey), towers.survey
    for name in ("bands", "pixel_scale_arcsec", "image_unit", "grid", "preparation"):
        if getattr(here, name) != getattr(then, name):
            raise UserError(
                f"{config.diffusion.contrastive} was trained with {name} = {getattr(then, name)}, "
                f"{survey.path} has {getattr(here, name)}: train stage 1 on this survey first"
            )
    smoothed = here.preparation.smoothing_sigma_angstrom > 0
    if config.compatibility == "original" and smoothed and here.preparation.edges != "zero":
        raise UserError(
            f"compatibility: original needs spectra smoothed as the original's, and {survey.path} "
            "has others: build it again with --preparation original"
        )
    if towers.spectra.representation != config.data.representation:
        raise UserError(
            f"{config.diffusion.contrastive} was trained with representation "
            f"{towers.spectra.representation}; data.representation is {config.data.representation}"
        )


def start_from(path: str | Path, kind: str, network: nn.Module) -> None:
    """Give `network` the trained weights of a checkpoint of another run, to train them further.

    A frozen image tower, the spectrum prior and the noise schedule stay as the network was built.

    Args:
        path: A checkpoint of the same stage.
        kind: `contrastive`, `generative` or `regression`.
        network: With fresh weights.

    Raises:
        UserError: as `read_checkpoint`; or the checkpoint's network has other sizes.
    """
    weights, own = trained_weights(read_checkpoint(path, kind)), network.state_dict()
    frozen = isinstance(getattr(network, "condition", None), FrozenCondition)
    built_with = ("schedule.", "prior.", *(("condition.image_encoder.",) if frozen else ()))
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
    network: nn.Module,
    device: torch.device,
) -> None:
    """Print the resolved configuration, the data and the size of the network.

    Raises:
        UserError: the run may not begin or go on in its directory.
    """
    check_run(run_folder(config.run.output), to_dict(config), flags.resume)
    if idist.get_rank() != 0:
        return
    trained = sum(p.numel() for p in network.parameters() if p.requires_grad)
    frozen = sum(p.numel() for p in network.parameters() if not p.requires_grad)
    count, size = len(loader.dataset), config.optimiser.batch_size
    print(yaml.safe_dump(to_dict(config), sort_keys=False))
    print(survey.describe())
    print(f"training   {count} galaxies, {len(loader)} batches of {size} per epoch")
    print(f"network    {trained:,} parameters to train, {frozen:,} frozen")
    print(f"computing  on {device.type}, {idist.get_world_size()} process(es)")


def start(
    task: Task, loader: DataLoader, config: Config, flags: Flags, device: torch.device
) -> None:
    """Train, from the beginning or from where a stopped run was; a dry run ends before."""
    trainer = Trainer(task, loader, config.optimiser, config.run, device)
    if flags.dry_run:
        LOGGER.info("dry run: everything is ready, nothing was written")
        return
    folder, values = run_folder(config.run.output), to_dict(config)
    resume = check_run(folder, values, flags.resume)
    idist.barrier()  # every process has looked before the first one writes
    if idist.get_rank() == 0:
        stopped = (folder / CONFIG).exists()
        changed = record_run(folder, values, config.run.seed, resume)
        log_to(folder)
        if stopped and not resume:
            LOGGER.info("%s: no finished epoch to go on from, the run begins anew", folder)
        for line in changed:
            LOGGER.info("changed: %s", line)
    trainer.fit(folder, resume)
