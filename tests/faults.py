"""Faults at random moments: is anything lost, and does the run end as if nothing had happened?

    python -m tests.faults --count 30 --seed 1
    python -m tests.faults --only training-contrastive disk-full

Starts the scripts on a tiny survey, kills them (SIGKILL) at random moments, lets files grow no
further than a full disk would, kills worker processes, truncates the survey, makes the loss
explode, interrupts `make demo`; then goes on with --resume. A fault is survived if what is on the
disk can be read, and if the run that goes on ends with the same bits as one that was never
disturbed; otherwise it is lost. Prints a table; exit status 1 if anything is lost. The same seed
gives the same faults, at the same times of the clock.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import torch
from tqdm import tqdm

from datasets.command_parser import CommandParser
from datasets.cutouts.export import export
from datasets.survey import Survey
from tests.support import ROOT, make_tiny_survey, tiny
from utils.core.run_log import MetricsTable

OPTIMISED = ("network", "average", "optimiser", "scheduler")
PATIENCE = 300  # seconds that a run may take
Command = Sequence[str]


@dataclass
class Tally:
    """Faults of one kind."""

    injected: int = 0
    survived: int = 0
    lost: list[str] = field(default_factory=list)

    def count(self, reasons: Sequence[str]) -> None:
        """Add a fault, with what was wrong afterwards."""
        self.injected += 1
        self.survived += not reasons
        self.lost += reasons


class Faults:
    """The faults, in a folder of their own.

    Args:
        folder: For all runs.
        seed: Of the moments.
        count: Faults of a kind.
        epochs: Of the trainings.
    """

    def __init__(self, folder: Path, seed: int, count: int, epochs: int):
        self.folder, self.count, self.epochs = folder, count, epochs
        self.random = random.Random(seed)
        self.survey = make_tiny_survey(folder / "survey.h5")
        self.cutouts = folder / "cutouts"
        export(Survey(self.survey), self.cutouts, "test", 12)
        self.number = 0

    def output(self) -> Path:
        """A new folder for a run."""
        self.number += 1
        return self.folder / f"run_{self.number:03d}"

    def contrastive(self, output: Path, *more: str) -> Command:
        """The command of a training of the towers."""
        survey = f"--data.survey={self.survey}"
        return self._training("contrastive", output, survey, *more)

    def generative(self, output: Path, *more: str) -> Command:
        """The command of a training of both denoisers, with towers that are trained once."""
        towers = self._once("towers", self.contrastive) / "best.pt"
        survey = f"--data.survey={self.survey}"
        given = f"--diffusion.contrastive={towers}"
        return self._training("generative", output, survey, given, *more)

    def _training(self, stage: str, output: Path, *more: str) -> Command:
        options = [tiny(stage), f"--run.output={output}", "--resume", *more]
        options += ["--run.checkpoint_minutes=0.002", f"--optimiser.epochs={self.epochs}"]
        return [f"train_{stage}.py", *options]

    def single_files(self, output: Path, *more: str) -> Command:
        """The command of a generation with a file for each galaxy."""
        checkpoint = self._once("generator", self.generative) / "best.pt"
        options = ["--checkpoint", str(checkpoint), "--output", str(output), "--resume"]
        options += ["--batch-size", "2", "--workers", "1", "--device", "cpu", "--no-measure"]
        return ["generate.py", str(self.cutouts), *options, *more]

    def shards(self, output: Path, *more: str) -> Command:
        """The command of a generation with a file for four galaxies."""
        return [*self.single_files(output, *more), "--shards", "4"]

    def _once(self, name: str, command: Callable[..., Command]) -> Path:
        """The folder of an undisturbed run."""
        output = self.folder / name
        if not (output / "done").exists():
            started = time.monotonic()
            finished(start(command(output)), f"the undisturbed run of {name}")
            (output / "done").write_text(str(time.monotonic() - started))
        return output

    def killed(self, command: Callable[..., Command], compare: Callable) -> Tally:
        """SIGKILL at random moments, again and again until a run comes through; then another."""
        whole, tally = self._once(f"whole_{command.__name__}", command), Tally()
        seconds = float((whole / "done").read_text())
        while tally.injected < self.count:
            output, kills = self.output(), 0
            while True:
                process = start(command(output))
                try:
                    status = process.wait(self.random.uniform(0, seconds))
                except subprocess.TimeoutExpired:
                    if tally.injected + kills < self.count:
                        process.kill()  # this process alone: its workers have to notice
                        process.communicate()
                        kills += 1
                        continue
                    status = process.wait(PATIENCE)
                process.communicate()
                break
            wrong = compare(whole, output) if status == 0 else [f"{output}: status {status}"]
            for _ in range(kills):
                tally.count(wrong)
            shutil.rmtree(output)
        return tally

    def full_disk(self) -> Tally:
        """Files that cannot grow beyond a size: an error, and the run goes on when they can."""
        tally = Tally()
        kinds = [
            (self.contrastive, same_training),
            (self.generative, same_training),
            (self.single_files, same_files),
            (self.shards, same_files),
        ]
        for k in range(self.count):
            command, compare = kinds[k % len(kinds)]
            whole, output = self._once(f"whole_{command.__name__}", command), self.output()
            largest = max(path.stat().st_size for path in whole.rglob("*") if path.is_file())
            process = start(command(output), self.random.randrange(20_000, largest))
            wrong = refused(process, or_done=True)  # where only a picture was too large
            finished(start(command(output)), "the run after a full disk")
            tally.count(wrong + compare(whole, output))
            shutil.rmtree(output)
        return tally

    def dying_worker(self) -> Tally:
        """SIGKILL to the process that draws and writes, or that loads batches."""
        tally = Tally()
        kinds = [
            (self.single_files, same_files, ()),
            (self.contrastive, same_training, ("--data.workers=1", "--data.in_memory=no")),
        ]
        for k in range(self.count):
            command, compare, more = kinds[k % len(kinds)]
            whole = self._once(f"whole_{command.__name__}", command)
            output = self.output()
            process = start(command(output, *more))
            workers: list[int] = []
            deadline = time.monotonic() + PATIENCE
            while not workers and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.05)
                workers = [pid for pid in children(process.pid) if spawned(pid)]
            time.sleep(self.random.uniform(0, 2))
            for pid in workers:
                signal_if_alive(pid)
            wrong = refused(process, or_done=True)
            finished(start(command(output, *more)), "the run after the death of a worker")
            tally.count(wrong + compare(whole, output))
            shutil.rmtree(output)
        return tally

    def truncated(self) -> Tally:
        """A survey that ends early: an error that names it, whichever script reads it."""
        tally, size = Tally(), self.survey.stat().st_size
        contents = self.survey.read_bytes()
        for _ in range(self.count):
            survey = self.folder / "truncated.h5"
            survey.write_bytes(contents[: self.random.randrange(size)])
            output = self.output()
            command = [*self.contrastive(output), f"--data.survey={survey}"]
            tally.count(refused(start(command), names=str(survey)))
        return tally

    def exploding(self) -> Tally:
        """A loss that becomes infinite: an error, and weights that are finite."""
        tally = Tally()
        for _ in range(self.count):
            output, rate = self.output(), 10 ** self.random.uniform(30, 37)
            more = (f"--optimiser.learning_rate={rate}", "--optimiser.gradient_clip=0")
            wrong = refused(start(self.contrastive(output, *more)), names="not finite")
            for path in output.glob("*.pt"):
                weights = torch.load(path, weights_only=True)["network"].values()
                if not all(value.isfinite().all() for value in weights):
                    wrong.append(f"{path}: weights that are not finite")
            tally.count(wrong)
        return tally

    def interrupted_demo(self) -> Tally:
        """Ctrl-C at random moments of `make demo`."""
        tally, targets = Tally(), {}
        for name in ("whole", "stopped"):
            targets[name] = ["make", f"DEMO={self.folder / f'demo_{name}'}", "demo"]
        started = time.monotonic()
        finished(start_make(targets["whole"]), "the undisturbed demo")
        seconds = time.monotonic() - started
        for _ in range(self.count):
            process = start_make(targets["stopped"])
            try:
                process.communicate(timeout=self.random.uniform(0, seconds / 2))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGINT)
                process.communicate(timeout=PATIENCE)
        finished(start_make(targets["stopped"]), "the demo after Ctrl-C")
        whole, stopped = (self.folder / f"demo_{name}" for name in targets)
        wrong = same_files(whole / "spectra", stopped / "spectra")
        tables = [(run / "evaluation" / "table.md").read_text() for run in (whole, stopped)]
        wrong += [] if tables[0] == tables[1] else ["the demo's table differs"]
        for _ in range(self.count):
            tally.count(wrong)
        return tally


def start(command: Command, largest_file: int | None = None) -> subprocess.Popen:
    """Start one of the scripts, with one thread, and files of a limited size."""

    def limit() -> None:
        if largest_file is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))

    return subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=limit,
    )


def start_make(command: Command) -> subprocess.Popen:
    """Start make in a process group, to which a terminal would send Ctrl-C."""
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    )


def finished(process: subprocess.Popen, what: str) -> None:
    """Wait for a run that has to end well."""
    _, errors = process.communicate(timeout=2 * PATIENCE)
    if process.returncode:
        raise RuntimeError(f"{what} ended with status {process.returncode}:\n{errors}")


def refused(process: subprocess.Popen, names: str = "error: ", or_done: bool = False) -> list[str]:
    """What is wrong with the end of a run that should say what it cannot do, without traceback."""
    _, errors = process.communicate(timeout=PATIENCE)
    if process.returncode == 0 and or_done:
        return []
    if process.returncode == 2 and names in errors and "Traceback" not in errors:
        return []
    return [f"status {process.returncode}, {errors[-2000:]}"]


def children(parent: int) -> list[int]:
    """The processes that `parent` has started."""
    path = Path(f"/proc/{parent}/task/{parent}/children")
    try:
        return [int(pid) for pid in path.read_text().split()]
    except OSError:
        return []


def spawned(pid: int) -> bool:
    """Whether a process works for another one: not one that only watches over shared memory."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return b"resource_tracker" not in command


def signal_if_alive(pid: int) -> None:
    """SIGKILL."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def same_training(whole: Path, other: Path) -> list[str]:
    """How two run directories differ: weights, averages, optimiser, the table of the epochs."""
    wrong = []
    for path in sorted(whole.rglob("last.pt")):
        theirs = other / path.relative_to(whole)
        a, b = (torch.load(p, weights_only=True) for p in (path, theirs))
        if not all(equal(a.get(name), b.get(name)) for name in OPTIMISED):
            wrong.append(f"{theirs}: other weights than an undisturbed run's")
        tables = [MetricsTable(p.with_name("metrics.csv")).rows for p in (path, theirs)]
        if [r | {"seconds": 0} for r in tables[0]] != [r | {"seconds": 0} for r in tables[1]]:
            wrong.append(f"{theirs.with_name('metrics.csv')}: other rows")
    return wrong


def equal(a: object, b: object) -> bool:
    """Whether two nested states are the same, bit for bit."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    return a == b


def same_files(whole: Path, other: Path) -> list[str]:
    """How the spectra of two runs of `generate.py` differ, missing and doubled ones included."""
    wrong = []
    for kind in ("spectra", "shards"):
        names = [{p.name for p in (run / kind).glob("[!.]*")} for run in (whole, other)]
        if names[0] != names[1]:
            wrong.append(f"{other}: {sorted(names[0] ^ names[1])} missing or too many")
        for name in names[0] & names[1]:
            paths = [run / kind / name for run in (whole, other)]
            same = same_shard if kind == "shards" else same_bytes
            if not same(*paths):
                wrong.append(f"{paths[1]}: other contents than an undisturbed run's")
    rows = [len((run / "rejected.csv").read_text().splitlines()) for run in (whole, other)]
    return wrong if rows[0] == rows[1] else [*wrong, f"{other}: other rejects"]


def same_bytes(a: Path, b: Path) -> bool:
    """Whether two files are equal."""
    return a.read_bytes() == b.read_bytes()


def same_shard(a: Path, b: Path) -> bool:
    """Whether two shards hold the same spectra and names."""
    with h5py.File(a) as one, h5py.File(b) as two:
        return all((one[n][()] == two[n][()]).all() for n in ("name", "candidates", "sigma"))


def main(argv: list[str] | None = None) -> int:
    """Inject, count, print; returns the exit status."""
    parser = CommandParser(__doc__, "python -m tests.faults")
    parser.add_argument("--count", type=int, default=30, help="faults of every kind (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the moments (%(default)s)")
    parser.add_argument("--epochs", type=int, default=20, help="of the trainings (%(default)s)")
    parser.add_argument("--only", nargs="+", help="kinds of faults (all)")
    parser.add_argument("--json", type=Path, help="write the counts to this file, too")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        faults = Faults(Path(folder), options.seed, options.count, options.epochs)
        kinds: dict[str, Callable[[], Tally]] = {
            "training-contrastive": lambda: faults.killed(faults.contrastive, same_training),
            "training-generative": lambda: faults.killed(faults.generative, same_training),
            "generation-files": lambda: faults.killed(faults.single_files, same_files),
            "generation-shards": lambda: faults.killed(faults.shards, same_files),
            "disk-full": faults.full_disk,
            "dying-worker": faults.dying_worker,
            "truncated-survey": faults.truncated,
            "exploding-loss": faults.exploding,
            "interrupted-demo": faults.interrupted_demo,
        }
        chosen = options.only or list(kinds)
        unknown = [name for name in chosen if name not in kinds]
        if unknown:
            parser.error(f"{unknown[0]} is not one of {', '.join(kinds)}")
        print("fault                 injected  survived  lost", flush=True)
        tallies = {}
        for name in tqdm(chosen, unit="kind", disable=None):
            tally = tallies[name] = kinds[name]()
            lost = tally.injected - tally.survived
            print(f"{name:<20} {tally.injected:>9} {tally.survived:>9} {lost:>5}", flush=True)
    for name, tally in tallies.items():
        for reason in sorted(set(tally.lost)):
            print(f"{name}: {reason}")
    if options.json:
        counts = {name: [tally.injected, tally.survived] for name, tally in tallies.items()}
        options.json.write_text(json.dumps(counts, indent=2) + "\n")
    return int(any(tally.lost for tally in tallies.values()))


if __name__ == "__main__":
    sys.exit(main())
