"""Benchmarks: `make bench`, or `python -m tests.benchmarks [--device cuda] [--original PATH]`.

Every row is a ratio of two times that are measured in turn, so that a busy or slow machine moves
both. The floor of the first rows is the number of floating-point operations over the rate of a
large matrix product on the same threads. Whole runs of `generate.py` take minutes
(`tests.benchmarks.generation`). The last rows, of `tests.benchmarks.startup`, have limits.
`--original` adds the networks of a clone of the original code. The table is also written as JSON,
with the machine, its matrix products and its memory bandwidth of the same run.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from datasets.processors import use_huge_pages
from datasets.spectra import prepare_spectrum
from datasets.survey import Survey
from datasets.survey_dataset import SurveyDataset
from models.conditioning import FrozenCondition, ImageFeatures
from models.diffusion import Denoiser, DenoisingLoss, NoiseSchedule
from models.generator import generate_candidates
from models.image_encoder import ImageEncoder
from models.samplers import AdamsBashforth2, Ancestral
from models.unet import SpectrumUNet
from tests.benchmarks import generation, startup
from tests.benchmarks.timing import Row, seconds
from tests.support import make_tiny_survey

ROWS = 32
MATRIX = 2048
COPIED = 2**26  # numbers


def operations(function: Callable[[], object]) -> float:
    """Floating-point operations of one call."""
    with FlopCounterMode(display=False) as counter:
        function()
    return float(counter.get_total_flops())


def small_denoiser(channels: int, device: torch.device) -> Denoiser:
    """The network of the demo, for `channels` spectrum channels."""
    unet = SpectrumUNet(channels, channels, 32, (1, 2, 3, 4), (3,), 128)
    return Denoiser(FrozenCondition(128, 64, 10, 128), unet, NoiseSchedule()).to(device)


def encoded(images: torch.Tensor) -> ImageFeatures:
    """Features of images (B, 5, 64, 64) from a tower of the demo's size, with fresh weights."""
    tower = ImageEncoder(18, 5, embedding=64, width=16).to(images.device).eval()
    return ImageFeatures.of(tower, images, torch.zeros(len(images), 10, device=images.device))


def floor(device: torch.device) -> Iterator[Row]:
    """Training and sampling steps against the rate of a matrix product."""
    denoiser = small_denoiser(8, device)
    clean = torch.randn(ROWS, 8, 563, device=device)
    features = encoded(torch.randn(ROWS, 5, 64, 64, device=device))
    tokens = denoiser.condition.tokens(features).detach()
    loss, generator = DenoisingLoss(denoiser), torch.Generator(device)
    t = torch.zeros(ROWS, dtype=torch.long, device=device)
    matrix = torch.randn(MATRIX, MATRIX, device=device)

    @torch.no_grad()
    def infer() -> torch.Tensor:
        return denoiser(clean, t, tokens)

    def train() -> None:
        loss(clean, features, generator).backward()

    product, inference, training = seconds(lambda: matrix @ matrix, infer, train)
    rate = 2 * MATRIX**3 / product
    for name, time_taken, function in (
        ("sampling step", inference, infer),
        ("training step", training, train),
    ):
        least = operations(function) / rate
        yield Row(
            f"{name} / its floor", time_taken / least, f"{time_taken / ROWS * 1e3:.2f} ms a row"
        )


def sampling(device: torch.device) -> Iterator[Row]:
    """Savings by the sampler, the precision, and encoding images once."""
    denoiser = small_denoiser(8, device).eval().requires_grad_(False)
    images = torch.randn(2, 5, 64, 64, device=device)
    tokens = denoiser.condition.tokens(encoded(images))

    def sample(sampler: object, bfloat16: bool = False) -> Callable[[], object]:
        return lambda: generate_candidates(
            denoiser, sampler, tokens, ["a", "b"], (8, 563), count=8, seed=1, bfloat16=bfloat16
        )

    def encode_each_step() -> None:
        for _ in range(10):
            denoiser.condition.tokens(encoded(images.repeat_interleave(8, 0)))
        sample(AdamsBashforth2(10))()  # and the tokens once, which is a fraction of it

    whole, half, again = seconds(
        sample(AdamsBashforth2(10)), sample(AdamsBashforth2(10), True), encode_each_step
    )
    yield Row("float32 / bfloat16, 10 steps", whole / half, "8 candidates of 2 galaxies")
    yield Row("encoding at every step / once", again / whole, "the original encodes at every step")
    few, many = seconds(sample(AdamsBashforth2(5)), sample(_Short(50)))
    yield Row(
        "ancestral 250 / Adams-Bashforth 10", many / few * (250 / 50) / (10 / 5), "steps scaled"
    )


class _Short(Ancestral):
    """The first steps of the chain: its cost per step."""

    def __init__(self, steps: int):
        object.__setattr__(self, "steps", steps)

    def times(self, total: int) -> list[int]:
        return super().times(total)[: self.steps]


def resolution(device: torch.device) -> Iterator[Row]:
    """4500 px as eight phases against 4500 px directly."""
    pairs = []
    for channels, length in ((8, 563), (1, 4500)):
        denoiser = small_denoiser(channels, device)
        clean = torch.randn(4, channels, length, device=device)
        features = encoded(torch.randn(4, 5, 64, 64, device=device))
        loss, generator = DenoisingLoss(denoiser), torch.Generator(device)
        pairs.append(lambda a=(loss, clean, features, generator): a[0](*a[1:]).backward())
    phases, direct = seconds(*pairs)
    yield Row("training at 4500 px directly / as 8 phases", direct / phases, "same widths")


def data() -> Iterator[Row]:
    """Reading prepared spectra against preparing them each time."""
    with tempfile.TemporaryDirectory() as folder:
        survey = Survey(make_tiny_survey(Path(folder) / "tiny.h5"))
        dataset = SurveyDataset(survey, survey.indices("train"))
        native = survey.grid.angstrom
        flux = survey.read("spectra", survey.indices("train"))[0]
        rows = torch.arange(32)
        read, prepare = seconds(
            lambda: dataset[rows],
            lambda: [prepare_spectrum(native, flux) for _ in rows],
        )
    yield Row("preparing at each epoch / reading the survey file", prepare / read, "32 galaxies")


def start_up() -> Iterator[Row]:
    """Commands against the import of torch."""
    for name, ratio, limit in startup.ratios():
        yield Row(name, ratio, f"at most {limit:g}{'' if ratio <= limit else ': TOO SLOW'}")


def machine(device: torch.device) -> dict[str, Any]:
    """What the rows were measured on."""
    matrix, copied = torch.randn(MATRIX, MATRIX, device=device), torch.randn(COPIED, device=device)
    product, copy = seconds(lambda: matrix @ matrix, copied.clone)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor()
    return {
        "device": f"{device.type} {name}".strip(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "matrix_product_gflops": 2 * MATRIX**3 / product / 1e9,
        "copy_gigabytes_per_second": 2 * copied.nbytes / copy / 1e9,
    }


def benchmarks(device: torch.device, original: Path | None) -> Iterator[Row]:
    """All rows."""
    yield from floor(device)
    yield from sampling(device)
    yield from resolution(device)
    yield from data()
    if device.type == "cpu":
        yield from generation.rows()
    if original is not None:
        from tests.benchmarks.original import rows  # needs packages of the original

        yield from rows(original)
    yield from start_up()


def main() -> None:
    """Run all benchmarks, print the table and write it."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda, … (%(default)s)")
    parser.add_argument("--original", type=Path, help="clone of the original code")
    parser.add_argument("--output", type=Path, default="benchmarks.json", help="%(default)s")
    options = parser.parse_args()
    use_huge_pages()  # as the commands do; for the original, too
    device = torch.device(options.device)
    about, table = machine(device), []
    print(json.dumps(about, indent=2))
    for row in benchmarks(device, options.original):
        print(f"{row.name:<58} {row.ratio:>8.2f}   {row.note}", flush=True)
        table.append(row._asdict())
        options.output.write_text(json.dumps(about | {"rows": table}, indent=2) + "\n")


if __name__ == "__main__":
    main()
