"""Start-up of every command: `python -m tests.benchmarks.startup`.

Prints how long `--help` of every script and command takes, and `generate.py --dry-run` without the
reading of its checkpoint, relative to `python -c "import torch"`. Command and import run in turn,
so that a busy or slow machine moves both; the ratio is the median over all turns. Exits with 1 if a
ratio is above its limit.
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
from statistics import median

from tests.support import ROOT, make_tiny_survey, tiny

REPEATS = 5
HELP_LIMIT, DRY_RUN_LIMIT = 0.3, 1.3  # times the import of torch
SCRIPTS = ("train_contrastive.py", "train_generative.py", "generate.py")
PACKAGES = ("datasets.mock", "utils.original")  # with a `__main__`
READ_CHECKPOINT = """
import sys, time
from utils.core.checkpoints import load_generator
begun = time.perf_counter()
load_generator(sys.argv[1])
print(time.perf_counter() - begun)
"""


def commands() -> Iterator[list[str]]:
    """Arguments of the Python interpreter that start each command."""
    yield from ([script] for script in SCRIPTS)
    yield from (["-m", package] for package in PACKAGES)
    for folder in ("utils", "figures"):
        for path in sorted((ROOT / folder).glob("*.py")):
            if '__name__ == "__main__"' in path.read_text():
                yield ["-m", f"{folder}.{path.stem}"]


def run(*arguments: str) -> tuple[float, str]:
    """Seconds that Python takes with these arguments, and its output."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    begun = time.perf_counter()
    result = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    seconds = time.perf_counter() - begun
    if result.returncode != 0:
        raise RuntimeError(f"{' '.join(arguments)} failed:\n{result.stderr}")
    return seconds, result.stdout


def ratio(*arguments: str, repeats: int = REPEATS, less: float = 0.0) -> float:
    """Seconds of a command, minus `less`, over those of the import of torch."""
    return median(
        (run(*arguments)[0] - less) / run("-c", "import torch")[0] for _ in range(repeats)
    )


def dry_run(repeats: int = REPEATS) -> float:
    """Ratio of `generate.py --dry-run` without reading the checkpoint, with tiny networks."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        survey = make_tiny_survey(folder / "survey.h5")
        towers, generator = folder / "contrastive", folder / "generative"
        common = [f"--data.survey={survey}", "--optimiser.epochs=1"]
        run("train_contrastive.py", tiny("contrastive"), *common, f"--run.output={towers}")
        frozen = f"--diffusion.contrastive={towers / 'best.pt'}"
        run("train_generative.py", tiny("generative"), *common, frozen, f"--run.output={generator}")
        cutouts, best = str(folder / "cutouts"), str(generator / "best.pt")
        run("-m", "utils.export_cutouts", str(survey), cutouts, "--split", "test", "--count", "3")
        reading = median(float(run("-c", READ_CHECKPOINT, best)[1]) for _ in range(repeats))
        arguments = ("generate.py", cutouts, "--checkpoint", best, "--output", str(folder / "out"))
        return ratio(*arguments, "--dry-run", repeats=repeats, less=reading)


def ratios(repeats: int = REPEATS) -> Iterator[tuple[str, float, float]]:
    """Name, ratio and limit of everything that is measured."""
    run("-c", "import torch")  # warms the file cache
    for command in commands():
        name = f"{' '.join(command)} --help"
        yield name, ratio(*command, "--help", repeats=repeats), HELP_LIMIT
    yield "generate.py --dry-run - checkpoint", dry_run(repeats), DRY_RUN_LIMIT


def main(argv: list[str] | None = None) -> int:
    """Print the table; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.startup",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--repeats", type=int, default=REPEATS, help="turns of command and import (%(default)s)"
    )
    options = parser.parse_args(argv)
    slow = False
    print("| command | time / import torch | limit |\n| --- | --- | --- |")
    for name, value, limit in ratios(options.repeats):
        print(f"| `{name}` | {value:.2f} | {limit:g} |", flush=True)
        slow |= value > limit
    return int(slow)


if __name__ == "__main__":
    sys.exit(main())
