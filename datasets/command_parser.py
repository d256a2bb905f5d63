"""The parser of the commands' options."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any


class CommandParser(argparse.ArgumentParser):
    """A parser whose help keeps the line breaks of the description, on any terminal.

    Args:
        description: First lines of `--help`.
        prog: What is typed; by default the name of the script.
        options: Others of `argparse.ArgumentParser`.
    """

    def __init__(self, description: str = "", prog: str | None = None, **options: Any) -> None:
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(prog=prog, description=description, **options)

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:
        """As that of argparse; prepares the terminal first."""
        replace_unprintable()
        return super().parse_args(args, namespace)


def replace_unprintable() -> None:
    """Print characters that the terminal's encoding lacks as "?" instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
