"""Errors that a user can mend, and how commands report them."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable

DEBUG = "SPECTRA_DEBUG"  # environment variable: show the traceback of every error
USER_ERROR = 2  # exit status, that of argparse for wrong arguments
CLOSED_PIPE = 141  # exit status, that of a program which the signal SIGPIPE ends


class UserError(Exception):
    """Input, options or files that cannot be used: the message names the file or option and the
    remedy. Commands print it and exit with `USER_ERROR`; any other exception is a bug and shows
    its traceback.

    Attributes:
        status: The exit status of the command.
    """

    status = USER_ERROR


def out_of_memory(error: Exception) -> bool:
    """Whether memory did not suffice, of the host or, for torch, of a GPU."""
    kinds = {kind.__name__ for kind in type(error).__mro__}  # torch may not be imported
    return bool(kinds & {"MemoryError", "OutOfMemoryError"}) or "DefaultCPUAllocator" in str(error)


def _one_line_for_ctrl_c(kind: type[BaseException], *error: object) -> None:
    if issubclass(kind, KeyboardInterrupt):
        print("stopped by Ctrl-C", file=sys.stderr)
    else:
        sys.__excepthook__(kind, *error)


def run_command(command: Callable[..., int], *arguments: object) -> int:
    """Call `command(*arguments)`; print an error that the user can mend in place of its traceback.

    Returns:
        The exit status: that of the command or of the error, or `CLOSED_PIPE` where nobody reads
        the output any more, as with `| head`. Files that cannot be read or written (missing, no
        permission, disk full) and too little memory count as the user's, too.

    Raises:
        KeyboardInterrupt: by Ctrl-C; the interpreter then ends without a traceback, by the signal.
    """
    try:
        status = command(*arguments)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
        return CLOSED_PIPE
    except KeyboardInterrupt:
        if not os.environ.get(DEBUG):
            sys.excepthook = _one_line_for_ctrl_c
        raise
    except Exception as error:
        mendable, lack = isinstance(error, UserError | OSError), out_of_memory(error)
        if not (mendable or lack):
            raise
        if os.environ.get(DEBUG):
            traceback.print_exception(error)
        status = getattr(error, "status", USER_ERROR)
        what = str(error) if mendable else f"out of memory (--debug shows where): {error}"
        print(f"error: {what}" if status == USER_ERROR else what, file=sys.stderr)
        return status
