"""Command lines of the training scripts: a configuration from keys and a YAML file."""

from __future__ import annotations

import argparse
import math
import sys
import time
from dataclasses import dataclass

import yaml
from jsonargparse import ArgumentParser, DefaultHelpFormatter
from jsonargparse.typing import PositiveFloat

from datasets.command_parser import (
    COMMON,
    HelpfulParser,
    add_common_options,
    apply_common_options,
    replace_unprintable,
)
from datasets.errors import USER_ERROR, UserError
from utils.core.config import ConfigType, to_dict


@dataclass
class Flags:
    """What a call asks for besides the configuration."""

    resume: bool = False
    dry_run: bool = False
    deadline: float = math.inf  # of `time.monotonic()`, which all processes of a machine share


BRIEF = ("--config", "--resume", "--dry-run", "--time-limit", "--print-config")  # in `--help`


class _Parser(HelpfulParser, ArgumentParser):
    brief = BRIEF


class _HelpFormatter(DefaultHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Types and defaults of every key, below the description with its own line breaks."""


def parse(
    kind: type[ConfigType], default_file: str | None, description: str, argv: list[str] | None
) -> tuple[ConfigType, Flags]:
    """The configuration, and the flags, from the command line `argv` and its YAML file.

    Args:
        kind: The configuration of a training script.
        default_file: YAML file that is read if `--config` names no other and it exists.
        description: First lines of `--help`.
        argv: Arguments without the program's name; None takes those of the process.

    Raises:
        SystemExit: an unknown key, a value of the wrong type or out of range, a contradiction, a
            missing file (status 2).
    """
    replace_unprintable()
    argv = sys.argv[1:] if argv is None else argv
    parser = _parser(kind, default_file, description, argv)
    values = parser.parse_args(argv)
    values.pop("config", None)
    common = {name: values.pop(name, None) for name in COMMON}
    apply_common_options(common)
    deadline = time.monotonic() + 60 * values.pop("time_limit")
    flags = Flags(values.pop("resume"), values.pop("dry_run"), deadline)
    print_config = values.pop("print_config")
    try:
        config = kind(**vars(parser.instantiate(values)))
    except UserError as error:
        parser.exit(USER_ERROR, f"error: {error}\n")
    if print_config:
        print(yaml.safe_dump(to_dict(config), sort_keys=False, allow_unicode=True), end="")
        parser.exit()
    return config, flags


def _parser(
    kind: type[ConfigType], default_file: str | None, description: str, argv: list[str]
) -> ArgumentParser:
    # A file named by --config takes the place of the default file: who edits the latter does not
    # change the set-ups in `params/`. As shipped it repeats the defaults of `utils.core.config`.
    named = default_file is None or any(a.partition("=")[0] == "--config" for a in argv)
    parser = _Parser(
        description=description,
        epilog="keys: --SECTION.KEY VALUE, or a YAML file with sections of keys; --help-all\n"
        "explains every one, and --print-config prints them all as YAML",
        print_config=None,
        formatter_class=_HelpFormatter,
        usage="%(prog)s [--config FILE] [--resume] [--dry-run] [--time-limit MINUTES] "
        "[--SECTION.KEY VALUE ...]",
        default_env=False,
        default_config_files=[] if named else [default_file],
    )
    read = f" instead of {default_file}" if default_file else ""
    parser.add_argument(
        "--config",
        action="config",
        metavar="FILE",
        help=f"YAML file with any of the keys below, read{read}; may be repeated, and a later "
        "argument overrides an earlier one",
    )
    parser.add_argument("--resume", action="store_true", help="go on with the run in run.output")
    parser.add_argument(
        "--dry-run", action="store_true", help="check everything, print the plan, and stop"
    )
    parser.add_argument(
        "--time-limit",
        type=PositiveFloat,
        default=math.inf,
        metavar="MINUTES",
        help="save after so many minutes and exit with status 75, to go on with --resume; the "
        "signals SIGTERM and SIGUSR1 do the same (no limit)",
    )
    parser.add_argument(
        "--print-config", action="store_true", help="print every key with its value, and stop"
    )
    add_common_options(parser)
    parser.add_class_arguments(kind, fail_untyped=True)
    return parser
