"""Rows of a survey file as a torch data set of whole batches, without preprocessing per galaxy.

A batch is a dictionary: "image" (B, bands, H, W) float32 as stored, "spectrum" (B, P) float32
linear, and "index" (B,), the rows in the survey file and its catalogue.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from datasets.survey import Survey

IN_MEMORY_LIMIT_BYTES = 2e9  # rows of fewer bytes are held in memory
GPU_MEMORY_SHARE = 0.5  # of the free memory of a GPU, which rows of fewer bytes are held in
BLOCK_ROWS = 1024  # read at once
CPU = torch.device("cpu")


class SurveyDataset(Dataset):
    """The given rows of a survey.

    Args:
        survey: An open survey file.
        rows: (N,) of the file.
        in_memory: Hold images and spectra in memory: in that of a GPU where they fit into
            `GPU_MEMORY_SHARE` of it, otherwise in the computer's (None: if they fit into
            `IN_MEMORY_LIMIT_BYTES`). They are loaded at once, so that forked workers share them; a
            pickled copy reads from the file instead.
        device: Where batches are needed.

    Attributes:
        held_on: The device that holds them; None where batches are read from the file.
    """

    def __init__(
        self,
        survey: Survey,
        rows: np.ndarray,
        in_memory: bool | None = None,
        device: torch.device = CPU,
    ) -> None:
        self.survey = survey
        self.rows = np.asarray(rows, dtype=np.int64)
        self.held_on = self._place(in_memory, device)
        self._held = None if self.held_on is None else self._load_all(self.held_on)

    def _place(self, in_memory: bool | None, device: torch.device) -> torch.device | None:
        images, spectra = self.survey.file["images"], self.survey.file["spectra"]
        size = 4 * len(self.rows) * (int(np.prod(images.shape[1:])) + spectra.shape[1])
        if in_memory is False:
            return None
        if device.type == "cuda" and size < GPU_MEMORY_SHARE * torch.cuda.mem_get_info(device)[0]:
            return device
        return CPU if in_memory or size < IN_MEMORY_LIMIT_BYTES else None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, positions: Tensor) -> dict[str, Tensor]:
        """The batch of galaxies at `positions` (B,) of the rows."""
        rows = self.rows[positions.numpy()]
        if self._held is None:
            images, spectra = self._load(rows)
        else:
            positions = positions.to(self.held_on, non_blocking=True)
            images, spectra = (values[positions] for values in self._held)
        return {"image": images, "spectrum": spectra, "index": torch.from_numpy(rows)}

    def __getstate__(self) -> dict:
        return {**self.__dict__, "held_on": None, "_held": None}

    def _load(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        images, spectra = (self.survey.read(name, rows) for name in ("images", "spectra"))
        return torch.from_numpy(images), torch.from_numpy(spectra)

    def _load_all(self, device: torch.device) -> tuple[Tensor, Tensor]:
        held = tuple(
            torch.empty((len(self.rows), *self.survey.file[name].shape[1:]), device=device)
            for name in ("images", "spectra")
        )
        for start in range(0, len(self.rows), BLOCK_ROWS):
            part = slice(start, start + BLOCK_ROWS)
            for values, block in zip(held, self._load(self.rows[part]), strict=True):
                values[part] = block
        return held
