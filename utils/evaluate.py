"""Evaluate a trained generator on a split of a survey, next to its baselines.

    python -m utils.evaluate --checkpoint runs/generative/best.pt --survey data/survey.h5 \\
        --output evaluation
    python -m utils.evaluate … --regression runs/regression/best.pt --ssp data/mastar
    python -m figures.evaluation evaluation

Every galaxy gets candidates from the generator and from each baseline of
`utils.evaluation.baselines`. Two questions are kept apart: the redshift alone, and the spectrum at
the given (catalogue) redshift, in the rest frame; a third table has both together, the spectrum as
observed. `--template-fit` adds templates fitted to the photometry, `--ablations` the generator with
one of its parts exchanged (`utils.evaluation.ablations`).

The output folder keeps everything slow: an interrupted evaluation continues, and a repeated one is
quick. A cache that belongs to other files, options or code is not used.

    evaluation.json   all metrics;  table.md  the main ones as a table;  details.md  all as tables
    candidates.h5     the generated spectra, and candidates_….h5 those at the given redshift and
                      of ablations;  measured.h5  quantities measured on spectra
    training.h5       features of the training galaxies
    galaxies.h5       errors, quantities and colours of each galaxy, for the figures
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from datasets.command_parser import CommandParser
from datasets.errors import run_command
from datasets.processors import usable_cores
from utils.evaluation.ablations import ABLATIONS
from utils.generation.options import add_device, add_sampling, count, parse_condition


def main(argv: list[str] | None = None) -> int:
    """Parse, evaluate, write; returns the exit status."""
    return run_command(_evaluate, _parser().parse_args(argv))


def _evaluate(options: argparse.Namespace) -> int:
    # after the arguments are parsed: these take seconds to import
    from datasets.atomic_files import write_text
    from utils.evaluation.evaluator import Evaluation
    from utils.evaluation.report import details, summary

    metrics = Evaluation(options).run()
    folder, table = Path(options.output), summary(metrics)
    write_text(folder / "table.md", table)
    write_text(folder / "details.md", details(metrics))
    print(table)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(__doc__, "python -m utils.evaluate")
    parser.add_argument(
        "--checkpoint",
        nargs="+",
        required=True,
        help="trained generator; for the cascade the low and then the super-resolution one",
    )
    parser.add_argument("--survey", required=True, help="survey file with the true spectra")
    parser.add_argument("--output", required=True, help="folder for the results, made if needed")
    parser.add_argument(
        "--training-survey",
        help="survey file whose training split the baselines are made of, to evaluate a generator "
        "on a survey that it was not trained on (default: SURVEY)",
    )
    parser.add_argument("--split", default="test", choices=["validation", "test", "all"])
    parser.add_argument("--galaxies", type=count, help="the first galaxies of the split (all)")
    sampling = parser.add_argument_group("sampling (default: as the checkpoint was trained)")
    add_sampling(sampling)
    _add_conditions(sampling)
    _add_scoring(parser.add_argument_group("scoring"))
    computing = parser.add_argument_group("computing")
    add_device(computing)
    computing.add_argument(
        "--workers", type=int, default=usable_cores(), help="threads that measure (%(default)s)"
    )
    return parser


def _add_conditions(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--redshift", type=parse_condition("redshift"), default="sampled",
        help="sampled given the image, given (the catalogue's), or a number "
        "(%(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--snr",
        type=parse_condition("snr"),
        default="sampled",
        help="likewise for the S/N per pixel (%(default)s)",
    )


def _add_scoring(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--against", default="observed", choices=["observed", "noiseless"],
        help="true spectra, for candidates and baselines alike: the survey's, or the noiseless "
        "ones of a mock survey (%(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--regression", help="checkpoint of `python -m utils.train_regression`, another baseline"
    )
    group.add_argument(
        "--template-fit",
        action="store_true",
        help="another baseline: kcorrect's templates fitted to the cutouts' photometry",
    )
    group.add_argument(
        "--ablations",
        nargs="+",
        default=[],
        choices=ABLATIONS,
        metavar="PART",
        help=f"exchange parts of the generator: {', '.join(ABLATIONS)} (each takes as long "
        "as generating)",
    )
    group.add_argument(
        "--ssp",
        help="folder of stellar populations: also measure σ★, age, metallicity and E(B−V) (slow)",
    )
    group.add_argument("--no-measure", action="store_true", help="score the flux only")


if __name__ == "__main__":
    sys.exit(main())
