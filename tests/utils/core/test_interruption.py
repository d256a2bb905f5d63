"""Signals that end a run."""

from __future__ import annotations

import os
import signal

import pytest

from utils.core.interruption import Interrupted, stop_at_signals
from utils.core.run_log import shielded


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_ends_a_run_in_a_part_that_it_can_do_without(number):
    """As an ordinary exception it would be taken for a picture that cannot be drawn."""
    before = signal.getsignal(number)
    with (
        pytest.raises(Interrupted, match=f"stopped by {number.name}: go on with --resume"),
        stop_at_signals(),
        shielded("a picture"),
    ):
        os.kill(os.getpid(), number)
        pytest.fail("the signal was not handled")
    assert signal.getsignal(number) is before
