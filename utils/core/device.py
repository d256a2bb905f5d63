"""Where to compute, and in which precision."""

from __future__ import annotations

import torch

from datasets.errors import UserError


def pick_device(name: str) -> torch.device:
    """The device called `name`; `auto` is CUDA if there is one, else the CPU.

    Raises:
        UserError: it is neither the CPU nor CUDA, or a GPU that this machine does not have.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise UserError(f"device {name}: neither CPU nor CUDA; use auto, cpu, cuda or cuda:1")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"device {name}: torch finds no CUDA device here; use auto or cpu")
    if device.type == "cuda" and device.index and device.index >= torch.cuda.device_count():
        raise UserError(
            f"device {name}: there are only {torch.cuda.device_count()} CUDA devices; use cuda"
        )
    return device


def uses_bfloat16(precision: str, device: torch.device) -> bool:
    """Whether `precision` means bfloat16 on `device`: `auto` does where that is faster.

    Of CPUs only those with AMX: with the instructions of AVX-512 alone, these networks were 1.2 to
    1.5 times slower in bfloat16 (`docs/performance.md`).
    """
    if precision != "auto":
        return precision == "bfloat16"
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)  # with units for it
    return bool(torch.cpu.get_capabilities().get("amx_bf16"))


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """bfloat16 autocast on `device` if `precision` asks for it; float32 otherwise."""
    wanted = uses_bfloat16(precision, device)
    return torch.autocast(device.type, torch.bfloat16, enabled=wanted)
