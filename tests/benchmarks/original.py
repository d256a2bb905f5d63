"""The original's networks in alternation with ours: `python -m tests.benchmarks --original PATH`.

PATH is a clone of github.com/LarsDoorenbos/generate-spectra. Its networks run as they are, with
fresh weights of the sizes in its parameter files; torch.hub, which needs the network, is replaced
by a ResNet of the same shape. It also needs the packages einops and torchvision.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
import yaml
from torch import nn

from datasets.image_transform import ImageTransform
from datasets.mock.build import make_mock
from datasets.spectra import METHOD_GRID, Preparation
from datasets.spectrum_transform import SpectrumTransform
from datasets.survey import Survey
from datasets.survey_dataset import SurveyDataset
from datasets.survey_description import SurveyDescription
from models.contrastive import nt_xent
from models.diffusion import DenoisingLoss
from models.image_encoder import ImageEncoder
from models.samplers import AdamsBashforth2
from models.spectrum_prior import REDSHIFT, SNR
from tests.benchmarks.timing import Row, seconds
from utils.core.checkpoints import TrainedContrastive, TrainedGenerator, load_generator
from utils.core.config import ContrastiveConfig, GenerativeConfig
from utils.core.model_factory import build_contrastive, build_denoiser, build_parameter_denoiser
from utils.core.shipped_weights import shipped_weights
from utils.generation.conditions import image_features
from utils.generation.pipeline import Pipeline

PACKAGES = ("contrastive", "generative")
BATCH = 32  # galaxies of a batch that is loaded
STEPS = 250  # of both of the original's stages
ORIGINAL_ROWS = 4  # spectra in a step of the original's networks, and of our training
GALAXIES, CANDIDATES = 2, 16
LOW, FULL = 563, 4500
RANGES = {REDSHIFT: (0.05, 0.15), SNR: (3.0, 40.0)}


class Backbone(ImageEncoder):
    """A ResNet with the attributes of torchvision's that the original uses."""

    def __init__(self, name: str):
        super().__init__(int(name.removeprefix("resnet")), 3, embedding=1000)
        self.relu, self.maxpool = nn.ReLU(), nn.MaxPool2d(3, 2, 1)


@contextmanager
def original_code(path: Path) -> Iterator[None]:
    """Modules of its packages can be imported inside, and torch.hub gives a `Backbone`.

    The packages themselves also import its trainers, whose other modules have the names of ours.
    """
    hub, torch.hub.load = torch.hub.load, lambda source, name, pretrained: Backbone(name)
    for name in PACKAGES:
        sys.modules[name] = ModuleType(name)
        sys.modules[name].__path__ = [str(path / name)]
    try:
        yield
    finally:
        torch.hub.load = hub


def original_networks(path: Path) -> tuple[nn.Module, nn.Module, nn.Module]:
    """The original's low-resolution, super-resolution and contrastive networks."""
    with original_code(path):
        from contrastive.builder import build_model as build_towers
        from generative.ddpm_builder import build_model as build_unet

        towers, unet = (
            yaml.safe_load((path / f"params_{name}.yml").read_text(encoding="utf-8"))
            for name in ("contrastive", "generative")
        )
        stages = [
            build_unet(
                STEPS,
                unet["beta_schedule"],
                ((5, 64, 64), (length,)),
                unet["conditioning"],
                dataset,
                unet["reduction"],
                unet["spectrumunet"],
            )
            for length, dataset in ((LOW, "datasets.lr_5band"), (FULL, "datasets.sr_5band"))
        ]
        return *stages, build_towers(towers)


def our_generator() -> TrainedGenerator:
    """Our networks of the default sizes, with fresh weights."""
    survey = SurveyDescription(
        tuple("ugriz"), 0.396, 64, "nanomaggy", METHOD_GRID, Preparation(), "none"
    )
    of_towers, config = ContrastiveConfig(), GenerativeConfig()
    spectra = SpectrumTransform("polyphase", "none", 1.0, 0.3)
    network = build_contrastive(of_towers.towers, 5, spectra.channels, spectra.length).eval()
    images = ImageTransform("asinh", np.zeros(5), np.ones(5))
    towers = TrainedContrastive(network, images, spectra, survey, of_towers, {})
    denoiser = build_denoiser(config, network, spectra, RANGES)
    denoiser.prior.noise.fill_(0.01)
    parameters = build_parameter_denoiser(config, network, spectra)
    about = {"conditions": RANGES}
    for module in (network, denoiser, parameters):
        module.requires_grad_(False).eval()
    return TrainedGenerator(denoiser, parameters, spectra, towers, config, about)


def rows(path: Path) -> Iterator[Row]:
    """Costs of the original over ours, per candidate and per training spectrum."""
    low, full, towers = original_networks(path)
    images = torch.randn(ORIGINAL_ROWS, 5, 64, 64)
    noisy = {length: torch.randn(ORIGINAL_ROWS, 1, length) for length in (LOW, FULL)}
    t = torch.full((ORIGINAL_ROWS,), 100.0)

    def step(network: nn.Module, length: int, guide: int | None) -> torch.Tensor:
        upsampled = None if guide is None else noisy[guide]
        return network.unet(noisy[length], images, upsampled, t)

    steps = partial(step, low, LOW, None), partial(step, full, FULL, FULL)
    yield from _candidates(steps, low, full)
    yield from _training(steps, towers, images)
    yield from _loading(path)


def our_generators() -> dict[str, TrainedGenerator]:
    """Ours by the name of their sizes: the default ones, and those of the shipped weights."""
    shipped = {name: load_generator(file) for name, file in shipped_weights().items()}
    return {"default sizes": our_generator(), **shipped}


def _candidates(steps: tuple, *networks: nn.Module) -> Iterator[Row]:
    for network in networks:
        network.eval()
    for name, generator in our_generators().items():
        bands = len(generator.contrastive.survey.bands)
        pipeline = Pipeline([generator], torch.device("cpu"), "auto")
        images = torch.rand(GALAXIES, bands, 64, 64)
        sampler = AdamsBashforth2(generator.config.sampling.steps)

        def generate(pipeline=pipeline, images=images, sampler=sampler) -> object:
            keys = [str(number) for number in range(GALAXIES)]
            return pipeline.generate(images, keys, count=CANDIDATES, seed=1, sampler=sampler)

        with torch.no_grad():
            *original, own = seconds(*steps, generate, repeats=3)
        theirs = STEPS * sum(original) / ORIGINAL_ROWS
        candidate = own / (GALAXIES * CANDIDATES)
        yield Row(
            f"candidate, original's two stages / ours, {name}",
            theirs / candidate,
            f"{theirs:.1f} s / {candidate * 1e3:.1f} ms",
        )


def _training(steps: tuple, towers: nn.Module, images: torch.Tensor) -> Iterator[Row]:
    flux = torch.randn(ORIGINAL_ROWS, LOW)
    theirs = [lambda one=one: one().square().mean().backward() for one in steps]
    theirs.append(lambda: nt_xent(*towers(images, flux)).backward())
    for name, generator in our_generators().items():
        if len(generator.contrastive.survey.bands) != images.shape[1]:
            continue
        *unets, pairs, own, own_pairs = seconds(*theirs, *_our_steps(generator, images), repeats=3)
        yield Row(
            f"training both U-Nets of the original / ours, {name}", sum(unets) / own, "per spectrum"
        )
        yield Row(f"training the towers, original / ours, {name}", pairs / own_pairs, "per pair")


def _our_steps(generator: TrainedGenerator, images: torch.Tensor) -> tuple[Callable, Callable]:
    """A training step of the spectrum diffusion, and one of the towers."""
    denoiser = generator.network.train().requires_grad_(True)
    denoiser.prior.requires_grad_(False)
    network = generator.contrastive.network
    loss, features = DenoisingLoss(denoiser), image_features(generator.contrastive, images)
    spectra = torch.randn(len(images), 8, LOW)
    parameters = torch.zeros(len(images), len(generator.parameters.prior.mean))
    parameters[:, 0], parameters[:, 1] = 0.1, 2.0
    random = torch.Generator()

    def towers_step() -> None:
        network.train().requires_grad_(True)
        nt_xent(*network(images, spectra, features.photometry)).backward()

    return (
        lambda: loss(spectra, features, random, None, parameters).backward(),
        towers_step,
    )


def _loading(path: Path) -> Iterator[Row]:
    """A galaxy of a training batch: from three files, prepared, against from a survey file."""
    sys.modules["datasets.original"] = package = ModuleType("datasets.original")
    package.__path__ = [str(path / "datasets")]
    loader = importlib.import_module("datasets.original.lr_5band")
    wavelength = 10 ** (3.58 + 1e-4 * np.arange(3700))
    with tempfile.TemporaryDirectory() as folder:
        survey = Survey(make_mock(Path(folder) / "survey.h5", 2 * BATCH, 1, progress=False))
        rows = survey.indices("train")[:BATCH]
        files = []
        stored = (survey.read(kind, rows) for kind in ("images", "spectra"))
        for image, flux in zip(*stored, strict=True):
            native = np.interp(wavelength, METHOD_GRID.angstrom, flux)
            items = {"image": image.transpose(1, 2, 0), "flux": native, "index": np.zeros(2)}
            files.append(tuple(f"{folder}/{kind}{len(files)}.npy" for kind in items))
            for file, item in zip(files[-1], items.values(), strict=True):
                np.save(file, item)
        mean, sigma = survey.image_mean, survey.image_sigma
        plain, viewed = (
            loader.ImageSpectrumDatasetRS(
                loader.FileListDataset(files, loader=loader.triple_load),
                transform,
                partial(loader.process_spectrum, "none", 8),
                wavelength,
                fromarray=False,
            )
            for transform in (None, partial(loader.transform_image, 64, mean, sigma))
        )
        held, read = (SurveyDataset(survey, rows, in_memory=memory) for memory in (True, False))
        views = ImageTransform("linear", mean, sigma)
        batch, generator = torch.arange(len(rows)), torch.Generator()
        items = {
            "held in memory": (plain, lambda: held[batch]),
            "read from the file": (plain, lambda: read[batch]),
            "and a random view": (viewed, lambda: views.training(held[batch]["image"], generator)),
        }
        for name, (original, load) in items.items():
            costs = seconds(lambda original=original: [original[n] for n in range(BATCH)], load)
            theirs, own = (1e3 * cost / BATCH for cost in costs)
            note = f"{theirs:.2f} ms / {own:.3f} ms"
            yield Row(f"loading a galaxy, original / ours, {name}", theirs / own, note)
