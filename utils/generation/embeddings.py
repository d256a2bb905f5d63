"""Unit vectors of images and spectra in the contrastive network's common space.

An image and a spectrum of similar galaxies have a large scalar product, and so have two images or
two spectra. An index of N vectors is a table, in memory as in its FITS file, with the columns

    kind                image or spectrum
    name, source, row   of the galaxy, its file, and its place in a file of many (−1: none)
    ra, dec, redshift   NaN where unknown
    identifier          uint64, 0 where unknown
    embedding           (D,) float32, of length 1

and the digest of the network as `TOWERS` in its metadata.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import h5py
import numpy as np
import torch
from astropy.io import fits
from astropy.table import Table, vstack
from tqdm import tqdm

from datasets.cutouts.reader import Cutout, CutoutReader, Rejected, why_unreadable
from datasets.errors import UserError
from datasets.spectra import SpectrumError, offset_and_scale, prepare_spectrum
from datasets.survey import SCHEMA, Survey
from datasets.survey_description import IMAGES, SPECTRA
from utils.core.checkpoints import TrainedContrastive, load_contrastive
from utils.core.device import pick_device
from utils.core.provenance import file_digest
from utils.core.retrieval import embed_images, embed_spectra
from utils.core.shipped_weights import weights_path
from utils.generation.fits_output import write_hdus
from utils.generation.from_options import cutout_format
from utils.generation.input_files import SpectrumBlock, find_files, read_blocks

BATCH = 256
KINDS = ("image", "spectrum")
QUERIES = 256  # compared with all vectors at once
TYPES = {"row": np.int64, "identifier": np.uint64}  # of columns that are not float64
TEXTS = ("name", "source")  # may hold what FITS does not allow: escaped in the file


def write_index(index: Table, path: Path) -> None:
    """Write the FITS table, atomically."""
    table = index.copy(copy_data=False)
    for name in TEXTS:
        table[name] = [text.encode("unicode_escape").decode() for text in index[name].tolist()]
    for name in ("ra", "dec"):
        table[name].unit = "deg"
    hdu = fits.table_to_hdu(table)
    hdu.name = "EMBEDDINGS"
    write_hdus(fits.HDUList([fits.PrimaryHDU(), hdu]), path)


def read_index(path: Path) -> Table:
    """Read what `write_index` wrote.

    Raises:
        UserError: it is another file, or damaged.
    """
    try:
        index = Table.read(path, hdu="EMBEDDINGS", format="fits", mask_invalid=False)
        index.convert_bytestring_to_unicode()
        for name in TEXTS:
            index[name] = [text.encode().decode("unicode_escape") for text in index[name].tolist()]
        index["embedding"] = np.asarray(index["embedding"], np.float32)  # in native order
        index.meta["TOWERS"]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path}: {error}: not a table of embeddings; make one with python -m utils.embed"
        ) from error
    return index


def nearest(vectors: np.ndarray, queries: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The most similar of N unit vectors, exactly.

    Args:
        vectors: (N, D) float32.
        queries: (Q, D) float32.
        count: How many K.

    Returns:
        Indices (Q, K) and scalar products (Q, K), best first.
    """
    own, count = torch.from_numpy(vectors), min(count, len(vectors))
    parts = [(q @ own.T).topk(count) for q in torch.from_numpy(queries).split(QUERIES)]
    indices = torch.cat([part.indices for part in parts]).numpy()
    return indices, torch.cat([part.values for part in parts]).numpy()


class Embedder:
    """Embeds files with the towers of one network.

    Args:
        towers: The network, on its device.
        digest: Of its file.
    """

    def __init__(self, towers: TrainedContrastive, digest: str):
        self.towers, self.digest = towers, digest
        self.skipped: list[Rejected] = []

    @classmethod
    def from_options(cls, options: argparse.Namespace) -> Embedder:
        """With the network that a command line names.

        Raises:
            UserError: it cannot be used.
        """
        path = weights_path(options.weights)
        return cls(load_contrastive(path).to(pick_device(options.device)), file_digest(path))

    def reader(self, files: Sequence[str], options: argparse.Namespace) -> CutoutReader:
        """A reader of cutouts as the towers take them."""
        return CutoutReader(files, cutout_format(self.towers.survey, options))

    def files(self, files: Sequence[str], options: argparse.Namespace) -> Table:
        """The index of surveys and cutouts, or, with `options.spectra`, spectra.

        Raises:
            UserError: none of them can be used.
        """
        surveys = [file for file in files if is_survey(file)]
        others = [file for file in files if file not in surveys]
        parts = []
        for survey in surveys:
            parts += self.survey(survey, getattr(options, "split", None), KINDS)
        if others and options.spectra:
            parts += self.spectra(others)
        elif others:
            parts += self.cutouts(self.reader(others, options))
        if parts:
            return vstack(parts)
        if not self.skipped:
            raise UserError("nothing to embed: these files hold no galaxies")
        first = self.skipped[0]
        hint = "" if options.spectra else "; add --spectra if the files are spectra"
        raise UserError(f"none of the files can be used; {first.path}: {first.reason}{hint}")

    def survey(self, path: str, split: str | None, kinds: Sequence[str]) -> list[Table]:
        """Images and spectra of a survey file; `split` None stands for all of it.

        Raises:
            UserError: its images or spectra are not like those of the towers' survey.
        """
        survey = Survey(path)
        remedy = (
            "choose a network of such a survey, or, for other pixels or units, embed its images as "
            "utils.export_cutouts writes them"
        )
        self.towers.survey.check(survey, *IMAGES, *SPECTRA, remedy=remedy)
        rows = np.arange(len(survey)) if split is None else survey.indices(split)
        parts = []
        for kind in kinds:
            shown = tqdm(range(0, len(rows), BATCH), f"{kind}s", unit="batch", disable=None)
            for first in shown:
                part = rows[first : first + BATCH]
                parts.append(
                    self._table(
                        kind,
                        survey.read("images" if kind == "image" else "spectra", part),
                        name=[f"{Path(path).name}#{row}" for row in part],
                        source=[str(path)] * len(part),
                        row=part,
                        ra=survey.catalogue["ra"][part],
                        dec=survey.catalogue["dec"][part],
                        redshift=survey.catalogue.get("z", np.full(len(survey), np.nan))[part],
                        identifier=survey.catalogue["identifier"][part],
                    )
                )
        return parts

    def cutouts(self, reader: CutoutReader) -> list[Table]:
        """Images of cutouts; those that cannot be used are added to `skipped`."""
        parts = []
        shown = iter(tqdm(self._usable(reader), "images", len(reader), disable=None))
        while batch := list(islice(shown, BATCH)):
            numbers = [cutout.name.partition("#")[2] for cutout in batch]
            parts.append(
                self._table(
                    "image",
                    np.stack([cutout.image for cutout in batch]),
                    name=[cutout.name for cutout in batch],
                    source=[str(cutout.path) for cutout in batch],
                    row=[int(number) if number.isdecimal() else -1 for number in numbers],
                    ra=[cutout.ra for cutout in batch],
                    dec=[cutout.dec for cutout in batch],
                    redshift=[cutout.redshift for cutout in batch],
                    identifier=[cutout.identifier for cutout in batch],
                )
            )
        return parts

    def _usable(self, reader: CutoutReader) -> Iterator[Cutout]:
        for item in reader:
            if isinstance(item, Rejected):
                self.skipped.append(item)
            else:
                yield item

    def spectra(self, paths: Sequence[str]) -> list[Table]:
        """Spectra of files that generate.py or SDSS wrote; others are added to `skipped`."""
        parts = []
        for path in tqdm(find_files(list(paths)), "spectra", unit="file", disable=None):
            try:
                first = 0
                for block in read_blocks(path):
                    parts += self._of_block(block, str(path), first)
                    first += len(block.names)
            except UserError as error:
                self.skipped.append(Rejected(str(path), why_unreadable(error)))
        return parts

    def _of_block(self, block: SpectrumBlock, source: str, first: int) -> list[Table]:
        """Of a file's block, whose first spectrum is number `first` of the file."""
        flux = block.flux if block.flux.ndim == 2 else block.flux[:, 0]
        prepared, kept = [], []
        for number, values in enumerate(flux):
            sigma = None if block.sigma is None else block.sigma[number]
            try:
                prepared.append(self._prepared(block, values, sigma))
                kept.append(number)
            except SpectrumError as error:
                self.skipped.append(Rejected(block.names[number], str(error)))
        if not kept:
            return []
        within = [block.names[number].removeprefix(source) for number in kept]  # "#…" of many
        path, nothing = Path(source), np.full(len(kept), np.nan)
        return [
            self._table(
                "spectrum",
                np.stack(prepared).astype(np.float32),
                name=[f"{path.name}{place}" if place else path.stem for place in within],
                source=[source] * len(kept),
                row=[first + n if place else -1 for n, place in zip(kept, within, strict=True)],
                ra=nothing,
                dec=nothing,
                redshift=block.catalogue_redshift[kept],
                identifier=block.identifier[kept],
            )
        ]

    def _prepared(
        self, block: SpectrumBlock, flux: np.ndarray, sigma: np.ndarray | None
    ) -> np.ndarray:
        """As the towers' survey has its spectra; generated ones are smoothed already."""
        survey = self.towers.survey
        if block.smoothing_sigma_angstrom and np.array_equal(
            block.wavelength_angstrom, survey.grid.angstrom
        ):
            offset, scale = offset_and_scale(flux, block.wavelength_angstrom, survey.preparation)
            return (flux - offset) / scale
        ivar = np.isfinite(flux).astype(float)
        if sigma is not None:
            ivar = np.where(np.isfinite(flux) & (sigma > 0), 1 / sigma**2, 0.0)
        return prepare_spectrum(
            block.wavelength_angstrom,
            np.nan_to_num(flux),
            ivar,
            grid=survey.grid,
            preparation=survey.preparation,
        ).flux

    def _table(self, kind: str, values: np.ndarray, **columns: Sequence) -> Table:
        towers, tensor = self.towers, torch.from_numpy(np.ascontiguousarray(values))
        if kind == "image":
            scale = towers.survey.pixel_scale_arcsec
            vectors = embed_images(towers.network, towers.images, tensor, scale)
        else:
            vectors = embed_spectra(towers.network, towers.spectra, tensor)
        texts = {"kind": [kind] * len(values), **{name: columns.pop(name) for name in TEXTS}}
        numbers = {n: np.asarray(v, TYPES.get(n, np.float64)) for n, v in columns.items()}
        table = Table(texts | numbers, meta={"TOWERS": self.digest})
        table["embedding"] = vectors.numpy().astype(np.float32)
        return table


def is_survey(path: str | Path) -> bool:
    """Whether a file is a survey, which has images and spectra."""
    if not str(path).lower().endswith((".h5", ".hdf5")) or not Path(path).is_file():
        return False
    try:
        with h5py.File(path, "r") as file:
            return file.attrs.get("schema") == SCHEMA
    except OSError:
        return False
