"""Networks, checkpoints and data as the original code makes them, for tests.

Weights are a function of each tensor's name (`tests/golden/fill.py`); the buffers that the original
computes, noise schedule and time frequencies, are made here by its formulas.
"""

from __future__ import annotations

import json
import math
from functools import cache
from pathlib import Path

import numpy as np
import torch
from ignite.engine import Engine
from ignite.handlers import ModelCheckpoint
from torch import Tensor, nn

from models.diffusion import Denoiser
from tests.golden.fill import fill
from utils.original.networks import build_contrastive, build_denoiser, load_original

GOLDEN = Path(__file__).parent / "golden"
UNETS = [
    "unet_low_resolution_small",
    "unet_super_resolution_small",
    "unet_low_resolution_default",
]
TOWERS = ["contrastive_small", "contrastive_default"]


def original_buffers(schedule: str, steps: int, components: int) -> dict[str, Tensor]:
    """What the original computes instead of learning it."""
    if schedule == "linear":
        betas = torch.linspace(1e-2, 0.2, steps)
        cumulative = torch.cumprod(1 - betas, dim=0)
    else:

        def f(u):
            return math.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2

        betas = torch.tensor(
            [min(1 - f((i + 1) / steps) / f(i / steps), 0.999) for i in range(steps)]
        )
        u = torch.arange(steps) / steps
        cumulative = torch.cos((u + 0.008) / 1.008 * (math.pi / 2)) ** 2
    return {
        "diffusion.betas": betas,
        "diffusion.alphas": 1 - betas,
        "diffusion.cumalphas": cumulative,
        "unet.encoder.freqs": 2 ** torch.arange(components) * math.pi,
    }


@cache
def original(name: str) -> tuple[dict, dict, dict]:
    """State dict, parameters in the layout of the original's YAML, and reference arrays.

    Shared between tests, which make changed copies.
    """
    description = json.loads((GOLDEN / f"{name}.json").read_text())
    config, shapes = description["config"], description["shapes"]
    state = {key: torch.from_numpy(value) for key, value in fill(shapes).items()}
    if name.startswith("contrastive"):
        params = {
            "dataset_file": "datasets.lr_5band",
            "latent_dimensionality": config["latent_dimensionality"],
            "resnet": {
                "pretrained": True,
                "base_channels": config["base_channels"],
                "channel_mults": config["channel_mults"],
            },
        }
    else:
        params = {
            "dataset_file": config["dataset"],
            "conditioning": config["conditioning"],
            "time_steps": config["time_steps"],
            "beta_schedule": config["schedule"],
            "spectrumunet": config["backbone"],
        }
        components = shapes["unet.encoder.freqs"][0]
        state |= original_buffers(config["schedule"], config["time_steps"], components)
    with np.load(GOLDEN / f"{name}.npz") as arrays:
        reference = {key: torch.from_numpy(arrays[key]) for key in arrays}
    return state, params, reference


def restored(state: dict, params: dict) -> nn.Module:
    """Our network with an original's weights, for evaluation."""
    towers = any("image_model." in name for name in state)
    network = (build_contrastive if towers else build_denoiser)(params)
    load_original(network, state)
    return network.eval()


def predicted_noise(
    denoiser: Denoiser, x_t: Tensor, image: Tensor, t: Tensor, spectrum: Tensor | None = None
) -> Tensor:
    """What a U-Net predicts, from the inputs of the original; `spectrum` has all pixels."""
    low = None if spectrum is None else spectrum[..., ::8]
    context = denoiser.context(x_t.shape[-1], low)
    return denoiser(x_t, t, denoiser.condition.tokens(image), context)


def assert_golden(found: Tensor, expected: Tensor) -> None:
    """Equal to 1e-4 of the largest value."""
    assert found.shape == expected.shape
    assert (found - expected).abs().max() < 1e-4 * expected.abs().max()


def count(module: nn.Module) -> int:
    """Number of parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


class HeldState:
    """An object whose state dict is what it is given."""

    def __init__(self, state: dict):
        self.state = state

    def state_dict(self) -> dict:
        return self.state


class Rate:
    """A learning rate with the attributes of the original's: LambdaLR saves them all."""

    def __init__(self, steps: int):
        self.base_lr = 1e-4
        self.lr_total_steps = steps
        self.lr_fct = "polynomial"
        self.batchwise = True
        self.lr_params = {"power": 1.0, "min_lr": 1e-6}
        self.uses_restarts = False
        self.lr_restarts = np.array([0, steps])
        self.lr_restart_vals = np.array([1, 0])
        self.restart_lengths = np.array([steps, 1])
        self.curr_restart = np.zeros(steps + 1, dtype=np.int64)

    def __call__(self, step: int) -> float:
        return 1 - 0.99 * step / (self.lr_total_steps - 1)


@torch.enable_grad()
def write_checkpoint(folder: Path, state: dict, average: dict | None = None, **more) -> Path:
    """A file with the original's handler: weights, Adam, LambdaLR and engine after one iteration.

    Args:
        folder: Where the file goes.
        state: Weights under the original's names.
        average: The averaged ones, for a U-Net.
        more: Further objects to save, or others in place of these.
    """
    weight = nn.Parameter(torch.ones(3))
    optimiser = torch.optim.Adam([weight], lr=1e-4)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimiser, Rate(10))
    engine = Engine(lambda engine, batch: None)
    engine.run([0], max_epochs=1)
    weight.sum().backward()
    optimiser.step()
    scheduler.step()
    objects = {"model": HeldState(state)}
    if average is not None:
        objects["average_model"] = HeldState(average)
    objects |= {"optimizer": optimiser, "scheduler": scheduler, "engine": engine, **more}
    handler = ModelCheckpoint(str(folder), "model", n_saved=1, require_empty=False)
    handler(engine, objects)
    return Path(handler.last_checkpoint)
