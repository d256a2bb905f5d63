"""From a folder of cutouts to a folder of spectra, batch by batch.

    OUTPUT/spectra/NAME.fits      a spectrum and its candidates (`utils.generation.fits_output`)
    OUTPUT/pictures/NAME.png      a plot of them
    OUTPUT/contact_sheet_001.png  16 galaxies a page, the first 320 galaxies
    OUTPUT/catalogue.fits         a row per galaxy
    OUTPUT/rejected.csv           the files that were rejected, and why
    OUTPUT/generate.json          the settings: a run goes on only with the same

Memory holds one batch of galaxies, and files are written atomically: a run that was stopped goes on
where it was, and its catalogue is made of all spectra in the folder.

Libraries that only pictures, tables or FITS files need are imported where they are used, since
`generate.py --dry-run` needs none of them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tqdm import tqdm

from datasets.atomic_files import write_text
from datasets.cutouts.reader import Cutout, CutoutReader, Rejected, write_rejects
from datasets.errors import UserError
from models.samplers import Sampler
from utils.core.run_log import shielded
from utils.generation.conditions import REDSHIFT, SNR, given_conditions, why_out_of_range
from utils.generation.pipeline import Pipeline
from utils.generation.products import Finisher, Products, read_ahead

if TYPE_CHECKING:
    from utils.generation.redshift_catalogue import RedshiftTable
    from utils.plotting.spectrum_panel import Panel

SHEET_GALAXIES = 16  # on one page of the contact sheet
SHEET_PAGES = 20  # at most: of more galaxies the first


@dataclass
class BatchRun:
    """One run over many cutouts.

    Args:
        products: What is written of each galaxy, and where.
        pipeline: The trained networks.
        sampler: How to sample.
        batch: Galaxies at once.
        workers: Processes that draw and write meanwhile; 0: this one does.
        requested: Redshift and S/N, by name: `sampled` from the image, `given`
            with the cutouts (sampled where it is not), or a number for all.
        measured: Measure the spectra for the catalogue.
        redshifts: The table that gives the redshifts, instead of the cutouts.
    """

    products: Products
    pipeline: Pipeline
    sampler: Sampler
    batch: int = 8
    workers: int = 0
    requested: dict[str, str] = field(default_factory=dict)
    measured: bool = True
    redshifts: RedshiftTable | None = None
    rejects: list[Rejected] = field(default_factory=list)
    assumed: Counter = field(default_factory=Counter)
    unlike: int = 0  # cutouts so far that are unlike the training images

    @property
    def folder(self) -> Path:
        """Where everything is written."""
        return self.products.folder

    def open(self, settings: dict[str, Any], resume: bool) -> None:
        """Make the folder, or go on in one that was made with the same settings.

        Raises:
            UserError: the folder holds a run and `resume` is not set, or one with other settings.
        """
        record = self.folder / "generate.json"
        made = next((self.folder / "spectra").glob("*.fits"), None)
        if record.exists() and made:  # else nothing was generated: begin again
            if not resume:
                raise UserError(
                    f"{self.folder} already holds generated spectra: add --resume to go on, or "
                    "name another --output"
                )
            before = _read_settings(record)
            changed = [key for key in settings if settings[key] != before.get(key)]
            if changed:
                raise UserError(
                    f"{record}: the run began with another {', '.join(changed)}; give the same, "
                    "or name another --output"
                )
        for name in ("spectra", "pictures") if self.products.pictures else ("spectra",):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        write_text(record, json.dumps(settings, indent=2) + "\n")

    def run(self, reader: CutoutReader) -> None:
        """Generate for every cutout that has no spectrum yet."""
        with (
            tqdm(total=len(reader), desc="generating", unit="galaxy", disable=None) as bar,
            Finisher(self.products, self.workers, bar.update) as finisher,
        ):
            new = read_ahead(self._new(reader, bar), 2 * self.batch)
            while batch := list(islice(new, self.batch)):
                self._generate(batch, finisher)
        write_rejects(self.folder / "rejected.csv", self.rejects)

    def _new(self, reader: CutoutReader, bar: tqdm) -> Iterator[Cutout]:
        for item in reader:
            if isinstance(item, Cutout):
                if self._done(item):
                    bar.update()
                    continue
                item = self._with_redshift(item)
            if isinstance(item, Rejected):
                self.rejects.append(item)
                bar.update()
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

    def _generate(self, cutouts: Sequence[Cutout], finisher: Finisher) -> None:
        candidates = self.pipeline.generate(
            torch.from_numpy(np.stack([cutout.image for cutout in cutouts])),
            [cutout.name for cutout in cutouts],
            count=self.products.provenance.sampled,
            seed=self.products.provenance.seed,
            sampler=self.sampler,
            given=self._given(cutouts),
        )
        self.unlike += int(candidates.image_flag.sum())
        for number, cutout in enumerate(cutouts):
            finisher.finish(cutout, candidates.of_galaxy(number))

    def _given(self, cutouts: Sequence[Cutout]) -> dict[str, torch.Tensor]:
        """The conditions that `Pipeline.generate` takes as given."""
        unknown = [np.nan] * len(cutouts)
        values = {REDSHIFT: [cutout.redshift for cutout in cutouts], SNR: unknown}
        return given_conditions(self.requested, values)

    def summarise(self, reader: CutoutReader) -> int:
        """Write the catalogue and the contact sheets; returns the number of spectra."""
        from utils.generation.catalogue_output import write_generated_catalogue

        paths = sorted((self.folder / "spectra").glob("*.fits"))
        if paths:
            write_generated_catalogue(self.folder / "catalogue.fits", paths, self.measured)
        if self.products.pictures:
            with shielded("the contact sheets"):
                self._contact_sheets(reader)
        return len(paths)

    def _contact_sheets(self, reader: CutoutReader) -> None:
        from utils.generation.fits_output import read_spectrum

        products = self.products
        done = (item for item in reader if not isinstance(item, Rejected) and self._done(item))
        shown = tqdm(
            islice(done, SHEET_GALAXIES * SHEET_PAGES),
            desc="contact sheets",
            total=min(len(reader), SHEET_GALAXIES * SHEET_PAGES),
            unit="galaxy",
            disable=None,
        )
        paths = ((item, products.spectrum_path(item.name)) for item in shown)
        panels = (products.panel(item, read_spectrum(path)) for item, path in paths)
        panels = (replace(panel, scale=None) for panel in panels)
        number = 1
        while page := list(islice(panels, SHEET_GALAXIES)):
            self._contact_sheet(page, number)
            number += 1

    def _contact_sheet(self, page: Sequence[Panel], number: int) -> None:
        from utils.plotting.plots import contact_sheets, save_figure

        (figure,) = contact_sheets(page, rows=SHEET_GALAXIES // 2)
        save_figure(figure, self.folder / f"contact_sheet_{number:03d}.png")


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
