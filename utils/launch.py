"""What both training scripts do around their stage: processes, data, checks, plan, run."""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
import yaml
from torch import nn
from torch.multiprocessing import ProcessRaisedException

from datasets.survey import Survey, SurveyError
from datasets.survey_dataset import SurveyDataset
from datasets.transforms import SpectrumTransform
from models.condition import FrozenCondition
from utils.checkpoints import TrainedContrastive, trained_weights
from utils.command_line import Flags
from utils.config import ContrastiveConfig, DataConfig, GenerativeConfig, RunConfig, to_dict
from utils.engine import Task, Trainer
from utils.order import training_loader
from utils.records import log_to
from utils.runs import RunError, SurveyDescription, open_run, pick_device, read_checkpoint

LOGGER = logging.getLogger("spectra")
Config = ContrastiveConfig | GenerativeConfig
BLOCK_ROWS = 1024  # spectra read at once while statistics are fitted


def launch(run: Callable[..., None], config: Config, flags: Flags) -> int:
    """Call `run(rank, config, flags)` in this process, or in `config.run.processes` of them.

    Returns:
        0, or 1 after an error that the user can mend, printed in one line.
    """
    log_to(None)
    try:
        _in_processes(run, config, flags)
    except (RunError, SurveyError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except ProcessRaisedException as error:  # what a process raised, as text
        print(f"error: {str(error).strip().splitlines()[-1]}", file=sys.stderr)
        return 1
    return 0


def _in_processes(run: Callable[..., None], config: Config, flags: Flags) -> None:
    """Ignite's launcher: spawned here, or joined to the processes of torchrun."""
    backend = "nccl" if pick_device(config.run.device).type == "cuda" else "gloo"
    if config.run.processes > 1:
        with idist.Parallel(
            backend=backend,
            nproc_per_node=config.run.processes,
            master_addr="127.0.0.1",
            master_port=_free_port(),
        ) as parallel:
            parallel.run(_share_cores, run, config, flags)
    elif torch.distributed.is_torchelastic_launched():
        with idist.Parallel(backend=backend) as parallel:
            parallel.run(run, config, flags)
    else:
        run(0, config, flags)


def device_of(config: RunConfig) -> torch.device:
    """Where this process computes: one GPU each where there are several processes on GPUs."""
    device = pick_device(config.device)
    several = idist.get_world_size() > 1 and device.type == "cuda"
    return idist.device() if several else device


def _free_port() -> int:
    """A port that no other run on this machine listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _share_cores(rank: int, run: Callable[..., None], config: Config, flags: Flags) -> None:
    """Call `run` in one of several processes, with its share of the machine's cores.

    On CPUs processes are better than threads: a second thread makes a training step of the demo's
    U-Net in bfloat16 only 1.3 times as fast, and where other load holds a core, the barriers in the
    backward pass of its convolutions wait for it again and again.
    """
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // config.run.processes))
    if rank == 0:
        log_to(None)
    run(rank, config, flags)


def open_survey(config: DataConfig) -> Survey:
    """The survey file.

    Raises:
        RunError: there is none, with how to make one.
    """
    try:
        return Survey(config.survey)
    except FileNotFoundError as error:
        raise RunError(
            f"{config.survey}: no such survey file; make one with `python -m datasets.mock "
            f"{config.survey} --count 20000`, or `python -m utils.build_survey --help` for your "
            "own data; name it with --data.survey"
        ) from error


def training_split(survey: Survey, config: DataConfig) -> tuple[SurveyDataset, SpectrumTransform]:
    """The training galaxies, and the transform fitted to their spectra."""
    rows = split_rows(survey, "train", config)
    if len(rows) == 0:
        raise RunError(f"{survey.path}: no training galaxies")
    spectra = SpectrumTransform.fit(
        (survey.read("spectra", part) for part in _blocks(rows)),
        config.resolution,
        config.flux,
        config.standardise,
        survey.grid,
    )
    return SurveyDataset(survey, rows, config.in_memory), spectra


def split_rows(survey: Survey, split: str, config: DataConfig) -> np.ndarray:
    """Rows of a split (n,), of the positive spectra alone where `config` wants no others."""
    rows = survey.indices(split)
    if not config.positive_only or len(rows) == 0:
        return rows
    positive = [survey.read("spectra", part).min(axis=1) > 0 for part in _blocks(rows)]
    return rows[np.concatenate(positive)]


def _blocks(rows: Any) -> list[Any]:
    return [rows[i : i + BLOCK_ROWS] for i in range(0, len(rows), BLOCK_ROWS)]


def check_towers(towers: TrainedContrastive, survey: Survey, config: GenerativeConfig) -> None:
    """Raise RunError where the contrastive checkpoint does not fit survey or configuration."""
    here, then = SurveyDescription.of(survey), towers.survey
    for name in ("bands", "pixel_scale_arcsec", "image_unit", "grid", "preparation"):
        if getattr(here, name) != getattr(then, name):
            raise RunError(
                f"{config.diffusion.contrastive} was trained with {name} = {getattr(then, name)}, "
                f"{survey.path} has {getattr(here, name)}"
            )
    smoothed = here.preparation.smoothing_sigma_angstrom > 0
    if config.compatibility == "original" and smoothed and here.preparation.edges != "zero":
        raise RunError(
            f"compatibility: original takes spectra smoothed as the original's, {survey.path} has "
            "others: build it again with --preparation original"
        )
    if towers.spectra.resolution != config.data.resolution:
        raise RunError(
            f"{config.diffusion.contrastive} was trained at resolution "
            f"{towers.spectra.resolution}; data.resolution is {config.data.resolution}"
        )


def start_from(path: str | Path, kind: str, network: nn.Module) -> None:
    """Give `network` the trained weights of a checkpoint of another run, to train them further.

    A frozen image tower, what is expected of spectra and the noise schedule stay those that the
    network was built with.

    Raises:
        RunError: as `read_checkpoint`; or the checkpoint's network has other sizes.
    """
    weights, own = trained_weights(read_checkpoint(path, kind)), network.state_dict()
    frozen = isinstance(getattr(network, "condition", None), FrozenCondition)
    built_with = ("schedule.", "expectation.", *(("condition.image_encoder.",) if frozen else ()))
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
        raise RunError(
            f"{path}: its network is another than the configuration's ({len(differing)} weights "
            f"differ, such as {differing[0]}): run.start_from needs the same sizes and bands"
        )
    network.load_state_dict(own | {name: weights[name] for name in shapes})


def describe_plan(
    config: Config,
    survey: Survey,
    training: SurveyDataset,
    network: nn.Module,
    device: torch.device,
) -> None:
    """Print the resolved configuration, the data and the size of the network."""
    if idist.get_rank() != 0:
        return
    trained = sum(p.numel() for p in network.parameters() if p.requires_grad)
    frozen = sum(p.numel() for p in network.parameters() if not p.requires_grad)
    print(yaml.safe_dump(to_dict(config), sort_keys=False))
    print(survey.describe())
    print(f"training   {len(training)} galaxies, batches of {config.optimiser.batch_size}")
    print(f"network    {trained:,} parameters to train, {frozen:,} frozen; on {device}")


def start(
    task: Task, training: SurveyDataset, config: Config, flags: Flags, device: torch.device
) -> None:
    """Open the run directory and train."""
    values = to_dict(config)
    if idist.get_rank() == 0:
        folder = open_run(config.run.output, values, config.run.seed, flags.resume)
        log_to(folder)
    idist.barrier()
    if idist.get_rank() != 0:
        folder = open_run(config.run.output, values, config.run.seed, resume=True)
        LOGGER.setLevel(logging.WARNING)
    loader = training_loader(
        training, config.optimiser, config.run.seed, config.data.workers, device
    )
    trainer = Trainer(task, loader, config.optimiser, config.run, folder, device)
    if flags.resume:
        trainer.resume()
    trainer.fit()
