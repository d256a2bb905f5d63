"""Which galaxies a training step sees, and with what randomness: pure functions of seeds.

The order of the galaxies is a function of (seed, epoch), a step's random numbers one of
(seed, process, iteration): a resumed run equals one that never stopped.
"""

from __future__ import annotations

from collections.abc import Iterator

import ignite.distributed as idist
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from datasets.errors import UserError
from datasets.hashing import mix
from utils.core.config import Config


class EpochSampler(Sampler[int]):
    """A permutation of the training set that is a pure function of (seed, epoch).

    Args:
        count: Galaxies in the training split.
        seed: Seed of the run.
        rank, world: This process and the number of processes: each takes every world-th index.
    """

    def __init__(self, count: int, seed: int, rank: int = 0, world: int = 1):
        self.count, self.seed, self.rank, self.world = count, seed, rank, world
        self.epoch = 0

    def __len__(self) -> int:
        return self.count // self.world

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(mix(self.seed, self.epoch))
        order = torch.randperm(self.count, generator=generator)[: len(self) * self.world]
        return iter(order[self.rank :: self.world].tolist())


def training_loader(dataset: Dataset, config: Config, device: torch.device) -> DataLoader:
    """Batches of the training split in the order of (seed, epoch), the last partial one dropped.

    Raises:
        UserError: the training split is smaller than one batch, or a batch cannot be divided evenly
            among the processes.
    """
    rank, world = idist.get_rank(), idist.get_world_size()
    optimiser, workers = config.optimiser, config.data.workers
    if len(dataset) < optimiser.batch_size:
        raise UserError(
            f"{len(dataset)} training galaxies are fewer than optimiser.batch_size = "
            f"{optimiser.batch_size}"
        )
    if optimiser.batch_size % world:
        raise UserError(
            f"optimiser.batch_size = {optimiser.batch_size} is not a multiple of the {world} "
            "processes"
        )
    return DataLoader(
        dataset,
        batch_size=optimiser.batch_size // world,
        sampler=EpochSampler(len(dataset), config.run.seed, rank, world),
        drop_last=True,
        num_workers=workers,
        pin_memory=device.type == "cuda",
        persistent_workers=workers > 0,
    )
