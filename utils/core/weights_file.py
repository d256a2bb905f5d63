"""Trained networks for users, in one small file without code: safetensors.

The layers' weights are stored in half precision, constants as they are, and the description of the
networks as JSON in the metadata. `read_weights_file` gives what a checkpoint holds.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import safe_open

from datasets.atomic_files import atomic_path

if TYPE_CHECKING:
    from torch import Tensor

SUFFIX = ".safetensors"
DESCRIPTION = "description"  # key of the metadata
PARTS = ("network", "parameters", "towers", "novelty")  # prefixes of the tensors' names


def write_weights_file(
    path: str | Path, checkpoint: dict[str, Any], halved: Collection[str]
) -> None:
    """Write a generative checkpoint, atomically.

    Args:
        path: Of the new file.
        checkpoint: As `utils.core.checkpoints.read_checkpoint` gives it, without states of the
            training.
        halved: Names of the tensors that are stored in half precision, such as
            `network.output.weight`.
    """
    from safetensors.torch import save  # torch takes seconds to import

    towers = checkpoint["contrastive"]
    parts = {**checkpoint, "towers": towers["weights"]}
    tensors = {
        f"{part}.{name}": tensor.half() if f"{part}.{name}" in halved else tensor
        for part in PARTS
        for name, tensor in parts.get(part, {}).items()
    }
    about = {"about": checkpoint["about"], "towers": towers["about"]}
    metadata = {DESCRIPTION: json.dumps(about, default=lambda tensor: tensor.tolist())}
    contents = save({name: tensor.contiguous() for name, tensor in tensors.items()}, metadata)
    with atomic_path(Path(path)) as part:
        part.write_bytes(contents)


def read_description(path: str | Path) -> dict[str, Any]:
    """What the networks of a file are: `about` of the generator, and of its `towers`."""
    with safe_open(path, "numpy") as file:
        return json.loads(file.metadata()[DESCRIPTION])


def read_weights_file(path: str | Path) -> dict[str, Any]:
    """The contents of a file as those of a checkpoint, in single precision."""
    import torch

    description = read_description(path)
    parts: dict[str, dict[str, Tensor]] = {part: {} for part in PARTS}
    with safe_open(path, "pt") as file:
        for key in file.keys():  # noqa: SIM118
            part, name = key.split(".", 1)
            tensor = file.get_tensor(key)
            parts[part][name] = tensor.float() if tensor.dtype == torch.half else tensor
    checkpoint = {name: tensors for name, tensors in parts.items() if tensors}
    towers = {"about": description["towers"], "weights": checkpoint.pop("towers")}
    return {"about": description["about"], "contrastive": towers, **checkpoint}
