"""Unit vectors of images and spectra in the contrastive network's common space.

An image and a spectrum of similar galaxies have a large scalar product, and so have two images or
two spectra. A file of embeddings is a FITS table: `name`, `kind` (image or spectrum), `source` and
`row` (file, and place in it), `ra`, `dec`, `identifier`, `redshift`, `embedding` (D,).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path

import h5py
import numpy as np
import torch
from astropy.io import fits
from astropy.table import Table
from tqdm import tqdm

from datasets.cutouts.reader import Cutout, CutoutReader, Rejected, why_unreadable
from datasets.errors import UserError
from datasets.spectra import SpectrumError, prepare_spectrum
from datasets.survey import SCHEMA, Survey
from datasets.survey_description import IMAGES, SPECTRA
from utils.core.checkpoints import TrainedContrastive
from utils.core.retrieval import embed_images, embed_spectra
from utils.generation.fits_output import write_hdus
from utils.generation.input_files import SpectrumBlock, find_files, read_blocks

BATCH = 256
KINDS = ("image", "spectrum")
QUERIES = 256  # compared with all vectors at once


@dataclass(frozen=True)
class Embeddings:
    """N vectors and what they belong to.

    Args:
        vectors: (N, D) float32, of length 1.
        kind: (N,) `image` or `spectrum`.
        name, source, row: (N,) of the galaxy, its file, and its place in a file of many (−1: none).
        ra, dec, redshift: (N,) NaN where unknown.
        identifier: (N,) uint64, 0 where unknown.
        towers: Digest of the network.
    """

    vectors: np.ndarray
    kind: np.ndarray
    name: np.ndarray
    source: np.ndarray
    row: np.ndarray
    ra: np.ndarray
    dec: np.ndarray
    redshift: np.ndarray
    identifier: np.ndarray
    towers: str

    def __len__(self) -> int:
        return len(self.vectors)

    def select(self, chosen: np.ndarray) -> Embeddings:
        """Some of them, by index or mask."""
        columns = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "towers"}
        return Embeddings(**{n: v[chosen] for n, v in columns.items()}, towers=self.towers)

    def write(self, path: Path) -> None:
        """Write the FITS table, atomically."""
        table = Table(
            {f.name: getattr(self, f.name) for f in fields(self) if f.name not in HEADER},
        )
        table["embedding"] = self.vectors
        for name in ("ra", "dec"):
            table[name].unit = "deg"
        hdu = fits.table_to_hdu(table)
        hdu.name, hdu.header["TOWERS"] = "EMBEDDINGS", self.towers
        write_hdus(fits.HDUList([fits.PrimaryHDU(), hdu]), path)

    @classmethod
    def read(cls, path: Path) -> Embeddings:
        """Read what `write` wrote.

        Raises:
            UserError: it is another file, or damaged.
        """
        try:
            with fits.open(path) as hdus:
                hdu = hdus["EMBEDDINGS"]
                columns = {name: np.array(hdu.data[name]) for name in hdu.columns.names}
                columns = {n: v.astype(v.dtype.newbyteorder("=")) for n, v in columns.items()}
                vectors = columns.pop("embedding")
                return cls(vectors, **columns, towers=hdu.header["TOWERS"])
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{path}: {error}: not a table of embeddings; make one with python -m utils.embed"
            ) from error

    def nearest(self, queries: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """The most similar of these, exactly.

        Args:
            queries: (Q, D) unit vectors.
            count: How many K.

        Returns:
            Indices (Q, K) and scalar products (Q, K), best first.
        """
        own, count = torch.from_numpy(self.vectors), min(count, len(self))
        parts = [(q @ own.T).topk(count) for q in torch.from_numpy(queries).split(QUERIES)]
        indices = torch.cat([part.indices for part in parts]).numpy()
        return indices, torch.cat([part.values for part in parts]).numpy()


HEADER = ("vectors", "towers")  # fields that are no columns of their name


def joined(parts: Sequence[Embeddings]) -> Embeddings:
    """Embeddings of one network, one after the other.

    Raises:
        UserError: there are none.
    """
    if not parts:
        raise UserError("nothing to embed: no usable galaxy in these files")
    names = [f.name for f in fields(Embeddings) if f.name != "towers"]
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    return Embeddings(**columns, towers=parts[0].towers)


class Embedder:
    """Embeds files with the towers of one network.

    Args:
        towers: The network, on its device.
        digest: Of its file.
    """

    def __init__(self, towers: TrainedContrastive, digest: str):
        self.towers, self.digest = towers, digest
        self.skipped: list[Rejected] = []

    def survey(self, path: str, split: str | None, kinds: Sequence[str]) -> list[Embeddings]:
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
                values = survey.read("images" if kind == "image" else "spectra", part)
                identifier = survey.catalogue["identifier"][part]
                parts.append(
                    self._embeddings(
                        kind,
                        values,
                        [f"{Path(path).name}#{row}" for row in part],
                        source=[str(path)] * len(part),
                        row=part,
                        ra=survey.catalogue["ra"][part],
                        dec=survey.catalogue["dec"][part],
                        redshift=survey.catalogue.get("z", np.full(len(survey), np.nan))[part],
                        identifier=identifier.astype(np.uint64),
                    )
                )
        return parts

    def cutouts(self, reader: CutoutReader) -> list[Embeddings]:
        """Images of cutouts; those that cannot be used are added to `skipped`."""
        parts = []
        shown = iter(tqdm(self._usable(reader), "images", len(reader), disable=None))
        while batch := list(islice(shown, BATCH)):
            parts.append(
                self._embeddings(
                    "image",
                    np.stack([cutout.image for cutout in batch]),
                    [cutout.name for cutout in batch],
                    source=[str(cutout.path) for cutout in batch],
                    row=[int(c.name.rpartition("#")[2]) if "#" in c.name else -1 for c in batch],
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

    def spectra(self, paths: Sequence[str]) -> list[Embeddings]:
        """Spectra of files that generate.py or SDSS wrote; others are added to `skipped`."""
        parts = []
        for path in tqdm(find_files(list(paths)), "spectra", unit="file", disable=None):
            try:
                for block in read_blocks(path):
                    parts += self._of_block(block, str(path))
            except UserError as error:
                self.skipped.append(Rejected(str(path), why_unreadable(error)))
        return parts

    def _of_block(self, block: SpectrumBlock, source: str) -> Iterable[Embeddings]:
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
        nothing = np.full(len(kept), np.nan)
        return [
            self._embeddings(
                "spectrum",
                np.stack(prepared).astype(np.float32),
                [Path(block.names[number]).stem for number in kept],
                source=[source] * len(kept),
                row=kept if len(flux) > 1 else [-1] * len(kept),
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
            first, last = survey.preparation.window_angstrom
            window = (block.wavelength_angstrom >= first) & (block.wavelength_angstrom < last)
            return flux / np.nanmedian(flux[window])
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

    def _embeddings(
        self, kind: str, values: np.ndarray, names: Sequence[str], **columns: Sequence
    ) -> Embeddings:
        towers, tensor = self.towers, torch.from_numpy(np.ascontiguousarray(values))
        if kind == "image":
            scale = towers.survey.pixel_scale_arcsec
            vectors = embed_images(towers.network, towers.images, tensor, scale)
        else:
            vectors = embed_spectra(towers.network, towers.spectra, tensor)
        kinds = {"row": np.int64, "identifier": np.uint64}
        return Embeddings(
            vectors.numpy().astype(np.float32),
            np.array([kind] * len(names)),
            np.array(names),
            np.array(columns.pop("source")),
            **{name: np.array(v, kinds.get(name, np.float64)) for name, v in columns.items()},
            towers=self.digest,
        )


def is_survey(path: str | Path) -> bool:
    """Whether a file is a survey, which has images and spectra."""
    if not str(path).lower().endswith((".h5", ".hdf5")) or not Path(path).is_file():
        return False
    try:
        with h5py.File(path, "r") as file:
            return file.attrs.get("schema") == SCHEMA
    except OSError:
        return False
