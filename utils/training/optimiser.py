"""Optimiser, learning rate and averaged weights."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from utils.core.config import OptimiserConfig

WARMUP_START = 1e-3  # learning rate before the first step of a warm-up, relative to the full one


def make_optimiser(network: nn.Module, config: OptimiserConfig) -> torch.optim.Optimizer:
    """Adam, or AdamW (decoupled weight decay), on the weights that are trained."""
    kind = torch.optim.AdamW if config.name == "adamw" else torch.optim.Adam
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    fused = all(parameter.is_cuda for parameter in trained)  # one kernel for all weights
    return kind(
        trained, lr=config.learning_rate, weight_decay=config.weight_decay, fused=fused or None
    )


def rate_factor(config: OptimiserConfig, iterations: int) -> Callable[[int], float]:
    """The learning rate, relative to `config.learning_rate`, as a function of the iteration.

    It falls linearly from 1 in the first of `iterations` to `final_learning_rate` in the last (the
    published polynomial schedule of power 1); during the warm-up it rises linearly to 1 instead.
    """
    final, warmup = config.final_learning_rate / config.learning_rate, config.warmup_iterations

    def factor(iteration: int) -> float:
        if iteration < warmup:
            return 1 - (1 - WARMUP_START) * (1 - (iteration + 1) / warmup)
        return max(final, final + (1 - final) * (1 - iteration / max(iterations - 1, 1)))

    return factor


class MovingAverage(AveragedModel):
    """An exponential moving average of the weights; in update n its decay is at most (1+n)/(10+n),
    so that the random start is soon forgotten.

    The updates of torch's own class send n to the GPU, and so wait for it.
    """

    def __init__(self, network: nn.Module, decay: float):
        super().__init__(network, use_buffers=True)
        self.decay = decay

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Add the weights of `model`; the first ones are copied."""
        n = self.n_averaged.item()  # on the CPU
        average = get_ema_multi_avg_fn(min(self.decay, (1 + n) / (10 + n)) if n else 0.0)
        own, new = ([*m.parameters(), *m.buffers()] for m in (self.module, model))
        for kind in {tensor.dtype for tensor in own}:
            average(*([t for t in tensors if t.dtype == kind] for tensors in (own, new)), n)
        self.n_averaged += 1
