"""Judge a trained generator on a split of a survey, beside what it has to beat.

    python -m utils.evaluate --checkpoint runs/generative/best.pt --survey data/survey.h5 \\
        --output evaluation
    python -m utils.evaluate … --regression runs/regression/best.pt --ssp data/mastar
    python -m figures.evaluation evaluation

Candidates are drawn for every galaxy and judged together with the baselines of
`utils.evaluation.baselines`, each as candidates for the same galaxies. Everything slow is kept in
the output folder: an interrupted evaluation goes on where it was, and judging again is cheap.

    evaluation.json   every figure;  table.md  for people;  details.md  all of it for people
    candidates.h5     the spectra drawn;  measured.h5  what was measured on them
    galaxies.h5       errors, quantities and colours galaxy by galaxy, for the figures
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from datasets.atomic_files import write_text
from datasets.errors import UserError
from datasets.survey import SurveyError
from utils.evaluation.evaluator import Evaluation
from utils.evaluation.report import details, summary
from utils.generation.options import parse_condition
from utils.generation.ranking import RANKINGS
from utils.spectroscopy.ssp_library import SspError


def main(argv: list[str] | None = None) -> int:
    """Parse, evaluate, write; returns the exit status."""
    options = _parser().parse_args(argv)
    try:
        figures = Evaluation(options).run()
    except (UserError, SurveyError, SspError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    folder = Path(options.output)
    table = summary(figures)
    write_text(folder / "table.md", table)
    write_text(folder / "details.md", details(figures))
    print(table)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m utils.evaluate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--checkpoint",
        nargs="+",
        required=True,
        help="trained generator; for the cascade the low and then the super-resolution one",
    )
    parser.add_argument("--survey", required=True, help="survey file with the true spectra")
    parser.add_argument("--output", required=True, help="folder for the results, made if needed")
    parser.add_argument("--split", default="test", choices=["validation", "test"])
    parser.add_argument("--galaxies", type=int, default=500, help="first galaxies of the split")
    drawing = parser.add_argument_group("drawing (default: as the checkpoint was trained)")
    drawing.add_argument("--candidates", type=int, help="candidates per galaxy")
    drawing.add_argument("--sampler", choices=["dpm", "ddim", "ancestral"])
    drawing.add_argument("--steps", type=int, help="sampling steps")
    drawing.add_argument(
        "--redshift", type=parse_condition("redshift"), default="sampled",
        help="sampled from the image, unconditional, given (the catalogue's), or a "
        "number (%(default)s)",
    )  # fmt: skip
    drawing.add_argument(
        "--snr",
        type=parse_condition("snr"),
        default="sampled",
        help="likewise the S/N per pixel (%(default)s)",
    )
    drawing.add_argument("--guidance", type=float, help="weight of the image")
    drawing.add_argument("--seed", type=int, default=1, help="seed of the noise (%(default)s)")
    judging = parser.add_argument_group("judging")
    judging.add_argument(
        "--rank", default="contrastive", choices=RANKINGS,
        help="what makes a candidate the best: similarity to the image, agreement with its "
        "colours, or both (%(default)s)",
    )  # fmt: skip
    judging.add_argument(
        "--against", default="observed", choices=["observed", "noiseless"],
        help="the truth, for candidates and baselines alike: the survey's spectra, or those of a "
        "mock survey without noise (%(default)s)",
    )  # fmt: skip
    judging.add_argument(
        "--regression",
        help="checkpoint of `python -m utils.train_regression`, judged as a baseline",
    )
    judging.add_argument(
        "--ssp", help="folder of stellar populations: adds σ★, age, metallicity and E(B−V), slowly"
    )
    judging.add_argument("--no-measure", action="store_true", help="judge the flux only")
    computing = parser.add_argument_group("computing")
    computing.add_argument("--device", default="auto", help="auto, cpu, cuda, … (%(default)s)")
    computing.add_argument(
        "--precision", default="float32", choices=["float32", "bfloat16", "auto"]
    )
    computing.add_argument(
        "--workers", type=int, default=os.cpu_count(), help="threads that measure (%(default)s)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
