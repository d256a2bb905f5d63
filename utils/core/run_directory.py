"""Run directories and checkpoints: what a run leaves behind, and how it is read again.

A run directory holds `config.yml` (resolved), `run.json` (command, versions, seed), `log.txt`,
`metrics.csv`, previews, `last.pt` and `best.pt`. A checkpoint describes itself: everything that is
needed to use its weights is inside, as tensors and primitives, so that it loads with
`weights_only=True`.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import yaml

from datasets.errors import UserError
from utils.core.provenance import versions


def run_folder(output: str) -> Path:
    """The folder that `run.output` names, environment variables and `~` expanded."""
    return Path(os.path.expandvars(output)).expanduser()


def open_run(output: str, config: dict[str, Any], seed: int, resume: bool) -> Path:
    """The run directory: made new, or, to resume, found with the same configuration.

    Raises:
        UserError: the directory holds a run already and `resume` is not set; or `resume` is set
            and there is no run, or one with another configuration.
    """
    folder = run_folder(output)
    config_file = folder / "config.yml"
    if resume:
        _check_same_config(config_file, config)
        return folder
    if config_file.exists():
        raise UserError(
            f"{folder} already holds a run: add --resume to go on with it, or name another "
            "folder with --run.output"
        )
    folder.mkdir(parents=True, exist_ok=True)
    record = {
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "seed": seed,
        "versions": versions(),
    }
    (folder / "run.json").write_text(json.dumps(record, indent=2) + "\n")
    config_file.write_text(yaml.safe_dump(config, sort_keys=False))
    return folder


def _check_same_config(config_file: Path, config: dict[str, Any]) -> None:
    if not config_file.exists():
        raise UserError(f"{config_file.parent} holds no run to resume: leave out --resume")
    before = _flat(yaml.safe_load(config_file.read_text()))
    now = _flat(config)
    changed = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
    if changed:
        lines = (f"  {key}: {before.get(key)} -> {now.get(key)}" for key in changed)
        raise UserError(
            f"{config_file} differs from what you ask for; a run resumes only as it began:\n"
            + "\n".join(lines)
        )


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            out |= _flat(value, f"{prefix}{key}.")
        else:
            out[prefix + key] = value
    return out
