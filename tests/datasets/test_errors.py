"""What commands do with errors, terminals and pipes."""

import io
import os
import signal
import subprocess
import sys

import pytest
import torch

from datasets.command_parser import replace_unprintable
from datasets.errors import CLOSED_PIPE, DEBUG, USER_ERROR, UserError, run_command
from tests.support import ROOT


def failing(error):
    raise error


@pytest.mark.parametrize("error", [UserError("a.fits: no"), OSError("disk full")])
def test_errors_of_users_are_printed_without_a_traceback(capsys, error):
    assert run_command(failing, error) == USER_ERROR
    assert capsys.readouterr().err == f"error: {error}\n"


@pytest.mark.parametrize(
    "error", [MemoryError("9 GiB"), torch.OutOfMemoryError("9 GiB"),
              RuntimeError("DefaultCPUAllocator: 9 GiB")],
)  # fmt: skip
def test_too_little_memory_is_an_error_of_the_user_s(capsys, error):
    assert run_command(failing, error) == USER_ERROR
    assert capsys.readouterr().err == f"error: out of memory (--debug shows where): {error}\n"


def test_bugs_show_their_traceback():
    with pytest.raises(ZeroDivisionError):
        run_command(failing, ZeroDivisionError())


@pytest.mark.parametrize("debug", ["", "1"])
def test_ctrl_c_shows_a_line_unless_debugging(debug):
    code = (
        "import signal, sys\nfrom datasets.errors import run_command\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "sys.exit(run_command(signal.raise_signal, signal.SIGINT))"
    )
    stopped = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | {DEBUG: debug},
        capture_output=True,
        text=True,
    )
    assert stopped.returncode == -signal.SIGINT
    assert ("Traceback" in stopped.stderr) == bool(debug)
    assert (stopped.stderr == "stopped by Ctrl-C\n") != bool(debug)


def test_a_closed_pipe_ends_quietly():
    code = (
        "import sys\nfrom datasets.errors import run_command\n"
        "sys.exit(run_command(lambda: print('x\\n' * 100_000) or 0))"
    )
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, **pipes) as command:
        command.stdout.readline()
        command.stdout.close()
        assert command.stderr.read() == b""
    assert command.returncode == CLOSED_PIPE


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1"])
def test_characters_that_a_terminal_lacks_are_replaced(monkeypatch, encoding):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    replace_unprintable()
    print("4000 Å, 0.4″, → α")
    stream.flush()
    assert stream.buffer.getvalue().startswith(b"4000 ")
