"""Devices: what this machine lacks is refused with the remedy."""

from __future__ import annotations

import pytest
import torch

from datasets.errors import UserError
from utils.core.device import autocast, pick_device, uses_bfloat16


def test_devices_that_do_not_exist_are_refused(monkeypatch):
    for name in ("abacus", "mps", "meta"):  # torch knows the last two
        with pytest.raises(UserError, match=f"device {name}: neither CPU nor CUDA; use auto"):
            pick_device(name)
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


@pytest.mark.parametrize(
    ("abilities", "expected"),
    [({"avx512_bf16": True, "amx_bf16": True}, True), ({"avx512_bf16": True}, False), ({}, False)],
)
def test_auto_takes_bfloat16_on_processors_where_it_is_faster(abilities, expected, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: abilities)
    assert uses_bfloat16("auto", torch.device("cpu")) is expected


def test_auto_asks_the_gpu_that_is_used(monkeypatch):
    capabilities = {torch.device("cuda:0"): (9, 0), torch.device("cuda:1"): (7, 5)}
    monkeypatch.setattr(torch.cuda, "get_device_capability", capabilities.get)
    assert [uses_bfloat16("auto", gpu) for gpu in capabilities] == [True, False]
