"""From a folder of cutouts to a folder of spectra, batch by batch.

    OUTPUT/spectra/NAME.fits      a spectrum and its candidates (`utils.generation.fits_output`)
    OUTPUT/pictures/NAME.png      a plot of them
    OUTPUT/contact_sheet_001.png  16 galaxies a page, the first 320 galaxies
    OUTPUT/index.html             all of it to look at (`utils.plotting.gallery`)
    OUTPUT/catalogue.fits         a row per galaxy
    OUTPUT/rejected.csv           the files that were rejected, and why
    OUTPUT/generate.json          the settings: a run goes on only with the same

With `--shards` there are OUTPUT/shards instead: see `utils.generation.sharded_run`.

Memory holds one batch of galaxies, and files are written atomically: a run that was stopped goes on
where it was, and its catalogue is made of all spectra in the folder.

Libraries that only pictures, tables or FITS files need are imported where they are used, since
`generate.py --dry-run` needs none of them.
"""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from tqdm import tqdm

from datasets.atomic_files import write_text
from datasets.cutouts.reader import Cutout, CutoutReader, Rejected, write_rejects
from datasets.errors import UserError, out_of_memory
from datasets.processors import usable_cores
from models.samplers import Sampler
from utils.core.folder_lock import lock_folder
from utils.core.run_log import LOGGER, shielded
from utils.generation.candidates import Candidates
from utils.generation.conditions import REDSHIFT, SNR, given_conditions, why_out_of_range
from utils.generation.generated_spectrum import GeneratedSpectrum
from utils.generation.pipeline import Pipeline
from utils.generation.products import (
    Finisher,
    Generated,
    Made,
    Products,
    Workers,
    read_ahead,
)

if TYPE_CHECKING:
    from utils.generation.redshift_catalogue import RedshiftTable
    from utils.plotting.gallery import Gallery

Pair = tuple[Cutout, Candidates | None]  # None: has its spectrum already

MOST_TOGETHER = 8  # batches at once on a CPU: each needs memory


@dataclass
class BatchRun:
    """One run over many cutouts.

    Args:
        products: What is written of each galaxy, and where.
        pipeline: The trained networks.
        sampler: How to sample.
        batch: Galaxies at once.
        workers: Processes that draw, measure and write meanwhile; None: this one does.
        requested: Redshift and S/N, by name: `sampled` from the image, `given`
            with the cutouts (sampled where it is not), or a number for all.
        redshifts: The table that gives the redshifts, instead of the cutouts.
    """

    products: Products
    pipeline: Pipeline
    sampler: Sampler
    batch: int = 8
    workers: Workers | None = None
    requested: dict[str, str] = field(default_factory=dict)
    redshifts: RedshiftTable | None = None
    rejects: list[Rejected] = field(default_factory=list)
    assumed: Counter = field(default_factory=Counter)
    unlike: int = 0  # galaxies of the catalogue whose cutouts are unlike the training images
    overflowed: int = 0  # galaxies so far of which a candidate's flux is not finite
    rows: list[dict[str, np.ndarray]] = field(default_factory=list)  # of the catalogue, in blocks

    @property
    def folder(self) -> Path:
        """Where everything is written."""
        return self.products.folder

    parts: ClassVar[str] = "spectra"  # folder of the results
    finished: ClassVar[bool] = True  # unless other processes are still at work
    rank: ClassVar[int] = 0  # of this process

    def describe(self) -> list[str]:
        """Further lines of the plan."""
        return []

    @contextmanager
    def open(self, settings: dict[str, Any], resume: bool) -> Iterator[None]:
        """Make the folder, or go on in one that was made with the same settings; within the block
        no other run may use it.

        Raises:
            UserError: the folder holds a run and `resume` is not set, or one with other settings;
                or another process is at work in it.
        """
        with lock_folder(self.folder):
            self._prepare(settings, resume)
            yield

    def _prepare(self, settings: dict[str, Any], resume: bool) -> None:
        record, folder = self.folder / "generate.json", self.parts
        folders = (self.folder / kind for kind in ("spectra", "shards"))
        made = any(True for results in folders for _ in results.glob("[!.]*"))
        if record.exists() and made:  # else nothing was generated: begin again
            if not resume:
                raise UserError(
                    f"{self.folder} already holds generated spectra: add --resume to go on, or "
                    "name another --output"
                )
            before = _read_settings(record)
            keys = {*settings, *before}
            changed = sorted(key for key in keys if settings.get(key) != before.get(key))
            if changed:
                raise UserError(
                    f"{record}: the run began with other values of {', '.join(changed)}; give the "
                    "same, or name another --output"
                )
        for name in (folder, "pictures") if self.products.pictures else (folder,):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
            for path in (self.folder / name).glob(".*.part.*"):  # of a run that was killed
                path.unlink(missing_ok=True)
        write_text(record, json.dumps(settings, indent=2) + "\n")

    def run(self, reader: CutoutReader) -> None:
        """Generate for every cutout that has no spectrum yet, in the batches of a whole run, and
        measure all, those of an earlier run, too."""
        pictures = self.products.pictures
        page, shown = self._page(len(reader)) if pictures else (None, 0)

        def collect(made: Made) -> None:
            self.rows.append(made.rows)
            bar.update(len(made.rows["name"]))
            if page:
                with shielded("the page"):
                    page.add(made.entries)

        with (
            tqdm(total=len(reader), desc="generating", unit="galaxy", disable=None) as bar,
            Finisher(self.products, self.workers, collect) as finisher,
        ):
            number = 0  # of the galaxy
            batches = self._batches(self._usable(reader, bar))
            with closing(self._generated(batches, len(reader), self._complete)) as generated:
                for made in generated:
                    numbered = enumerate(made, start=number)
                    finisher.finish(
                        [Generated(*one, n < pictures, n < shown) for n, one in numbered]
                    )
                    number += len(made)
        if page and self.rows:
            with shielded("the page"):
                page.close()
        write_rejects(self.folder / "rejected.csv", self.rejects)

    def _page(self, count: int) -> tuple[Gallery, int]:
        """The page of a run over `count` cutouts, and how many galaxies it shows at most."""
        from utils.generation.gallery_output import MOST_GALAXIES, run_gallery

        products, wavelength = self.products, self.pipeline.wavelength_angstrom
        page = run_gallery(
            self.folder, products.survey, products.provenance, wavelength, count, products.measured
        )
        return page, MOST_GALAXIES

    def spectra(
        self, cutouts: Iterable[Cutout | Rejected], count: int
    ) -> Iterator[GeneratedSpectrum]:
        """The spectra of those of `count` cutouts that can be used; `rejects` gets the others."""
        batches = self._batches(self._usable(cutouts))
        with closing(self._generated(batches, count, self._generate)) as generated:
            for cutout, candidates in chain.from_iterable(generated):
                yield self.products.spectrum(cutout, candidates)

    def _batches(self, cutouts: Iterable[Cutout]) -> Iterator[list[Cutout]]:
        """The cutouts by `batch`, read ahead. A run that goes on divides them as it did before:
        rounding, and so the last bits of a spectrum, depends on the others of its batch."""
        waiting = read_ahead(cutouts, 2 * self.batch)
        while batch := list(islice(waiting, self.batch)):
            yield batch

    def _generated(
        self,
        batches: Iterable[list[Cutout]],
        galaxies: int,
        generate: Callable[[list[Cutout]], list[Pair]],
    ) -> Iterator[list[Pair]]:
        """What `generate` makes of every batch, in their order.

        On a CPU several batches are computed at once, by a part of the cores each: cores that share
        one batch wait for each other after each of its many small operations.
        """
        threads = torch.get_num_threads()
        cores, together = min(threads, usable_cores()), 1
        if self.pipeline.device.type == "cpu":
            together = max(1, min(cores, MOST_TOGETHER, -(-galaxies // self.batch)))
        waiting: deque[Future] = deque()
        pool = ThreadPoolExecutor(together)
        torch.set_num_threads(cores // together)
        try:
            for batch in batches:
                waiting.append(pool.submit(generate, batch))
                if len(waiting) > together:
                    yield self._counted(waiting.popleft().result())
            while waiting:
                yield self._counted(waiting.popleft().result())
        finally:
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(threads)

    def _complete(self, batch: list[Cutout]) -> list[Pair]:
        """The candidates of a batch; None for all of them if each has a spectrum."""
        if all(self._done(cutout) for cutout in batch):
            return [(cutout, None) for cutout in batch]
        return self._generate(batch)  # some again, for the others' company

    def _counted(self, made: list[Pair]) -> list[Pair]:
        for _, candidates in made:
            if candidates is not None:
                self.overflowed += int(not np.isfinite(candidates.flux).all())
        return made

    def _usable(
        self, reader: Iterable[Cutout | Rejected], bar: tqdm | None = None
    ) -> Iterator[Cutout]:
        update = bar.update if bar is not None else int  # `int()` does nothing
        for item in reader:
            if isinstance(item, Cutout):
                item = self._with_redshift(item)
            if isinstance(item, Rejected):
                self.rejects.append(item)
                update()
            else:
                self.assumed.update(item.assumptions)
                yield item

    def _done(self, cutout: Cutout) -> bool:
        return self.products.spectrum_path(cutout.name).exists()

    def _with_redshift(self, cutout: Cutout) -> Cutout | Rejected:
        """The cutout with its redshift where redshifts are given; rejected if out of range."""
        if self.requested.get(REDSHIFT) != "given":
            return cutout
        source = "the cutout"
        if self.redshifts:
            source = self.redshifts.path.name
            cutout = replace(cutout, redshift=self.redshifts.redshift(cutout))
        if np.isnan(cutout.redshift):
            missing = f"no redshift in {source}: sampled from the image"
            return replace(cutout, assumptions=(*cutout.assumptions, missing))
        reason = why_out_of_range(self.pipeline.stages[0], cutout.redshift)
        if reason:
            reason = f"{cutout.name}: redshift {cutout.redshift:g} in {source}: {reason}"
            return Rejected(str(cutout.path), reason)
        return cutout

    def _generate(self, cutouts: Sequence[Cutout]) -> list[Pair]:
        """Generate for some cutouts; in halves where the memory does not suffice for all."""
        rows_at_once = self.pipeline.rows_at_once
        try:
            candidates = self.pipeline.generate(
                torch.from_numpy(np.stack([cutout.image for cutout in cutouts])),
                [cutout.name for cutout in cutouts],
                count=self.products.provenance.sampled,
                seed=self.products.provenance.seed,
                sampler=self.sampler,
                given=self._given(cutouts),
            )
            return [(cutout, candidates.of_galaxy(n)) for n, cutout in enumerate(cutouts)]
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            if self.pipeline.rows_at_once == rows_at_once:  # else another batch has seen to it
                self._use_less_memory(error)
        # Outside the handler, whose error keeps the tensors that filled the memory.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        half = -(-len(cutouts) // 2)
        parts = (self._generate(part) for part in (cutouts[:half], cutouts[half:]) if part)
        return [one for part in parts for one in part]

    def _use_less_memory(self, error: RuntimeError) -> None:
        """Halve the batches, and the candidates that go through the network together.

        Raises:
            UserError: they cannot be halved any more.
        """
        if self.batch == 1 and self.pipeline.rows_at_once == 1:
            raise UserError("a single spectrum does not fit into the memory") from error
        self.batch = max(1, self.batch // 2)
        self.pipeline.rows_at_once = max(1, self.pipeline.rows_at_once // 2)
        LOGGER.warning(
            "out of memory: going on with %d galaxies and %d candidates at once",
            self.batch,
            self.pipeline.rows_at_once,
        )

    def _given(self, cutouts: Sequence[Cutout]) -> dict[str, torch.Tensor]:
        """The conditions that `Pipeline.generate` takes as given."""
        unknown = [np.nan] * len(cutouts)
        values = {REDSHIFT: [cutout.redshift for cutout in cutouts], SNR: unknown}
        return given_conditions(self.requested, values)

    def summarise(self) -> int:
        """Write the catalogue; returns the number of spectra."""
        from utils.generation.catalogue_output import write_generated_catalogue

        paths = sorted((self.folder / "spectra").glob("*.fits"))
        if paths:
            target = self.folder / "catalogue.fits"
            columns = write_generated_catalogue(target, paths, self.rows, self.products.measured)
            self.unlike = int(columns["image_flag"].sum())
        return len(paths)


def _read_settings(record: Path) -> dict[str, Any]:
    """The settings of a run.

    Raises:
        UserError: the file is damaged.
    """
    try:
        return dict(json.loads(record.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise UserError(
            f"{record} is damaged: delete it to go on with the options given now, or name another "
            "--output"
        ) from error
