"""Traces of our own computations, so that moving code can be seen to change nothing.

    python -m tests.golden_traces        # writes tests/golden/traces.json anew

Both stages train for 20 steps of one batch on the tiny survey; the generator draws candidates for
some of its cutouts and is evaluated. Everything on one thread.
"""

from __future__ import annotations

import csv
import json
import platform
import sys
import tempfile
from pathlib import Path
from zlib import crc32

import numpy as np
import torch

import generate
import train_contrastive
import train_generative
from datasets.cutouts.export import export
from datasets.survey import Survey
from tests.support import make_tiny_survey, tiny
from utils import evaluate
from utils.generation.fits_output import read_spectrum

FILE = Path(__file__).parent / "golden" / "traces.json"
STEPS = 20
COLUMNS = ("loss", "gradient_norm", "validation_loss")


def make_traces(folder: Path) -> dict[str, dict[str, list[float] | float]]:
    """Losses of both stages, candidates, and the figures of an evaluation, made in `folder`."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _make_traces(folder)
    finally:
        torch.set_num_threads(threads)


def _make_traces(folder: Path) -> dict[str, dict[str, list[float] | float]]:
    survey = make_tiny_survey(folder / "survey.h5")
    towers, generator = folder / "contrastive", folder / "generative"
    batch = len(Survey(survey).indices("train"))  # a step is an epoch, a row of the table
    common = [
        f"--data.survey={survey}",
        f"--optimiser.batch_size={batch}",
        f"--optimiser.epochs={STEPS}",
    ]
    first = [tiny("contrastive"), *common, f"--run.output={towers}"]
    second = [tiny("generative"), *common, f"--run.output={generator}"]
    assert train_contrastive.main(first) == 0
    assert train_generative.main([*second, f"--diffusion.contrastive={towers / 'best.pt'}"]) == 0
    best = str(generator / "best.pt")
    export(Survey(survey), folder / "cutouts", "test", 3)
    arguments = [str(folder / "cutouts"), "--checkpoint", best, "--output", str(folder / "spectra")]
    assert generate.main([*arguments, "--device", "cpu", "--no-pictures"]) == 0
    evaluation = ["--checkpoint", best, "--survey", str(survey), "--galaxies", "6"]
    evaluation += ["--output", str(folder / "evaluation"), "--device", "cpu", "--workers", "1"]
    assert evaluate.main(evaluation) == 0
    return {
        "contrastive": _training(towers),
        "generative": _training(generator),
        "candidates": _candidates(folder / "spectra" / "spectra"),
        "evaluation": _evaluation(folder / "evaluation" / "evaluation.json"),
    }


def _training(run: Path) -> dict[str, list[float]]:
    with open(run / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name]) for row in rows if row[name]] for name in COLUMNS}


def _candidates(folder: Path) -> dict[str, list[float]]:
    spectra = {path.stem: read_spectrum(path) for path in sorted(folder.iterdir())}
    found = {}
    for name, spectrum in spectra.items():
        found[f"{name} flux"] = np.ravel(spectrum.candidates[:, ::500]).tolist()
        found[f"{name} scores"] = np.ravel(spectrum.scores).tolist()
        found[f"{name} redshifts"] = np.ravel(spectrum.redshifts).tolist()
    return found


def _evaluation(path: Path) -> dict[str, float]:
    """Every number of an evaluation, by its path in the file."""
    values: dict[str, float] = {}

    def walk(name: str, value: object) -> None:
        if isinstance(value, dict | list):
            items = value.items() if isinstance(value, dict) else enumerate(value)
            for key, item in items:
                walk(f"{name}/{key}", item)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            values[name] = float(value)

    for key, value in json.loads(path.read_text()).items():
        if key not in ("identity", "sources"):
            walk(key, value)
    return values


def processor() -> str:
    """The properties of the processor that the last bits of a sum depend on."""
    file = Path("/proc/cpuinfo")  # of Linux
    text = file.read_text() if file.exists() else f"model name: {platform.machine()}"
    pairs = (line.partition(":") for line in text.splitlines())
    about = {name.strip(): value.strip() for name, _, value in pairs}
    names = ("model name", "cpu family", "model", "stepping")
    flags = crc32(about.get("flags", "").encode())
    capability = torch.backends.cpu.get_cpu_capability()
    return f"{', '.join(about.get(name, '') for name in names)}, {capability}, flags {flags:08x}"


def main() -> None:
    """Write the file."""
    with tempfile.TemporaryDirectory() as folder:
        traces = {"processor": processor(), "torch": torch.__version__}
        traces |= make_traces(Path(folder))
    FILE.write_text(json.dumps(traces, indent=0) + "\n")
    print(f"{FILE}: {sum(len(part) for part in traces.values() if isinstance(part, dict))} entries")


if __name__ == "__main__":
    sys.exit(main())
