"""How well images that are unlike the training's are noticed: ROC curves and a table.

    python -m figures.novelty survey.h5 --weights mock-ugriz --output novelty.png \\
        --examples examples.png

Takes test galaxies of a mock survey in u g r i z, and impostors made of them: stars, blank sky,
artefacts, bands in a wrong order, wrong scales, other surveys. The area under a curve is the
probability that an impostor has a smaller p-value (`models.novelty`) than a galaxy. `--examples`
draws the spectra that the generator makes of some impostors.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from datasets.command_parser import CommandParser
from datasets.errors import UserError, run_command
from utils.plotting.style import new_figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from utils.core.checkpoints import TrainedGenerator

GALAXIES = 600
BATCH = 200
SEED = 7
EXAMPLES = (
    "stars", "blank sky", "bright column", "half of the image missing",
    "bands in reverse order", "flux × 0.1",
)  # fmt: skip
OTHER_SURVEY = 99  # seed of the mock galaxies of other surveys
STARS = (14.5, 17.7)  # r magnitudes, those of the survey's galaxies
SHIFTS = {
    "seeing × 1.5": {"seeing": 1.5}, "exposure ÷ 5": {"depth": 0.2},
    "redshifts 0.17 to 0.20": {"redshifts": (0.17, 0.20)},
    "redshifts 0.01 to 0.04": {"redshifts": (0.01, 0.04)},
}  # fmt: skip
PANELS = {  # of the curves
    "no galaxy, or a damaged image": (
        "stars", "blank sky", "bright column", "half of the image missing", "r band missing",
    ),
    "bands, scale or centre mistaken": (
        "bands in reverse order", "g and r exchanged", "i and z exchanged", "pixels half as large",
        "pixels twice as large", "flux in µJy (× 3.6)", "flux × 0.1", "off-centre by 6 arcsec",
    ),
    "another survey": tuple(SHIFTS),
}  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """Parse, test, write; returns the exit status."""
    parser = CommandParser(__doc__, "python -m figures.novelty")
    parser.add_argument("survey", help="mock survey in u g r i z")
    parser.add_argument("--weights", default="mock-ugriz", help="name or file (%(default)s)")
    parser.add_argument("--output", required=True, help="picture: .png, .pdf or .svg")
    parser.add_argument("--examples", type=Path, help="another picture, of spectra of impostors")
    return run_command(_write, parser.parse_args(argv))


def _write(options: argparse.Namespace) -> int:
    # after the arguments are parsed: these take seconds to import
    from datasets.constants import SDSS_BANDS
    from datasets.survey import Survey
    from utils.core.checkpoints import load_generator
    from utils.core.shipped_weights import weights_path
    from utils.plotting.plots import save_figure

    generator, survey = load_generator(weights_path(options.weights)), Survey(options.survey)
    if survey.bands != SDSS_BANDS or generator.contrastive.survey.bands != SDSS_BANDS:
        raise UserError(f"{options.survey} and {options.weights}: both must have u g r i z")
    if generator.novelty is None:
        raise UserError(f"{options.weights}: trained before images were tested: train it again")
    galaxies = survey.read("images", survey.indices("test")[:GALAXIES])
    own = p_values(generator, galaxies)
    curves, examples = {}, {}
    print(f"{len(own)} test galaxies: {np.mean(own <= generator.novelty.limit):.3f} flagged")
    print(f"{'impostor':<28} {'area':>6} {'flagged':>8}")
    for name, images in impostors(galaxies):
        p = p_values(generator, images)
        curves[name] = p
        if name in EXAMPLES:
            examples[name] = images[0]
        area = area_under_curve(own, p)
        print(f"{name:<28} {area:6.3f} {np.mean(p <= generator.novelty.limit):8.2f}")
    save_figure(draw(own, curves, generator.novelty.limit), Path(options.output))
    if options.examples:
        save_figure(draw_examples(examples, options.weights), options.examples)
    return 0


def p_values(generator: TrainedGenerator, images: np.ndarray) -> np.ndarray:
    """The p-value (N,) of images (N, bands, H, W)."""
    import torch

    from utils.generation.conditions import image_features

    parts = torch.from_numpy(images).float().split(BATCH)
    features = (image_features(generator.contrastive, part) for part in parts)
    return torch.cat([generator.novelty(part) for part in features]).numpy()


def area_under_curve(galaxies: np.ndarray, others: np.ndarray) -> float:
    """The probability that one of `others` has a smaller p-value than one of `galaxies`; ties
    count half."""
    from scipy.stats import mannwhitneyu

    return mannwhitneyu(galaxies, others).statistic / (len(galaxies) * len(others))


def impostors(galaxies: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Names and images (n, 5, 64, 64) of what is not a galaxy of the survey.

    Args:
        galaxies: images (n, 5, 64, 64) in nanomaggies per pixel.
    """
    from datasets.mock.conditions import Shift
    from datasets.mock.images import SKY_NANOMAGGY
    from datasets.mock.simulate import BLOCK, simulate

    rng = np.random.default_rng(SEED)
    sky = rng.normal(size=galaxies.shape) * SKY_NANOMAGGY[:, None, None]
    yield "stars", sky + _stars(len(galaxies), rng)
    yield "blank sky", sky
    yield "bright column", _with_column(galaxies, rng)
    yield "half of the image missing", np.where(np.arange(64) < 32, galaxies, 0.0)
    yield "r band missing", galaxies * np.array([1, 1, 0, 1, 1])[:, None, None]
    yield "bands in reverse order", galaxies[:, ::-1].copy()
    yield "g and r exchanged", galaxies[:, [0, 2, 1, 3, 4]]
    yield "i and z exchanged", galaxies[:, [0, 1, 2, 4, 3]]
    yield "pixels half as large", _magnified(galaxies)
    yield "pixels twice as large", _reduced(galaxies, sky)
    yield "flux in µJy (× 3.6)", 3.631 * galaxies
    yield "flux × 0.1", 0.1 * galaxies
    yield "off-centre by 6 arcsec", np.roll(galaxies, (12, 9), (2, 3))
    blocks = range(0, len(galaxies), BLOCK)
    for name, values in SHIFTS.items():
        shifted = [simulate(OTHER_SURVEY, i, False, Shift(**values))["images"] for i in blocks]
        yield name, np.concatenate(shifted)


def _stars(count: int, rng: np.random.Generator) -> np.ndarray:
    """Point sources (n, 5, 64, 64) of the magnitudes of galaxies and the colours of stars."""
    from datasets.constants import SDSS_PIXEL_ARCSEC
    from datasets.mock.images import FWHM, SEEING_ARCSEC

    y, x = np.mgrid[:64, :64] - 31.5
    sigma = (SEEING_ARCSEC / FWHM / SDSS_PIXEL_ARCSEC)[:, None, None]
    psf = np.exp(-0.5 * (x**2 + y**2) / sigma**2) / (2 * np.pi * sigma**2)
    r, g_r = rng.uniform(*STARS, count), rng.uniform(0.2, 1.4, count)
    bands = (r + 0.5 + 2 * g_r, r + g_r, r, r - 0.1 - 0.4 * g_r, r - 0.15 - 0.65 * g_r)
    return 10 ** (0.4 * (22.5 - np.stack(bands, axis=1)))[:, :, None, None] * psf


def _with_column(galaxies: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    images = galaxies.copy()
    images[np.arange(len(images)), :, :, rng.integers(20, 44, len(images))] += 50
    return images


def _magnified(galaxies: np.ndarray) -> np.ndarray:
    return galaxies[:, :, 16:48, 16:48].repeat(2, axis=2).repeat(2, axis=3) / 4


def _reduced(galaxies: np.ndarray, sky: np.ndarray) -> np.ndarray:
    images = sky.astype(galaxies.dtype)
    shape = *galaxies.shape[:2], 32, 2, 32, 2
    images[:, :, 16:48, 16:48] = galaxies.reshape(shape).sum(axis=(3, 5))
    return images


def draw_examples(impostors: dict[str, np.ndarray], weights: str) -> Figure:
    """Impostors (bands, H, W), by name, beside what the generator makes of them."""
    from utils.generation import load
    from utils.plotting.plots import contact_sheets
    from utils.plotting.spectrum_panel import Panel

    generator = load(weights)
    spectra = generator(np.stack(list(impostors.values())), names=list(impostors))
    panels = [
        Panel(
            f"{name}: {_p(spectrum.image_p_value)}" + ", flagged" * spectrum.image_flag,
            image,
            generator.bands,
            spectrum.wavelength_angstrom,
            spectrum.candidates,
            spectrum.mean,
            spectrum.sigma,
        )
        for (name, image), spectrum in zip(impostors.items(), spectra, strict=True)
    ]
    (figure,) = contact_sheets(panels)
    return figure


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


@styled
def draw(galaxies: np.ndarray, others: dict[str, np.ndarray], limit: float) -> Figure:
    """ROC curves: share of impostors flagged against the share of galaxies flagged, and where the
    flag's limit lies."""
    figure = new_figure(4.1)
    thresholds = np.unique(galaxies)
    wrong = [np.mean(galaxies <= p) for p in thresholds]
    for axes, (title, names) in zip(
        figure.subplots(1, len(PANELS), sharey=True), PANELS.items(), strict=True
    ):
        for number, name in enumerate(names):
            shares = [np.mean(others[name] <= p) for p in thresholds]
            label = f"{name}: {area_under_curve(galaxies, others[name]):.3f}"
            axes.plot(wrong, shares, ":" if number > 5 else "-", lw=1.2, label=label)
        axes.plot(wrong, wrong, color="0.7", lw=0.6)
        axes.axvline(np.mean(galaxies <= limit), color="0.5", lw=0.6)
        axes.set(title=title, xscale="log", xlim=(1 / len(galaxies), 1), ylim=(0, 1.02))
        axes.set_xlabel("galaxies that are flagged")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), title="area under the curve")
    figure.axes[0].set_ylabel("impostors that are flagged")
    return figure


if __name__ == "__main__":
    sys.exit(main())
