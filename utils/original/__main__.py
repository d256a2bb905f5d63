"""Checkpoints, parameters and data of the original code, for use here.

    python -m utils.original convert generative.pt contrastive.pt --survey data/original.h5 \\
        --params params_generative.yml params_contrastive.yml --output runs/converted
    python -m utils.original params params_generative.yml --output params/mine.yml
    python -m utils.original import data/5band/data_files/005-015 data/original.h5 \\
        --catalogue data/5band/005-015catalog.csv

convert: a contrastive checkpoint, or a generative one with the contrastive one that ranks its
candidates, become `contrastive.pt` and `generative.pt`; `generate.py --checkpoint` takes the latter
(of the cascade: the low- and then the super-resolution one). No code in the files is ever run.
params: the old YAML file as one for `train_contrastive.py` or `train_generative.py`, with a list of
the keys that have no counterpart.
import: the folders `images`, `spectra` and `indices` of .npy files as a survey file, with the
published split by default. The DeepDIP cube and spec files are for `python -m utils.build_survey`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from datasets.command_parser import CommandParser
from datasets.errors import UserError, run_command
from datasets.spectra import PREPARATIONS


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    options = _parser().parse_args(argv)
    return run_command(options.run, options)


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(__doc__, "python -m utils.original")
    commands = parser.add_subparsers(required=True, metavar="convert | params | import")

    add = _command(commands, "convert", _convert, "checkpoints of the original")
    add("checkpoint", nargs="+", help="contrastive, or generative and contrastive")
    add(
        "--params",
        nargs="+",
        required=True,
        help="the original's YAML: of the U-Net, towers, or both",
    )
    add("--output", required=True, type=Path, help="folder for the converted checkpoints")
    add("--image-mean", type=float, nargs="+", help="of the training images, a value per band")
    add("--image-sigma", type=float, nargs="+", help="of the training images, a value per band")
    add("--survey", help="survey file to take both from instead; RGB: ImageNet's by default")

    add = _command(commands, "params", _params, "a parameter file of the original")
    add("old", help="params_contrastive.yml or params_generative.yml of the original")
    add("--output", type=Path, help="the new file (default: to the terminal)")

    add = _command(commands, "import", _import, "data in the original's layout")
    add("folder", type=Path, help="folder with images, spectra and indices")
    add("output", type=Path, metavar="OUT.h5", help="survey file to write; never overwritten")
    add("--catalogue", help="CSV with specObjID, ra and dec: exact identifiers and coordinates")
    add("--loglam", type=Path, help="plain array of log10 wavelengths (default: published grid)")
    add("--split", choices=["original", "sky"], default="original", help="(%(default)s)")
    add("--preparation", choices=PREPARATIONS, default="original", help="(%(default)s)")
    return parser


def _command(commands: Any, name: str, run: Any, summary: str) -> Any:
    parser = commands.add_parser(name, help=summary, description=summary)
    parser.set_defaults(run=run)
    return parser.add_argument


def _read_yaml(path: str | Path) -> dict[str, Any]:
    import yaml

    try:
        params = yaml.safe_load(Path(path).read_text())
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not a YAML file: {error}") from error
    if not isinstance(params, dict):
        raise UserError(f"{path} is not a parameter file of the original")
    return params


# The imports of the three commands take seconds: they follow the parsing of the arguments.


def _convert(options: argparse.Namespace) -> int:
    from utils.original.convert import bands_of, convert, image_statistics
    from utils.original.files import read_original

    params = [_read_yaml(path) for path in options.params]
    statistics = image_statistics(
        bands_of(params[0]), options.image_mean, options.image_sigma, options.survey
    )
    states = [read_original(path) for path in options.checkpoint]
    print("\n".join(convert(states, params, statistics, options.output)))
    return 0


def _params(options: argparse.Namespace) -> int:
    import yaml

    from utils.core.config import to_dict
    from utils.original.params import translate, untranslated

    old = _read_yaml(options.old)
    new = yaml.safe_dump(to_dict(translate(old)), sort_keys=False)
    left_out = "\n".join(f"# {key}" for key in untranslated(old))
    text = f"# From {Path(options.old).name} of the original code, without these keys:\n{left_out}"
    if options.output is None:
        print(f"{text}\n\n{new}", end="")
        return 0
    with open(options.output, "x") as file:  # never overwrites
        file.write(f"{text}\n\n{new}")
    print(f"without a counterpart: {', '.join(untranslated(old))}")
    return 0


def _import(options: argparse.Namespace) -> int:
    from utils.original.layout import import_folder

    import_folder(
        options.folder,
        options.output,
        catalogue=options.catalogue,
        loglam=options.loglam,
        split_rule=options.split,
        preparation=options.preparation,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
