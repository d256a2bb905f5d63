"""Generation for an hour, with faults: does its memory grow, is a galaxy lost or doubled?

    python -m tests.soak --minutes 60

Generates spectra for mock cutouts, among them files that cannot be used, with the weights that come
with the project: half of the time into shards, half into single files with pictures that other
processes draw. SIGKILL ends the process at random moments, and it goes on with --resume. Prints the
slope of the resident memory of the process and those it started, over each life of more than a few
minutes, without its beginning; exit status 1 if it grows, or if a galaxy is missing or twice.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np
from tqdm import tqdm

from datasets.command_parser import CommandParser
from datasets.survey import Survey
from tests.faults import children, start
from tests.support import ROOT

GALAXIES = 100_000  # more than can be generated in the time
BROKEN = 50  # every so many cutouts one that cannot be used
LARGEST_GROWTH = 50.0  # MB per hour, beyond twice its error
SETTLING = 60.0  # seconds after which the memory of a process should be constant
SHORTEST = 240.0  # seconds of a life whose slope says something


def write_cutouts(path: Path, seed: int) -> None:
    """A cube of mock cutouts, which repeat with other noise; some are not finite."""
    mock = path.with_name("mock.h5")
    given = [sys.executable, "-m", "datasets.mock", str(mock), "--count", "300"]
    subprocess.run(given, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    survey = Survey(mock)
    images = survey.read("images", np.arange(len(survey)))
    generator = np.random.default_rng(seed)
    with h5py.File(path, "w") as file:
        file.attrs["bands"], file.attrs["unit"] = ",".join(survey.bands), "nanomaggy"
        file.attrs["pixel_scale_arcsec"] = survey.pixel_scale_arcsec
        shape = (GALAXIES, *images.shape[1:])
        cube = file.create_dataset("images", shape, np.float16, chunks=(100, *shape[1:]))
        for first in tqdm(range(0, GALAXIES, 100), desc="cutouts", disable=None):
            part = images[np.arange(first, first + 100) % len(images)]
            part = part + generator.normal(0, 0.01, part.shape)
            part[::BROKEN] = np.nan
            cube[first : first + 100] = part


def resident_mb(pid: int) -> float:
    """Memory of a process and of those that it started."""
    total = 0
    for process in (pid, *children(pid)):
        try:
            lines = Path(f"/proc/{process}/status").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
    return total / 1024


def slope(seconds: np.ndarray, memory: np.ndarray) -> tuple[float, float]:
    """Growth in MB per hour and its error, from means over tenths of the time."""
    tenths = np.array_split(np.arange(len(seconds)), 10)
    x, y = (np.array([values[part].mean() for part in tenths]) for values in (seconds, memory))
    (growth, _), covariance = np.polyfit(x, y, 1, cov=True)
    return 3600 * growth, 3600 * float(np.sqrt(covariance[0, 0]))


def live(command: list[str], seconds: float) -> tuple[np.ndarray, np.ndarray]:
    """Run for some time, then kill; the times and the memory once a second."""
    process, began, samples = start(command), time.monotonic(), []
    while process.poll() is None and time.monotonic() - began < seconds:
        time.sleep(1)
        samples.append((time.monotonic() - began, resident_mb(process.pid)))
    if process.poll() is not None:
        raise RuntimeError(f"ended with {process.returncode}: {process.stderr.read()}")
    process.kill()
    process.communicate()
    times, memory = np.array(samples).T
    return times, memory


def main(argv: list[str] | None = None) -> int:
    """Generate, kill, measure; returns the exit status."""
    parser = CommandParser(__doc__, "python -m tests.soak")
    parser.add_argument("--minutes", type=float, default=60, help="in all (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the moments (%(default)s)")
    options = parser.parse_args(argv)
    chance, bad = random.Random(options.seed), []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_cutouts(folder / "cutouts.h5", options.seed)
        for mode in ("shards", "files"):
            left, lives = 30 * options.minutes, 0
            given = [str(folder / "cutouts.h5"), "--weights", "mock-ugriz", "--device", "cpu"]
            given += ["--output", str(folder / mode), "--candidates", "4", "--steps", "4"]
            given += ["--no-measure", "--resume", "--allow-rejects"]
            given += ["--shards", "64"] if mode == "shards" else ["--workers", "1"]
            while left > 0:
                seconds = min(left, chance.choice([15, 45, 0.4 * 30 * options.minutes]))
                times, memory = live(["generate.py", *given], seconds)
                left, lives = left - seconds, lives + 1
                if seconds < SHORTEST:
                    continue
                settled = times > SETTLING
                growth, error = slope(times[settled], memory[settled])
                made = sum(1 for _ in (folder / mode).rglob("*.fits")) or 64 * sum(
                    1 for _ in (folder / mode).rglob("shard_*.h5")
                )
                print(
                    f"{mode}: {seconds:.0f} s, {made} galaxies so far, largest {memory.max():.0f} "
                    f"MB, growth {growth:+.1f} ± {error:.1f} MB per hour",
                    flush=True,
                )
                if growth - 2 * error > LARGEST_GROWTH:
                    bad.append(f"{mode}: memory grows")
            print(f"{mode}: {lives} lives, each ended by SIGKILL", flush=True)
        bad += lost(folder)
    print("\n".join(bad) or "nothing lost, nothing doubled")
    return int(bool(bad))


def lost(folder: Path) -> list[str]:
    """What is wrong with the results: gaps before the last galaxy, doubled or damaged files."""
    from utils.generation.fits_output import read_spectrum
    from utils.generation.shards import read_rejects, read_shards

    names = [int(spectrum.name.rpartition("#")[2]) for spectrum in read_shards(folder / "shards")]
    rejected = {int(r.path.rpartition("#")[2]) for r in read_rejects(folder / "shards")}
    wrong = []
    if len(names) != len(set(names)) or rejected != {*range(0, max(names) + 1, BROKEN)}:
        wrong.append("shards: galaxies are doubled, or other ones rejected than broken")
    if sorted({*names} | rejected) != list(range(len(names) + len(rejected))):
        wrong.append("shards: galaxies are missing")
    done = {
        int(read_spectrum(path).name.rpartition("#")[2])
        for path in (folder / "files" / "spectra").glob("*.fits")
    }
    missing = {*range(max(done))} - done
    if len(missing - {*range(0, max(done), BROKEN)}) > 64:  # more than those under way
        wrong.append("files: galaxies are missing")
    return wrong


if __name__ == "__main__":
    sys.exit(main())
