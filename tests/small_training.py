"""Two small stages without random inputs, trained in one process or in several.

Spawned processes import this module: with `PRETEND_GPUS` in the environment they then seem to be
on a machine with that many GPUs, and fail as soon as they use one.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

import ignite.distributed as idist
import torch
from torch import Tensor, nn

from datasets.errors import UserError
from models.contrastive import ContrastiveModel, nt_xent
from models.diffusion import Denoiser, DenoisingLoss, NoiseSchedule
from utils.core.command_line import Flags
from utils.core.config import ContrastiveConfig, GenerativeConfig, OptimiserConfig, RunConfig
from utils.training.contrastive_task import ContrastiveObjective
from utils.training.data_order import training_loader
from utils.training.distributed import on_first_rank
from utils.training.trainer import Trainer

GALAXIES, PIXELS, BATCH = 24, 12, 8
CPU = torch.device("cpu")


def pretend_gpus(patch, count: int) -> None:
    """A machine with `count` GPUs, none of which may be used; `patch` is like `setattr`."""

    def visible() -> bool:
        return count > 0 and os.environ.get("CUDA_VISIBLE_DEVICES") != ""

    def refusing(name: str):
        def used(*_):
            raise AssertionError(f"torch.cuda.{name} is called")

        return used

    patch(torch.cuda, "is_available", visible)
    patch(torch.cuda, "device_count", lambda: count if visible() else 0)
    for name in ("set_device", "current_device", "_lazy_init"):
        patch(torch.cuda, name, refusing(name))


if "PRETEND_GPUS" in os.environ:
    pretend_gpus(setattr, int(os.environ["PRETEND_GPUS"]))


class Stopped(Exception):
    """What the tests raise to stop a run."""


class Pairs(torch.utils.data.Dataset):
    """Galaxies: an image, a spectrum that follows from it, and the row."""

    def __init__(self):
        generator = torch.Generator().manual_seed(1)
        self.images = torch.randn(GALAXIES, 1, 3, 3, generator=generator)
        self.spectra = self.images.flatten(1) @ torch.randn(9, PIXELS, generator=generator)

    def __len__(self) -> int:
        return GALAXIES

    def __getitem__(self, rows: Tensor) -> dict[str, Tensor]:
        return {"image": self.images[rows], "spectrum": self.spectra[rows], "index": rows}


class ContrastiveStage:
    """Two linear towers and the loss of stage 1."""

    score_name = "validation_loss"

    def __init__(self):
        self.constants = {"about": {"survey": {}, "images": {}, "spectra": {}}}
        torch.manual_seed(2)
        image = nn.Sequential(nn.Flatten(), nn.Linear(9, 4))
        self.network = ContrastiveModel(image, nn.Linear(PIXELS, 4))
        self.objective = ContrastiveObjective(self.network, 0.5)
        self.data, self.stop = Pairs(), None

    def prepare(self, batch, generator):
        return batch["image"], batch["spectrum"]

    @torch.no_grad()
    def validate(self, network):
        self.stop = None if self.stop is None else self.stop - 1
        if self.stop == 0:
            raise Stopped
        vectors = network(self.data.images, self.data.spectra)
        return {"validation_loss": nt_xent(*vectors, 0.5, gather=False).item()}

    def preview(self, network, path):
        path.write_text("a picture")


class Tokens(nn.Module):
    """A condition whose features are its tokens."""

    def tokens(self, features):
        return features


class LinearUNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.x, self.tokens = nn.Linear(PIXELS, PIXELS), nn.Linear(9, PIXELS)

    def forward(self, x, t, tokens, *_):
        return self.x(x) + self.tokens(tokens)


class NoiseOfTheGalaxy(nn.Module):
    """The loss of stage 2 with times and noises that depend on the galaxy, not on the batch."""

    def __init__(self, denoiser: Denoiser):
        super().__init__()
        self.loss = DenoisingLoss(denoiser)

    def forward(self, spectra, tokens, rows):
        losses = [
            self.loss(spectra[i : i + 1], tokens[i : i + 1], torch.Generator().manual_seed(row))
            for i, row in enumerate(rows.tolist())
        ]
        return torch.stack(losses).mean()


class DiffusionStage(ContrastiveStage):
    """A linear denoiser and the loss of stage 2."""

    def __init__(self):
        super().__init__()
        self.network = Denoiser(Tokens(), LinearUNet(), NoiseSchedule())
        self.objective = NoiseOfTheGalaxy(self.network)

    def prepare(self, batch, generator):
        return batch["spectrum"][:, None], batch["image"].flatten(2), batch["index"]

    @torch.no_grad()
    def validate(self, network):
        loss = NoiseOfTheGalaxy(network)
        inputs = self.data.spectra[:, None], self.data.images.flatten(2), torch.arange(GALAXIES)
        return {"validation_loss": loss(*inputs).item()}


def fit(
    stage: ContrastiveStage,
    folder: Path,
    resume: bool = False,
    deadline: float = math.inf,
    accumulate: int = 1,
    precision: str = "float32",
) -> None:
    """Train for two epochs of three steps; keep the gradient of the last step, too."""
    config = GenerativeConfig(
        optimiser=OptimiserConfig(
            batch_size=BATCH,
            accumulate=accumulate,
            epochs=2,
            learning_rate=1e-2,
            warmup_iterations=0,
            weight_decay=0,
            ema_decay=0.9,
        ),
        run=RunConfig(precision=precision, tensorboard=False, preview_every_epochs=1),
    )
    folder.mkdir(exist_ok=True)
    loader = training_loader(stage.data, config, CPU)
    Trainer(stage, loader, config.optimiser, config.run, CPU).fit(folder, resume, deadline)
    if idist.get_rank() == 0:
        gradient = {name: p.grad for name, p in stage.network.named_parameters()}
        torch.save(gradient, folder / "gradient.pt")


def train_all(rank: int, config: ContrastiveConfig, flags: Flags) -> None:
    """Both stages, stage 1 also stopped in its second epoch and resumed; then send a result, and
    fail in the second process while the first waits for it."""
    output = Path(config.run.output)
    fit(ContrastiveStage(), output / "contrastive")
    fit(DiffusionStage(), output / "diffusion")
    fit(DiffusionStage(), output / "accumulated", accumulate=2)
    stopped = ContrastiveStage()
    stopped.stop = 3  # validations: before the first step, after each epoch
    try:
        fit(stopped, output / "resumed")
    except Stopped:
        fit(ContrastiveStage(), output / "resumed", resume=True)
    sent = on_first_rank(lambda: {"rank": rank, "weights": (torch.arange(3).half(), [0.5])}, CPU)
    torch.save(sent, output / f"sent_{rank}.pt")
    if rank == 1:
        raise UserError("two lines:\n  the second")
    idist.barrier()
