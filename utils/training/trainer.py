"""The Ignite engine that trains both stages.

A stage is a `Task`: what is trained, what a batch is turned into, what the loss is, how it is
validated. Everything else is here, once: optimiser, learning rate, averaged weights, clipping,
NaN guard, logs, checkpoints, resuming, data-parallel training.

A resumed run equals one that never stopped, bit for bit (`utils.training.data_order` has the
reason).
"""

from __future__ import annotations

import logging
import math
import time
from pathlib import Path
from typing import Any, Protocol

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from ignite.handlers import Checkpoint, DiskSaver, TensorboardLogger, TerminateOnNan
from ignite.handlers.tqdm_logger import ProgressBar
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader

from datasets.errors import UserError
from utils.core.checkpoints import InferenceState
from utils.core.config import OptimiserConfig, RunConfig
from utils.core.device import autocast
from utils.core.run_log import MetricsTable
from utils.training.data_order import mix
from utils.training.optimiser import averaged, make_optimiser, rate_factor

LOGGER = logging.getLogger("spectra")


class Task(Protocol):
    """What the engine needs of a training stage.

    `network` is what is trained and saved; `objective` is a module around it whose `forward`
    takes what `prepare` returns and gives the loss.
    """

    network: nn.Module
    objective: nn.Module

    def prepare(self, batch: dict[str, Tensor], generator: torch.Generator) -> tuple: ...

    def validate(self, network: nn.Module) -> dict[str, float]: ...

    def preview(self, network: nn.Module, path: Path) -> None: ...

    def constants(self) -> dict[str, dict[str, Any]]: ...

    score_name: str  # the validation figure, smaller is better, that picks the best weights


class KeepUntilReplaced(DiskSaver):
    """Ignite removes a checkpoint before it writes its successor of the same name: a run killed
    in between would lose both. The atomic write replaces the old file anyhow."""

    def remove(self, filename: str) -> None:
        """Does nothing: `os.replace` takes the old file's place."""


class State:
    """Constants in the clothes of an object with a state, for a checkpoint."""

    def __init__(self, values: dict[str, Any]):
        self.values = values

    def state_dict(self) -> dict[str, Any]:
        """The constants."""
        return self.values

    def load_state_dict(self, values: dict[str, Any]) -> None:
        """Constants stay as they are."""


class Trainer:
    """A task, its optimiser and its run directory, driven by one Ignite engine.

    Args:
        task: The stage.
        loader: From `training_loader`.
        optimiser: Optimiser settings.
        run: Run settings.
        folder: The run directory.
        device: Where the task's modules are.
    """

    def __init__(
        self,
        task: Task,
        loader: DataLoader,
        optimiser: OptimiserConfig,
        run: RunConfig,
        folder: Path,
        device: torch.device,
    ):
        self.task, self.loader, self.config, self.run, self.folder = (
            task,
            loader,
            optimiser,
            run,
            folder,
        )
        self.device = device
        self.objective = (
            idist.auto_model(task.objective) if idist.get_world_size() > 1 else (task.objective)
        )
        self.optimiser = make_optimiser(task.network, optimiser)
        self.iterations = round(optimiser.epochs * len(loader))
        self.scheduler = LambdaLR(self.optimiser, rate_factor(optimiser, self.iterations))
        self.average = averaged(task.network, optimiser.ema_decay) if optimiser.ema_decay else None
        self.generator = torch.Generator(device)
        self.table = MetricsTable(folder / "metrics.csv")
        self.engine = Engine(self._step)
        self.started = time.monotonic()
        self._attach()

    @property
    def validated_network(self) -> nn.Module:
        """The averaged weights, or the raw ones where averaging is off."""
        return self.average.module if self.average is not None else self.task.network

    def _step(self, engine: Engine, batch: dict[str, Tensor]) -> dict[str, float]:
        self.objective.train()
        self.generator.manual_seed(mix(self.run.seed, idist.get_rank(), engine.state.iteration))
        inputs = self.task.prepare(batch, self.generator)
        with autocast(self.device, self.run.precision):
            loss = self.objective(*inputs)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        limit = self.config.gradient_clip or math.inf
        norm = nn.utils.clip_grad_norm_(self.task.network.parameters(), limit)
        rate = self.scheduler.get_last_lr()[0]
        self.optimiser.step()
        self.scheduler.step()
        if self.average is not None:
            self.average.update_parameters(self.task.network)
        return {"loss": loss.item(), "gradient_norm": norm.item(), "learning_rate": rate}

    def _attach(self) -> None:
        engine = self.engine
        engine.add_event_handler(Events.ITERATION_COMPLETED, TerminateOnNan())
        engine.add_event_handler(Events.EPOCH_STARTED, self._begin_epoch)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add_up)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._end_early)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._end_epoch)
        self.best = Checkpoint(
            self._for_users(),
            KeepUntilReplaced(str(self.folder), require_empty=False),
            filename_pattern="best.pt",
            score_function=lambda engine: -engine.state.score,
            n_saved=1,
        )
        self.last = Checkpoint(
            self._to_resume(),
            KeepUntilReplaced(str(self.folder), require_empty=False),
            filename_pattern="last.pt",
            n_saved=1,
        )
        if idist.get_rank() == 0:
            ProgressBar(desc="training", disable=None).attach(
                engine, output_transform=lambda out: {"loss": out["loss"]}
            )
            if self.run.tensorboard:
                self.board = TensorboardLogger(log_dir=str(self.folder / "tensorboard"))
                self.board.attach_output_handler(
                    engine,
                    Events.ITERATION_COMPLETED(every=10),
                    tag="training",
                    output_transform=lambda out: out,
                )
                engine.add_event_handler(Events.COMPLETED, self.board.close)

    def _for_users(self) -> dict[str, Any]:
        """Each weight once: what `best.pt` holds."""
        constants = {name: State(values) for name, values in self.task.constants().items()}
        network = InferenceState(self.validated_network)
        return {**constants, "network": network, "trainer": self.engine}

    def _to_resume(self) -> dict[str, Any]:
        """What `last.pt` holds."""
        objects = {
            **self._for_users(),
            "network": InferenceState(self.task.network),
            "optimiser": self.optimiser,
            "scheduler": self.scheduler,
            "best": self.best,
        }
        if self.average is not None:
            objects["average"] = InferenceState(self.average)
        return objects

    def _begin_epoch(self) -> None:
        self.loader.sampler.epoch = self.engine.state.epoch - 1
        self.sums: dict[str, float] = {}
        self.steps = 0

    def _add_up(self) -> None:
        self.steps += 1
        for name, value in self.engine.state.output.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def _end_early(self) -> None:
        """End the last epoch where it is a fraction of one."""
        if self.engine.state.iteration == self.iterations:
            self.engine.terminate_epoch()

    def _end_epoch(self) -> None:
        epoch, iteration = self.engine.state.epoch, self.engine.state.iteration
        last = iteration == self.iterations
        means = {name: total / self.steps for name, total in self.sums.items()}
        row = {"epoch": epoch, "iteration": iteration, **means}
        if epoch % self.run.validate_every_epochs == 0 or last:
            row |= self._validate()
        if self.run.preview_every_epochs and (epoch % self.run.preview_every_epochs == 0 or last):
            self._preview(f"preview_{epoch:04d}.png")
        self._record(row)
        self.last(self.engine)

    def _validate(self) -> dict[str, float]:
        figures = self.task.validate(self.validated_network)
        score = figures[self.task.score_name]
        # A NaN must never count as best: it counts as infinitely bad.
        self.engine.state.score = score if math.isfinite(score) else math.inf
        if self.engine.state.epoch > 0:
            self.best(self.engine)
        return figures

    def _preview(self, name: str) -> None:
        if idist.get_rank() == 0:
            self.task.preview(self.validated_network, self.folder / name)

    def _record(self, row: dict[str, float]) -> None:
        if idist.get_rank() != 0:
            return
        self.table.append(row | {"seconds": time.monotonic() - self.started})
        figures = ("iteration", "seconds")
        text = "  ".join(f"{k} {v:.4g}" for k, v in row.items() if k not in (*figures, "epoch"))
        LOGGER.info("epoch %d/%g  %s", row["epoch"], self.config.epochs, text)
        if self.run.tensorboard:
            for name, value in row.items():
                self.board.writer.add_scalar(f"epoch/{name}", value, row["epoch"])

    def resume(self) -> None:
        """Restore everything from `last.pt`.

        Raises:
            UserError: there is none, or the training split has another length than it had.
        """
        path = self.folder / "last.pt"
        if not path.exists():
            raise UserError(f"{path}: the run stopped before its first epoch ended; start it anew")
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        if checkpoint["trainer"]["epoch_length"] != len(self.loader):
            raise UserError(
                f"{path}: {checkpoint['trainer']['epoch_length']} batches an epoch then, "
                f"{len(self.loader)} now: the survey file has changed"
            )
        Checkpoint.load_objects(self._to_resume(), checkpoint)
        self.table.keep(lambda row: int(row["epoch"]) <= self.engine.state.epoch)
        self.started -= self.table.last("seconds", 0.0)

    def fit(self) -> None:
        """Train to the last epoch, with one validation before the first step.

        Raises:
            UserError: the loss or the gradient became NaN or infinite.
        """
        state = self.engine.state
        if state.iteration >= self.iterations:
            LOGGER.info("%s: all %g epochs are done", self.folder, self.config.epochs)
            return
        if state.epoch == 0:
            self._record({"epoch": 0, "iteration": 0, **self._validate()})
        length = len(self.loader)
        self.engine.run(
            self.loader, max_epochs=math.ceil(self.iterations / length), epoch_length=length
        )
        if state.iteration < self.iterations or self.engine.should_terminate:
            raise UserError(
                f"iteration {self.engine.state.iteration}: the loss or its gradient is not "
                f"finite; the last good weights are in {self.folder / 'last.pt'}. Try a lower "
                "optimiser.learning_rate, or run.precision float32"
            )
