"""Ratios of times that are measured in turn, so that a busy or slow machine moves both."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import NamedTuple

import torch

REPEATS = 5


class Row(NamedTuple):
    """A line of the table: what is measured, a ratio, and a remark."""

    name: str
    ratio: float
    note: str


def seconds(*functions: Callable[[], object], repeats: int = REPEATS) -> list[float]:
    """Median seconds of each function, called in turn after a warm-up."""
    for function in functions:
        function()
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(repeats):
        for function, of_function in zip(functions, times, strict=True):
            begun = time.perf_counter()
            function()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            of_function.append(time.perf_counter() - begun)
    return [median(of_function) for of_function in times]
