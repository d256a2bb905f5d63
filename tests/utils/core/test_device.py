"""Devices: what this machine lacks is refused with the remedy."""

from __future__ import annotations

import pytest
import torch

from datasets.errors import UserError
from utils.core.device import autocast, pick_device


def test_devices_that_do_not_exist_are_refused(monkeypatch):
    with pytest.raises(UserError, match="device abacus: not a device; use auto"):
        pick_device("abacus")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto") == pick_device("cpu") == torch.device("cpu")
    with pytest.raises(UserError, match="no CUDA device here; use auto or cpu"):
        pick_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert pick_device("auto") == torch.device("cuda")
    with pytest.raises(UserError, match="only 1 CUDA devices"):
        pick_device("cuda:1")


def test_precision_decides_what_a_matrix_product_is_in():
    ones = torch.ones(2, 2)
    for precision, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        with autocast(torch.device("cpu"), precision):
            assert (ones @ ones).dtype == dtype
