"""The weights that come with the project: which there are, what they are, whether they are whole.

python -m utils.weights                    # list
python -m utils.weights describe NAME      # the model card, and the description in the file
python -m utils.weights check              # every file against its digest, and loaded once
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from datasets.atomic_files import write_text
from datasets.command_parser import CommandParser
from datasets.errors import UserError, run_command
from utils.core.shipped_weights import FOLDER, shipped_weights, weights_path
from utils.core.weights_file import read_description

DIGESTS = FOLDER / "digests.json"  # name → first digits of the file's SHA-256


def main(argv: list[str] | None = None) -> int:
    """Parse and print; returns the exit status."""
    parser = CommandParser(__doc__, "python -m utils.weights")
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("list", help="names, bands, training galaxies (default)")
    describe = commands.add_parser("describe", help="model card and description of a file")
    describe.add_argument("name", help="name, or a file of `python -m utils.export`")
    commands.add_parser("check", help="digests, and whether every file loads")
    commands.add_parser("record", help="write the digests of the files")
    options = parser.parse_args(argv)
    actions = {"describe": _describe, "check": _check, "record": _record}
    action = actions.get(options.command, _list)
    return run_command(action, options)


def _list(options: argparse.Namespace) -> int:
    for name, path in shipped_weights().items():
        survey = read_description(path)["about"]["survey"]
        size = path.stat().st_size / 1e6
        bands = " ".join(survey["bands"])
        print(f"{name:<12} {bands:<10} {survey['pixel_scale_arcsec']:g} arcsec/px, {size:.1f} MB")
    print("more about one: python -m utils.weights describe NAME")
    return 0


def _describe(options: argparse.Namespace) -> int:
    path = weights_path(options.name)
    card = path.with_suffix(".md")
    if card.exists():
        print(card.read_text(encoding="utf-8"))
    about = read_description(path)["about"]
    print(json.dumps({name: about[name] for name in ("code", "survey", "config")}, indent=2))
    return 0


def _check(options: argparse.Namespace) -> int:
    """Raises UserError naming the files that are damaged."""
    from utils.core.checkpoints import load_generator  # torch takes seconds to import
    from utils.core.provenance import file_digest

    digests = json.loads(DIGESTS.read_text(encoding="utf-8"))
    for name in digests:
        path: Path = FOLDER / f"{name}.safetensors"
        if not path.exists() or file_digest(path) != digests[name]:
            raise UserError(f"{path}: missing or damaged: get it again, e.g. git checkout {path}")
        load_generator(path)
        print(f"{name}: whole")
    return 0


def _record(options: argparse.Namespace) -> int:
    from utils.core.provenance import file_digest

    digests = {name: file_digest(path) for name, path in shipped_weights().items()}
    write_text(DIGESTS, json.dumps(digests, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
