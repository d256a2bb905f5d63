"""Errors that a user can mend, and how commands report them."""

from __future__ import annotations

import sys
from collections.abc import Callable

USER_ERROR = 2  # exit status, that of argparse for wrong arguments


class UserError(Exception):
    """Input, options or files that cannot be used: the message names the file or option and the
    remedy. Commands print it and exit with `USER_ERROR`; any other exception is a bug and shows
    its traceback."""


def run_command(command: Callable[..., int], *arguments: object) -> int:
    """Call `command(*arguments)`; print an error that the user can mend in place of its traceback.

    Returns:
        The exit status: that of the command, or `USER_ERROR`. Files that cannot be read or written
        (missing, no permission, disk full) count as the user's, too.
    """
    try:
        return command(*arguments)
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return USER_ERROR
