"""The directory of a run: who may begin or go on in it, and its files for people.

    config.yml     the resolved configuration
    run.json       command, versions and seed; the same for each time the run was resumed
    log.txt        the log
    metrics.csv    a row per epoch
    preview_*.png  pictures of the validation split
    tensorboard/   the metrics for TensorBoard
    last.pt        everything needed to go on, after each epoch
    previous.pt    the `last.pt` before
    best.pt        the weights of the best validation
    parameters/    stage 2: the same of the parameter diffusion, which is trained first

A run goes on from `last.pt`, or from `previous.pt` where that is missing or damaged. One that was
stopped in its first epoch has neither: it begins anew.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import yaml

from datasets.atomic_files import write_text
from datasets.errors import UserError
from utils.core.provenance import versions
from utils.core.run_log import MetricsTable

CONFIG, RECORD, METRICS = "config.yml", "run.json", "metrics.csv"
LAST, PREVIOUS, BEST = "last.pt", "previous.pt", "best.pt"
PARAMETERS = "parameters"

# What a resumed run may change: where it runs and what it shows, not what it computes. The contents
# of the two files are compared with the checkpoint (`utils.training.trainer`). With other epochs
# the learning rate follows the schedule of the new length from there on.
MAY_CHANGE = (
    "data.survey",
    "data.workers",
    "data.in_memory",
    "diffusion.contrastive",
    "optimiser.epochs",
    "parameters.optimiser.epochs",
    "parameters.sampling_steps",
    "sampling.",
    "run.output",
    "run.device",
    "run.processes",
    "run.checkpoint_minutes",
    "run.validate_every_epochs",
    "run.preview_every_epochs",
    "run.tensorboard",
)


def run_folder(output: str) -> Path:
    """The path of a run directory, with environment variables and `~` expanded."""
    return Path(os.path.expandvars(output)).expanduser()


def has_checkpoint(folder: Path) -> bool:
    """Whether a run can go on in `folder`."""
    return (folder / LAST).exists() or (folder / PREVIOUS).exists()


def check_run(folder: Path, config: dict[str, Any], resume: bool) -> bool:
    """Whether a run goes on in `folder` (or begins there); writes nothing.

    Raises:
        UserError: the folder holds a run and `resume` is not set; or that run had another
            configuration; or its configuration cannot be read; or it has weights to lose, and no
            checkpoint to go on from.
    """
    if not resume:
        if any((folder / name).exists() for name in (CONFIG, LAST, PREVIOUS, BEST)):
            raise UserError(
                f"{folder} already holds a run: add --resume to go on with it, or name another "
                "folder with --run.output"
            )
        return False
    if has_checkpoint(folder):
        changed = _changes(_read(folder / CONFIG, yaml.safe_load), config)
        if refused := [f"  {line}" for line in changed if not line.startswith(MAY_CHANGE)]:
            raise UserError(
                f"{folder / CONFIG} has other values, and results would depend on where the run "
                "was stopped; give the same values, or begin anew in another folder with "
                "--run.output\n" + "\n".join(refused)
            )
        return True
    begun = (folder / CONFIG).exists() and MetricsTable(folder / METRICS).last("epoch", 0) <= 1
    if (folder / BEST).exists() and not begun:
        raise UserError(
            f"{folder} has {BEST}, but no {LAST} to go on from: put that back from a copy, or name "
            "another folder with --run.output"
        )
    return False


def record_run(folder: Path, config: dict[str, Any], seed: int, resumed: bool) -> list[str]:
    """Make the run directory, or add this call to that of a resumed run.

    Returns:
        The values of the configuration that have changed, as `key: before -> now`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob(".*.part.*"):  # of a process that was killed while it wrote
        leftover.unlink()
    call = {
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "seed": seed,
        "versions": versions(),
    }
    changed = []
    if resumed:
        record = _read(folder / RECORD, json.loads)
        call = record | {"resumed": [*record.get("resumed", []), call]}
        changed = _changes(_read(folder / CONFIG, yaml.safe_load), config)
    write_text(folder / RECORD, json.dumps(call, indent=2) + "\n")
    write_text(folder / CONFIG, yaml.safe_dump(config, sort_keys=False))
    return changed


def _read(path: Path, load: Any) -> dict[str, Any]:
    try:
        values = load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        values = None
    if not isinstance(values, dict):
        raise UserError(
            f"{path} is missing or damaged: put the file back from a copy, or begin anew in "
            "another folder with --run.output"
        )
    return values


def _changes(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """`key: before -> now` of all keys that differ."""
    old, new = _flat(before), _flat(now)
    keys = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
    return [f"{key}: {old.get(key)} -> {new.get(key)}" for key in keys]


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            out |= _flat(value, f"{prefix}{key}.")
        else:
            out[prefix + key] = value
    return out
