"""Benchmarks: `make bench`, or `python -m tests.benchmarks [--device cuda]`.

Every row is a ratio of two times that are measured in turn, so that a busy or slow machine moves
both. The floor of the first rows is the number of floating-point operations over the rate of a
large matrix product on the same threads. The last rows, of `tests.benchmarks.startup`, have limits.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from torch.utils.flop_counter import FlopCounterMode

from datasets.spectra import prepare_spectrum
from datasets.survey import Survey
from datasets.survey_dataset import SurveyDataset
from models.conditioning import FrozenCondition, ImageFeatures
from models.diffusion import Denoiser, DenoisingLoss, NoiseSchedule
from models.generator import generate_candidates
from models.image_encoder import ImageEncoder
from models.samplers import AdamsBashforth2, Ancestral
from models.unet import SpectrumUNet
from tests.benchmarks import startup
from tests.support import make_tiny_survey

REPEATS = 5
ROWS = 32
MATRIX = 2048


def seconds(*functions: Callable[[], object]) -> list[float]:
    """Median seconds of each function, called in turn after a warm-up."""
    for function in functions:
        function()
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(REPEATS):
        for function, of_function in zip(functions, times, strict=True):
            begun = time.perf_counter()
            function()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            of_function.append(time.perf_counter() - begun)
    return [median(of_function) for of_function in times]


def operations(function: Callable[[], object]) -> float:
    """Floating-point operations of one call."""
    with FlopCounterMode(display=False) as counter:
        function()
    return float(counter.get_total_flops())


def row(name: str, ratio: float, note: str) -> None:
    """Print one line of the table."""
    print(f"{name:<58} {ratio:>8.2f}   {note}")


def small_denoiser(channels: int, device: torch.device) -> Denoiser:
    """The network of the demo, for `channels` spectrum channels."""
    unet = SpectrumUNet(channels, channels, 32, (1, 2, 3, 4), (3,), 128)
    return Denoiser(FrozenCondition(128, 64, 10, 128), unet, NoiseSchedule()).to(device)


def encoded(images: torch.Tensor) -> ImageFeatures:
    """Features of images (B, 5, 64, 64) from a tower of the demo's size, with fresh weights."""
    tower = ImageEncoder(18, 5, embedding=64, width=16).to(images.device).eval()
    return ImageFeatures.of(tower, images, torch.zeros(len(images), 10, device=images.device))


def floor(device: torch.device) -> None:
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
    print(f"matrix product: {rate / 1e9:.0f} GFLOP/s on {torch.get_num_threads()} threads")
    for name, time_taken, function in (
        ("sampling step", inference, infer),
        ("training step", training, train),
    ):
        least = operations(function) / rate
        row(f"{name} / its floor", time_taken / least, f"{time_taken / ROWS * 1e3:.2f} ms a row")


def sampling(device: torch.device) -> None:
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
    row("float32 / bfloat16, 10 steps", whole / half, "8 candidates of 2 galaxies")
    row("encoding at every step / once", again / whole, "the original encodes at every step")
    few, many = seconds(sample(AdamsBashforth2(5)), sample(_Short(50)))
    row("ancestral 250 / Adams-Bashforth 10", many / few * (250 / 50) / (10 / 5), "steps scaled")


class _Short(Ancestral):
    """The first steps of the chain: its cost per step."""

    def __init__(self, steps: int):
        object.__setattr__(self, "steps", steps)

    def times(self, total: int) -> list[int]:
        return super().times(total)[: self.steps]


def resolution(device: torch.device) -> None:
    """4500 px as eight phases against 4500 px directly."""
    pairs = []
    for channels, length in ((8, 563), (1, 4500)):
        denoiser = small_denoiser(channels, device)
        clean = torch.randn(4, channels, length, device=device)
        features = encoded(torch.randn(4, 5, 64, 64, device=device))
        loss, generator = DenoisingLoss(denoiser), torch.Generator(device)
        pairs.append(lambda a=(loss, clean, features, generator): a[0](*a[1:]).backward())
    phases, direct = seconds(*pairs)
    row("training at 4500 px directly / as 8 phases", direct / phases, "same widths")


def data() -> None:
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
    row("preparing at each epoch / reading the survey file", prepare / read, "32 galaxies")


def start_up() -> None:
    """Commands against the import of torch."""
    for name, ratio, limit in startup.ratios():
        row(name, ratio, f"at most {limit:g}{'' if ratio <= limit else ': TOO SLOW'}")


def main() -> None:
    """Run all benchmarks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu", help="cpu, cuda, … (%(default)s)")
    device = torch.device(parser.parse_args().device)
    floor(device)
    sampling(device)
    resolution(device)
    data()
    start_up()


if __name__ == "__main__":
    main()
