"""Processes of a run: what they share, where they compute, how they fail."""

from __future__ import annotations

import torch

from utils.training.distributed import on_first_rank


def test_one_process_computes_itself():
    assert on_first_rank(lambda: {"a": 1}, torch.device("cpu")) == {"a": 1}
