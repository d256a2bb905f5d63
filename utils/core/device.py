"""Where to compute, and in which precision."""

from __future__ import annotations

import torch

from datasets.errors import UserError


def pick_device(name: str) -> torch.device:
    """The device called `name`; `auto` is CUDA where there is one, else the CPU.

    Raises:
        UserError: CUDA is asked for and there is none.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(f"device {name}: no CUDA device here; use --run.device cpu or auto")
    return torch.device(name)


def uses_bfloat16(precision: str, device: torch.device) -> bool:
    """Whether `precision` means bfloat16 on `device`: `auto` does where the hardware has it."""
    if precision != "auto":
        return precision == "bfloat16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    abilities = torch.cpu.get_capabilities()
    return bool(abilities.get("avx512_bf16") or abilities.get("amx_bf16"))


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """bfloat16 autocast on `device` where `precision` asks for it; else nothing."""
    wanted = uses_bfloat16(precision, device)
    return torch.autocast(device.type, torch.bfloat16, enabled=wanted)
