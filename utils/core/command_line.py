"""Command lines of the training scripts: a configuration from keys and a YAML file."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from jsonargparse import ArgumentParser, DefaultHelpFormatter

from utils.core.config import ConfigType


@dataclass
class Flags:
    """What a call asks for besides the configuration."""

    resume: bool = False
    dry_run: bool = False


def parse(
    kind: type[ConfigType], default_file: str, description: str, argv: list[str] | None
) -> tuple[ConfigType, Flags]:
    """The configuration, and the flags, from the command line `argv` and its YAML file.

    Args:
        kind: `ContrastiveConfig` or `GenerativeConfig`.
        default_file: YAML file that is read if `--config` names no other and it exists.
        description: First lines of `--help`.
        argv: Arguments without the program's name; None takes those of the process.

    Raises:
        SystemExit: an unknown key, a value of the wrong type, a missing file (status 2).
    """
    parser = ArgumentParser(
        description=description, formatter_class=DefaultHelpFormatter, default_env=False
    )
    parser.add_argument(
        "--config", action="config", help=f"YAML file with any of these keys ({default_file})"
    )
    parser.add_argument("--resume", action="store_true", help="go on with the run in run.output")
    parser.add_argument(
        "--dry-run", action="store_true", help="check everything, print the plan, and stop"
    )
    parser.add_class_arguments(kind, fail_untyped=True)
    values = parser.parse_args(_with_default_file(argv, default_file))
    values.pop("config", None)
    flags = Flags(values.pop("resume"), values.pop("dry_run"))
    return kind(**vars(parser.instantiate(values))), flags


def _with_default_file(argv: list[str] | None, default_file: str) -> list[str]:
    """`argv` with `--config default_file` in front, unless it names a file itself."""
    argv = sys.argv[1:] if argv is None else argv
    named = any(a == "--config" or a.startswith("--config=") for a in argv)
    if named or not Path(default_file).exists():
        return argv
    return ["--config", default_file, *argv]
