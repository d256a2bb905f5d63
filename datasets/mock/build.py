"""The mock survey as a file: blocks of galaxies made in parallel processes and written in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from datasets.constants import SDSS_BANDS, SDSS_PIXEL_ARCSEC
from datasets.cutouts.formats import PICTURE_BANDS, PICTURE_UNIT
from datasets.errors import UserError
from datasets.mock.catalogue import TYPES
from datasets.mock.conditions import DEFAULT, Shift
from datasets.mock.simulate import BLOCK, simulate
from datasets.process_pool import process_pool
from datasets.processors import usable_cores
from datasets.spectra import METHOD_GRID, Preparation
from datasets.survey_writer import SurveyWriter

MAX_SEED = 2**31 - 1
BLOCKS_AHEAD = 3  # per process: bounds the memory when the disk is slower than the processes
PROVENANCE = {
    "kind": "mock survey",
    "description": "simulated galaxies with known truth, see datasets/mock",
    "data": "templates of kcorrect (Blanton & Roweis 2007), SDSS filters of speclite",
    "schema": 2,
    "types": TYPES,
}


def make_mock(
    path: str | Path,
    count: int,
    seed: int,
    workers: int | None = None,
    progress: bool = True,
    overwrite: bool = False,
    colour: bool = False,
    shift: Shift = DEFAULT,
) -> Path:
    """Write a mock survey of `count` galaxies.

    Galaxy i of a seed is the same, bit for bit, whatever `count` and `workers` are, and has
    the same spectrum in a survey of colour pictures.

    Args:
        path: The survey file.
        count: ≥ 1.
        seed: 0 … 2³¹ − 1.
        workers: Processes; 1 for this process only, by default one per core.
        progress: Show a bar.
        overwrite: Replace an existing file.
        colour: Store pictures in R, G, B instead of ugriz images.
        shift: How the survey differs from the default one.

    Returns:
        The path.

    Raises:
        UserError: `path` exists and `overwrite` is not set, a number is out of range, or a process
            was killed.
    """
    if count < 1 or not 0 <= seed <= MAX_SEED:
        raise UserError(f"count {count} must be at least 1, seed {seed} within 0 … {MAX_SEED}")
    firsts = range(0, count, BLOCK)
    workers = min(workers or usable_cores(), len(firsts))
    provenance = {**PROVENANCE, "seed": seed, "count": count, "shift": shift.to_dict()}
    writer = SurveyWriter(
        path,
        PICTURE_BANDS if colour else SDSS_BANDS,
        SDSS_PIXEL_ARCSEC,
        METHOD_GRID,
        Preparation(),
        image_unit=PICTURE_UNIT if colour else "nanomaggy",
        provenance=provenance,
        overwrite=overwrite,
    )
    with writer, tqdm(total=count, unit="galaxy", disable=not progress) as bar:
        for first, block in zip(firsts, _blocks(seed, firsts, workers, colour, shift), strict=True):
            rows = min(BLOCK, count - first)
            block = _cut(block, rows)
            writer.append(**block)
            bar.update(rows)
    return Path(path)


def _blocks(seed: int, firsts: range, workers: int, colour: bool, shift: Shift) -> Iterator[dict]:
    """Blocks of galaxies in order, of which memory holds a few at a time."""
    if workers == 1:
        yield from (simulate(seed, first, colour, shift) for first in firsts)
        return
    with process_pool(workers) as pool:
        waiting = deque()
        for first in firsts:
            waiting.append(pool.submit(simulate, seed, first, colour, shift))
            if len(waiting) > BLOCKS_AHEAD * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _cut(block: dict, rows: int) -> dict:
    return {
        name: _cut(value, rows) if isinstance(value, dict) else value[:rows]
        for name, value in block.items()
    }
