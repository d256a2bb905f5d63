"""Run directories and checkpoints: what a run leaves behind, and how it is read again.

A run directory holds `config.yml` (resolved), `run.json` (command, versions, seed), `log.txt`,
`metrics.csv`, previews, `last.pt` and `best.pt`. A checkpoint describes itself: everything that is
needed to use its weights is inside, as tensors and primitives, so that it loads with
`weights_only=True`.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ignite
import numpy as np
import torch
import yaml

from datasets.spectra import Preparation, WavelengthGrid
from datasets.survey import Survey

VERSION = "0.1.0"
CHECKPOINT_FORMAT = 1


class RunError(Exception):
    """A run or a checkpoint that cannot be used, with the file and the remedy."""


@dataclass(frozen=True)
class SurveyDescription:
    """What a network has to know of the survey it was trained on.

    Args:
        bands: Names of the image bands, in order.
        pixel_scale_arcsec: Pixel scale of the images.
        image_size: Pixels per side of the images.
        image_unit: Unit of the images per pixel, e.g. `nanomaggy`.
        grid: Wavelengths of the prepared spectra.
        preparation: How the spectra were prepared.
        name: Where the survey came from, for people.
    """

    bands: tuple[str, ...]
    pixel_scale_arcsec: float
    image_size: int
    image_unit: str
    grid: WavelengthGrid
    preparation: Preparation
    name: str

    @classmethod
    def of(cls, survey: Survey) -> SurveyDescription:
        """The description of an open survey file."""
        return cls(
            tuple(survey.bands),
            survey.pixel_scale_arcsec,
            survey.image_size,
            survey.image_unit,
            survey.grid,
            survey.preparation,
            Path(survey.path).name,
        )

    def to_dict(self) -> dict[str, Any]:
        """Primitives only, for a checkpoint."""
        return {
            **self.__dict__,
            "bands": list(self.bands),
            "grid": self.grid.to_dict(),
            "preparation": self.preparation.to_dict(),
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> SurveyDescription:
        """The inverse of `to_dict`."""
        return cls(
            **{
                **values,
                "bands": tuple(values["bands"]),
                "grid": WavelengthGrid.from_dict(values["grid"]),
                "preparation": Preparation.from_dict(values["preparation"]),
            }
        )


def open_run(output: str, config: dict[str, Any], seed: int, resume: bool) -> Path:
    """The run directory: made new, or, to resume, found with the same configuration.

    Raises:
        RunError: the directory holds a run already and `resume` is not set; or `resume` is set
            and there is no run, or one with another configuration.
    """
    folder = Path(os.path.expandvars(output)).expanduser()
    config_file = folder / "config.yml"
    if resume:
        _check_same_config(config_file, config)
        return folder
    if config_file.exists():
        raise RunError(
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
        raise RunError(f"{config_file.parent} holds no run to resume: leave out --resume")
    before = _flat(yaml.safe_load(config_file.read_text()))
    now = _flat(config)
    changed = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
    if changed:
        lines = (f"  {key}: {before.get(key)} -> {now.get(key)}" for key in changed)
        raise RunError(
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


def versions() -> dict[str, str]:
    """Versions of this code and of what its results depend on."""
    return {
        "code": code_version(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "ignite": ignite.__version__,
        "numpy": np.__version__,
    }


def code_version() -> str:
    """The version of this code, with the commit where it is a git checkout."""
    try:
        commit = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=10,
        ).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        commit = ""
    return f"{VERSION}+{commit}" if commit else VERSION


def read_checkpoint(path: str | Path, kind: str | None = None) -> dict[str, Any]:
    """A checkpoint as a dict of tensors and primitives, on the CPU.

    Args:
        path: A `.pt` file written by a training script.
        kind: `contrastive` or `generative`, to refuse the other; None takes both.

    Raises:
        RunError: there is no such file, it cannot be read safely, or it is of another kind.
    """
    path = Path(path)
    if not path.is_file():
        raise RunError(f"{path}: no such checkpoint; train one, or name another file")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise RunError(f"{path}: not a readable checkpoint ({type(error).__name__})") from error
    about = checkpoint.get("about") if isinstance(checkpoint, dict) else None
    if not isinstance(about, dict) or "kind" not in about:
        raise RunError(
            f"{path}: not a checkpoint of this project; one of the original code is converted "
            "with `python -m utils.original convert`"
        )
    if about["format"] != CHECKPOINT_FORMAT:
        raise RunError(f"{path}: checkpoint format {about['format']}, not {CHECKPOINT_FORMAT}")
    if kind is not None and about["kind"] != kind:
        raise RunError(f"{path}: a {about['kind']} checkpoint, but a {kind} one is needed")
    return checkpoint


def file_digest(path: str | Path) -> str:
    """First 16 hexadecimal digits of a file's SHA-256, to name a checkpoint in its products."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def pick_device(name: str) -> torch.device:
    """The device called `name`; `auto` is CUDA where there is one, else the CPU.

    Raises:
        RunError: CUDA is asked for and there is none.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise RunError(f"device {name}: no CUDA device here; use --run.device cpu or auto")
    return torch.device(name)


def uses_bfloat16(precision: str, device: torch.device) -> bool:
    """Whether `precision` means bfloat16 on `device`: `auto` does where the hardware has it."""
    if precision != "auto":
        return precision == "bfloat16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    abilities = torch.cpu.get_capabilities()
    return bool(abilities.get("avx512_bf16") or abilities.get("amx_bf16"))
