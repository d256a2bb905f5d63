"""Checkpoint files of the original code, read without running anything they may contain.

The original saves a dict of states: `model`, `average_model` (U-Nets only: the weights that its own
generation uses), `optimizer`, `scheduler`, `engine`. All are tensors and primitives, but for the
learning rate's callable, whose attributes are int64 arrays of NumPy.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datasets.errors import UserError

_RECONSTRUCT = np.ndarray(0).__reduce__()[0]  # how NumPy begins to unpickle an array
# All names in the pickle of an int64 array; NumPy 2 moved the function.
ARRAY_GLOBALS = [
    (_RECONSTRUCT, "numpy.core.multiarray._reconstruct"),
    (_RECONSTRUCT, "numpy._core.multiarray._reconstruct"),
    np.ndarray,
    np.dtype,
    type(np.dtype(np.int64)),
]


@dataclass(frozen=True)
class OriginalState:
    """The weights in a file of the original, and the names of its other states.

    Args:
        path: The file.
        section: Which of its states the weights are; empty for a bare state dict.
        weights: Tensors under the original's names, without the prefix `module.`.
        unused: Names of the other states.
    """

    path: Path
    section: str
    weights: dict[str, Tensor]
    unused: list[str]

    @property
    def contrastive(self) -> bool:
        """Whether these are the two towers, not a U-Net."""
        return any(name.startswith("image_model.") for name in self.weights)


def read_original(path: str | Path) -> OriginalState:
    """The weights of an original checkpoint: the averaged ones where there are any.

    Raises:
        UserError: there is no such file, it holds more than tensors, primitives and int64 arrays,
            or it holds no weights.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint")
    try:
        with torch.serialization.safe_globals(ARRAY_GLOBALS):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UserError(f"{path}: not opened: {_reason(error)}") from error
    sections = _sections(content)
    chosen = next((name for name in ("average_model", "model", "") if name in sections), None)
    weights = sections.pop(chosen) if chosen is not None else {}
    if not weights or not all(isinstance(tensor, Tensor) for tensor in weights.values()):
        raise UserError(
            f"{path}: neither a state dict nor a checkpoint of the original, which has `model`"
        )
    return OriginalState(
        path,
        chosen,
        {name.removeprefix("module."): tensor for name, tensor in weights.items()},
        list(sections),
    )


def _reason(error: Exception) -> str:
    """PyTorch's error in our words: its own message advises to switch the protection off."""
    found = re.search(r"GLOBAL (\S+)|class '(\S+)'", str(error))
    if found is None:
        return f"it is damaged or not a PyTorch file ({type(error).__name__})"
    name = found[1] or found[2]
    return f"it holds a {name}; only tensors, primitives and arrays of int64 are safe"


def _sections(content: Any) -> dict[str, Any]:
    """The states of a file; a bare state dict is the state without a name."""
    if isinstance(content, Mapping) and all(isinstance(v, Tensor) for v in content.values()):
        return {"": content}
    return dict(content) if isinstance(content, Mapping) else {}
