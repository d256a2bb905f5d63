"""A split of a survey file as a torch data set that costs no preprocessing per item.

Items are dictionaries: "image" (bands, H, W) float32 as stored, "spectrum" (P,) float32 linear,
"index" the row in the survey file, which leads to the catalogue.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.utils.data import Dataset

from datasets.survey import Survey

IN_MEMORY_LIMIT_BYTES = 2e9  # a split smaller than this is held in memory


class SurveyDataset(Dataset):
    """The given rows of a survey.

    in_memory: hold images and spectra in memory (None: if they fit into
    `IN_MEMORY_LIMIT_BYTES`). They are loaded at once, so that forked workers share them;
    a pickled copy reads from the file instead.
    """

    def __init__(self, survey: Survey, rows: np.ndarray, in_memory: bool | None = None) -> None:
        self.survey = survey
        self.rows = np.asarray(rows, dtype=np.int64)
        if in_memory is None:
            images, spectra = survey.file["images"], survey.file["spectra"]
            row_bytes = 4 * (int(np.prod(images.shape[1:])) + spectra.shape[1])
            in_memory = len(self.rows) * row_bytes < IN_MEMORY_LIMIT_BYTES
        self._held = self._load(self.rows) if in_memory else None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, position: int) -> dict[str, torch.Tensor | int]:
        return self.__getitems__([position])[0]

    def __getitems__(self, positions: list[int]) -> list[dict[str, torch.Tensor | int]]:
        """A batch at once: the DataLoader calls this and collates the list."""
        rows = self.rows[positions]
        if self._held is None:
            images, spectra = self._load(rows)
            positions = range(len(rows))
        else:
            images, spectra = self._held
        return [
            {"image": images[i], "spectrum": spectra[i], "index": int(row)}
            for i, row in zip(positions, rows, strict=True)
        ]

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_held": None}

    def _load(self, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        images, spectra = (self.survey.read(name, rows) for name in ("images", "spectra"))
        return torch.from_numpy(images), torch.from_numpy(spectra)
