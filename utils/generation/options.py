"""Options of the commands that generate spectra; light to import, for a quick `--help`."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable

from datasets.command_parser import CommandParser
from utils.generation.ranking import RANKINGS

REQUESTS = ("sampled", "given")  # of a condition, besides a value
SMALLEST = {"redshift": 0.0, "snr": 1e-3}  # value that can be requested; S/N per SDSS pixel
GALAXIES_PER_SHARD = 256
PICTURES = 16  # galaxies of which a picture is drawn
BRIEF = (  # options that `generate.py --help` shows
    "--weights", "--checkpoint", "--output", "--candidates", "--redshift", "--snr", "--bands",
    "--pixel-scale", "--unit", "--shards", "--pictures", "--resume", "--dry-run",
)  # fmt: skip
SAMPLERS = ("adams", "dpm", "ddim", "ancestral")  # as in `utils.core.config.SamplingConfig`


def parse_condition(name: str, given: bool = True) -> Callable[[str], str]:
    """The argparse type of a condition: one of `REQUESTS`, or a value.

    Args:
        name: `redshift` or `snr`.
        given: whether `given`, a value per galaxy, can be requested.
    """
    words = REQUESTS if given else REQUESTS[:1]

    def check(text: str) -> str:
        if text not in words and not float(text) >= SMALLEST[name]:
            raise ValueError(text)
        return text

    check.__name__ = name  # argparse says "invalid NAME value"
    return check


def count_or_all(text: str) -> int:
    """A number as of `count`, or the largest one for `all`."""
    return sys.maxsize if text == "all" else count(text)


def count(text: str) -> int:
    """The argparse type of a number of things: an integer of at least 1."""
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: at least 1 is needed")
    return int(text)


def not_negative_count(text: str) -> int:
    """The argparse type of a number of things that may be none."""
    if int(text) < 0:
        raise argparse.ArgumentTypeError(f"{text}: 0 or more is needed")
    return int(text)


def positive(text: str) -> float:
    """The argparse type of a finite number above 0."""
    if not 0 < float(text) < math.inf:
        raise argparse.ArgumentTypeError(f"{text}: a finite number above 0 is needed")
    return float(text)


def not_negative(text: str) -> float:
    """The argparse type of a finite number of at least 0."""
    if not 0 <= float(text) < math.inf:
        raise argparse.ArgumentTypeError(f"{text}: a finite number of at least 0 is needed")
    return float(text)


def generation_parser(description: str) -> argparse.ArgumentParser:
    """The parser of `generate.py`."""
    parser = CommandParser(description, brief=BRIEF, usage="%(prog)s CUTOUTS --output FOLDER [...]")
    parser.add_argument("cutouts", nargs="+", help="folder, files or globs")
    networks = parser.add_mutually_exclusive_group()
    networks.add_argument(
        "--weights",
        metavar="NAME|FILE",
        help="weights that come with the project, listed by `python -m utils.weights`, or a file "
        "of `python -m utils.export` (default: those that fit the bands of the cutouts)",
    )
    networks.add_argument(
        "--checkpoint",
        nargs="+",
        help="a generator that you have trained; for the cascade the low and then the "
        "super-resolution one",
    )
    parser.add_argument("--output", required=True, help="folder for the results, made new")
    sampling = parser.add_argument_group("sampling (default: as the checkpoint was trained)")
    add_sampling(sampling)
    sampling.add_argument("--keep", type=count, help="candidates written, best first (all)")
    sampling.add_argument(
        "--mean-of-best", type=count, help="candidates, best first, whose mean is written (all)"
    )
    _add_conditions(parser.add_argument_group("conditions"))
    _add_cutouts(parser)
    computing = parser.add_argument_group("computing")
    add_device(computing)
    computing.add_argument("--batch-size", type=count, help="galaxies at once (8; on a GPU 256)")
    computing.add_argument(
        "--workers",
        type=not_negative_count,
        metavar="N",
        help="processes that draw, measure and write meanwhile (as many as cores; 0: none)",
    )
    parser.add_argument(
        "--shards",
        type=count,
        nargs="?",
        const=GALAXIES_PER_SHARD,
        metavar="GALAXIES",
        help="write HDF5 files of so many galaxies each (%(const)s), in place of a FITS file and a "
        "picture for each; several processes of torchrun or srun share them",
    )
    parser.add_argument(
        "--pictures",
        type=count_or_all,
        default=PICTURES,
        metavar="COUNT",
        help="draw the first galaxies (%(default)s), or all; the page index.html shows every one",
    )
    for option, text in {
        "--no-measure": "do not measure the spectra for the catalogue",
        "--no-pictures": "write neither pictures nor the page",
        "--allow-rejects": "exit with 0 although files were rejected",
        "--resume": "go on with a stopped run",
        "--dry-run": "check, print the plan, stop",
    }.items():
        parser.add_argument(option, action="store_true", help=text)
    return parser


def add_sampling(group: argparse._ArgumentGroup) -> None:
    """Add the options that say how candidates are sampled and ranked."""
    group.add_argument("--candidates", type=count, help="candidate spectra per galaxy")
    group.add_argument("--sampler", choices=SAMPLERS, help="solver of the reverse process")
    group.add_argument("--steps", type=count, help="sampling steps of all but ancestral")
    group.add_argument(
        "--guidance",
        type=not_negative,
        help="weight of the image (classifier-free guidance): more than 1 exaggerates it, takes "
        "twice the time, and needs a network trained with --diffusion.image_dropout",
    )
    group.add_argument(
        "--rank",
        default="contrastive",
        choices=RANKINGS,
        help="score by which the best candidate is chosen: similarity to the image, agreement with "
        "its colours, or both (%(default)s)",
    )
    group.add_argument("--seed", type=int, default=1, help="seed of the noise (%(default)s)")


def _add_conditions(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--redshift",
        type=parse_condition("redshift"),
        default="sampled",
        help="sampled from the image for each candidate, given with the cutouts (REDSHIFT in their "
        "headers, or an array redshift), or a number (%(default)s)",
    )
    group.add_argument(
        "--catalogue",
        help="table of redshifts: CSV, ECSV, FITS or VOTable; its rows are matched with cutouts by "
        "a column name or file (alone, or with the cutout's folders), or by an integer "
        "identifier, objid or specobjid",
    )
    group.add_argument("--redshift-column", help="its column of redshifts")
    group.add_argument(
        "--snr",
        type=parse_condition("snr", given=False),
        default="sampled",
        help="signal-to-noise ratio per SDSS pixel: sampled from the image for each candidate, or "
        "a number; inf asks for a spectrum without noise (%(default)s)",
    )


def _add_cutouts(parser: argparse.ArgumentParser) -> None:
    files = parser.add_argument_group("about the cutouts, where their headers do not state it")
    files.add_argument("--bands", help="bands of the files in their order, e.g. u,g,r,i,z")
    files.add_argument("--pixel-scale", type=positive, help="arcsec per pixel of the files")
    files.add_argument(
        "--unit",
        help="flux unit of the files, e.g. nanomaggy or nJy; or one for each of --bands, or of the "
        "network's bands",
    )
    files.add_argument(
        "--zero-point",
        help="AB magnitude of one count, instead; or likewise one for each band: 24.6,25.1,25",
    )


def add_device(group: argparse._ArgumentGroup) -> None:
    """Add the options that say where networks compute, and how precisely."""
    group.add_argument("--device", default="auto", help="auto, cpu, cuda, … (%(default)s)")
    group.add_argument(
        "--precision",
        default="float32",
        choices=["float32", "bfloat16", "auto"],
        help="auto: bfloat16 where that is faster (%(default)s)",
    )


def add_embedding_network(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which network, and where it computes."""
    parser.add_argument(
        "--weights",
        default="mock-ugriz",
        metavar="NAME|FILE",
        help="weights that come with the project, or a checkpoint of either stage (%(default)s)",
    )
    _add_cutouts(parser)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, … (%(default)s)")
