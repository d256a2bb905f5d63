"""Whole runs of `generate.py` against their networks alone, and their memory.

    python -m tests.benchmarks.generation [--counts 16 100 1000]

The networks alone are `Pipeline.generate` on some of the same cutouts, in this process, before and
after each run: 1 would be a run that takes no time to start, read, measure, draw and write. Memory
is the largest resident size of the process that computes.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import mean

import torch

from datasets.cutouts.export import export
from datasets.mock.build import make_mock
from datasets.processors import use_huge_pages
from datasets.survey import Survey
from tests.benchmarks.timing import Row
from tests.support import ROOT
from utils.generation import load
from utils.generation.pipeline import make_sampler

COUNTS = (16, 100)
WEIGHTS = "mock-ugriz"
ALONE = 64  # galaxies of which the networks are timed alone
VARIANTS = {  # options of a run
    "": (),
    ", no pictures": ("--no-pictures",),
    ", no pictures, nothing measured": ("--no-pictures", "--no-measure"),
}


def networks_alone(images: torch.Tensor) -> float:
    """Seconds per galaxy of the networks on images (N, bands, H, W)."""
    generator = load(WEIGHTS, precision="auto")
    pipeline, sampling = generator.pipeline, generator.pipeline.last.config.sampling
    keys, batch = [str(number) for number in range(len(images))], 8
    begun = None
    for start in (0, *range(0, len(images), batch)):  # the first batch twice: a warm-up
        pipeline.generate(
            images[start : start + batch],
            keys[start : start + batch],
            count=sampling.candidates,
            seed=1,
            sampler=make_sampler(sampling),
        )
        begun = begun or time.perf_counter()
    return (time.perf_counter() - begun) / len(images)


def whole_run(folder: Path, *options: str) -> tuple[float, float]:
    """Seconds and megabytes of `generate.py` on a folder of cutouts."""
    with tempfile.TemporaryDirectory() as output:
        command = ["generate.py", str(folder), "--weights", WEIGHTS, "--precision", "auto"]
        begun = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, *command, "--output", f"{output}/spectra", "--quiet", *options],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise RuntimeError(f"{' '.join(command)} failed")
        return time.perf_counter() - begun, usage.ru_maxrss / 1e3


def rows(counts: tuple[int, ...] = COUNTS) -> Iterator[Row]:
    """A row for each number of cutouts and each of `VARIANTS`."""
    with tempfile.TemporaryDirectory() as name:
        made = make_mock(Path(name) / "survey.h5", max(counts) * 5 // 4 + 40, 3, progress=False)
        survey = Survey(made)
        images = survey.read("images", survey.indices("train")[:ALONE])
        for count in counts:
            cutouts = Path(name) / f"cutouts{count}"
            export(survey, cutouts, "train", count)
            for variant, options in VARIANTS.items():
                before = networks_alone(torch.from_numpy(images))
                took, megabytes = whole_run(cutouts, *options)
                alone = count * mean([before, networks_alone(torch.from_numpy(images))])
                note = f"{took:.1f} s, networks {alone / took:.0%}, {megabytes:.0f} MB"
                yield Row(f"generate.py, {count} cutouts{variant} / networks", took / alone, note)


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.generation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--counts", type=int, nargs="+", default=COUNTS)
    use_huge_pages()  # as the command does
    for row in rows(tuple(parser.parse_args().counts)):
        print(f"{row.name:<70} {row.ratio:>6.2f}   {row.note}", flush=True)


if __name__ == "__main__":
    main()
