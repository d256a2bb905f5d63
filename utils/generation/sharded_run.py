"""From very many cutouts to shards, by one process or by several, on one or several machines.

    OUTPUT/shards/shard_000000.h5   the galaxies of one block (`utils.generation.shards`)
    OUTPUT/catalogue.fits           a row per galaxy
    OUTPUT/rejected.csv             the files that were rejected, and why
    OUTPUT/generate.json            the settings, and how many shards there are to be

Block k has the cutouts k·size … (k + 1)·size − 1 in the order of the files. Process r of R computes
the blocks that are missing, every R-th, and writes each whole or not at all. So a run that was
killed may go on with another number of processes: no galaxy is missing or twice, and, a block being
divided into the same batches, its spectra are the same bit for bit on the same kind of device.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch.distributed as dist
from tqdm import tqdm

from datasets.cutouts.reader import CutoutReader, write_rejects
from datasets.errors import UserError
from datasets.processors import usable_cores
from utils.core.folder_lock import lock_folder
from utils.generation.batch_run import BatchRun
from utils.generation.shards import (
    count_spectra,
    read_catalogue,
    read_rejects,
    shard_path,
    write_shard,
)


@dataclass
class ShardedRun(BatchRun):
    """One process's part of a run; see `BatchRun`.

    Args:
        blocks: The cutouts of each shard.
        rank, world: This process and the number of processes.
    """

    parts: ClassVar[str] = "shards"
    blocks: tuple[CutoutReader, ...] = ()
    rank: int = 0
    world: int = 1
    own: tuple[int, ...] = ()  # blocks that this process writes

    def describe(self) -> list[str]:
        """Further lines of the plan."""
        return [f"shards      {len(self.blocks)}, by {self.world} process(es)"]

    @property
    def missing(self) -> list[int]:
        """The blocks that are still to be written, by some process."""
        return [k for k in range(len(self.blocks)) if not shard_path(self.folder, k).exists()]

    @property
    def finished(self) -> bool:
        """Whether the shards of all processes are there."""
        return not self.missing

    @contextmanager
    def open(self, settings: dict[str, Any], resume: bool) -> Iterator[None]:
        """As `BatchRun.open`; the first process opens for all, which keep the lock to the end."""
        if self.world == 1:
            with super().open(settings, resume):
                self.own = tuple(self.missing)
                yield
            return
        with ExitStack() as stack:
            error = None
            if self.rank == 0:
                try:
                    with super().open(settings, resume):
                        pass
                except (UserError, OSError) as refused:
                    error = str(refused)
            answer = [error]
            dist.broadcast_object_list(answer, src=0)
            if answer[0]:
                raise UserError(answer[0])
            stack.enter_context(lock_folder(self.folder, shared=True))
            self.own = tuple(self.missing[self.rank :: self.world])
            dist.barrier()  # all have looked; from here on the processes are independent
            dist.destroy_process_group()
            yield

    def run(self, reader: CutoutReader) -> None:
        """Write the blocks that were missing at the start, every `world`-th of them."""
        total = sum(len(self.blocks[block]) for block in self.own)
        hidden = None if self.rank == 0 else True  # None: where there is no terminal
        with tqdm(total=total, desc="generating", unit="galaxy", disable=hidden) as bar:
            for block in self.own:
                self._write(block, bar)

    def _write(self, block: int, bar: tqdm) -> None:
        from utils.generation.catalogue_output import catalogue_columns

        self.rejects, spectra = [], []
        cutouts = self.blocks[block]
        for spectrum in self.spectra(cutouts, len(cutouts)):
            spectra.append(spectrum)
            bar.update()
        bar.update(len(self.rejects))
        path = shard_path(self.folder, block)
        file = f"{path.parent.name}/{path.name}"
        columns = catalogue_columns(
            ((spectrum, file) for spectrum in spectra), self.products.measured, usable_cores()
        )
        write_shard(path, spectra, columns, self.rejects)

    def summarise(self) -> int:
        """Write the catalogue and the rejected files; returns the number of spectra."""
        from utils.generation.catalogue_output import catalogue_units, write_catalogue

        self.rejects = read_rejects(self.folder)
        write_rejects(self.folder / "rejected.csv", self.rejects)
        columns = read_catalogue(self.folder)
        if columns:
            units = catalogue_units(self.products.measured)
            write_catalogue(self.folder / "catalogue.fits", columns, units)
            self.unlike = int(columns["image_flag"].sum())
        return count_spectra(self.folder)


def digest_of(blocks: tuple[CutoutReader, ...]) -> str:
    """A fingerprint of the names and numbers of the cutouts, in their order."""
    digest = hashlib.sha256()
    for block in blocks:
        for source in block.sources:
            digest.update(f"{source.name}\0{source.count()}\n".encode())
    return digest.hexdigest()[:16]
