"""The parser of the commands' options, and the options that all commands have."""

from __future__ import annotations

import argparse
import difflib
import io
import os
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from datasets.errors import DEBUG
from datasets.processors import use_huge_pages
from datasets.version import code_version

COMMON = ("version", "quiet", "debug", "help_all")  # names of the options of all commands


class HelpfulParser:
    """Makes the `--help` of a parser fit a screen, and knows what a mistyped option should be."""

    brief: Sequence[str] | None = None  # the options that `--help` shows; None: all

    def format_help(self) -> str:
        """The help, without the options that are not `brief`."""
        if self.brief is None:
            return super().format_help()
        shown = {*self.brief, "--help", "--help-all"}
        helps = [(action, action.help) for action in self._actions]
        for action in self._actions:
            if action.option_strings and not shown & {*action.option_strings}:
                action.help = argparse.SUPPRESS
        try:
            return super().format_help()
        finally:
            for action, text in helps:
                action.help = text

    def error(self, message: str, *more: Any) -> NoReturn:
        """Say what is wrong, and which option was meant."""
        options = [o for action in self._actions for o in action.option_strings]
        super().error(message + _meant(str(message), options), *more)


class CommandParser(HelpfulParser, argparse.ArgumentParser):
    """A parser whose help keeps the line breaks of the description, on any terminal.

    Args:
        description: First lines of `--help`.
        prog: What is typed; by default the name of the script.
        brief: The options that `--help` shows; `--help-all` shows the others, too. None: all.
        options: Others of `argparse.ArgumentParser`.
    """

    def __init__(
        self,
        description: str = "",
        prog: str | None = None,
        brief: Sequence[str] | None = None,
        **options: Any,
    ) -> None:
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(prog=prog, description=description, **options)
        self.brief = brief
        add_common_options(self)

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:
        """As that of argparse; prepares the terminal first."""
        replace_unprintable()
        values = super().parse_args(args, namespace)
        apply_common_options(vars(values))
        return values


class _Version(argparse.Action):
    """Prints the version, which takes git a moment, only when it is asked for."""

    def __init__(self, option_strings: Sequence[str], dest: str, **_: Any):
        help_text = "print the version, with the commit, and stop"
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, help=help_text)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        print(code_version())
        parser.exit()


class _HelpAll(argparse.Action):
    """Prints the help with every option."""

    def __init__(self, option_strings: Sequence[str], dest: str, **_: Any):
        help_text = "explain every option, and stop"
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, help=help_text)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        parser.brief = None
        parser.print_help()
        parser.exit()


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that all commands have; `parser` has an attribute `brief`."""
    if parser.brief is not None:
        parser.add_argument("--help-all", action=_HelpAll)
    parser.add_argument("--version", action=_Version)
    # Where a command has commands, theirs must not overwrite what was said before them.
    default = argparse.SUPPRESS if isinstance(parser, CommandParser) else False
    for name, text in {
        "--quiet": "print only warnings and errors",
        "--debug": "show the traceback of every error",
    }.items():
        parser.add_argument(name, action="store_true", default=default, help=text)


def apply_common_options(values: dict[str, Any]) -> None:
    """Remove the common options from `values`, do what they ask for, and prepare the process for
    the imports to come."""
    use_huge_pages()
    if values.pop("debug", False):
        os.environ[DEBUG] = "1"  # which processes inherit
    if values.pop("quiet", False):
        sys.stdout = _Silence()
        sys.stderr = _NoTerminal(sys.stderr)


class _Silence(io.TextIOBase):
    """A stream that drops what is written to it."""

    def write(self, text: str) -> int:
        return len(text)


class _NoTerminal:
    """A stream on which progress bars see that nobody watches."""

    def __init__(self, stream: Any):
        self._stream = stream

    def isatty(self) -> bool:
        return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _meant(message: str, names: Iterable[str]) -> str:
    """The name that is most similar to one that `message` complains of, as the end of it."""
    wrong = re.search(r"unrecognized arguments: (\S+)|option '([\w.]+)'", message)
    if not wrong:
        return ""
    word = (wrong[1] or wrong[2]).partition("=")[0]
    candidates = {name.rpartition(".")[2] if wrong[2] else name: name for name in names}
    found = difflib.get_close_matches(word, candidates, 1)
    return f"; did you mean {candidates[found[0]]}?" if found else ""


def replace_unprintable() -> None:
    """Print characters that the terminal's encoding lacks as "?" instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
