"""The Ignite engine that trains every stage.

A stage is a `Task`: the network, what becomes of a batch, the loss, the validation. Everything else
is here, once: optimiser, learning rate, averaged weights, clipping, NaN guard, logs, checkpoints,
resuming, data-parallel training.

A resumed run equals one that never stopped, bit for bit: `utils.training.data_order` makes the data
of a step a function of the seed and the step, and `last.pt` holds the rest.
"""

from __future__ import annotations

import logging
import math
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Protocol

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from ignite.handlers import Checkpoint
from ignite.handlers.checkpoint import BaseSaveHandler
from ignite.handlers.tqdm_logger import ProgressBar
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader

from datasets.errors import UserError
from datasets.hashing import mix
from utils.core.checkpoints import write_checkpoint
from utils.core.config import OptimiserConfig, RunConfig
from utils.core.device import autocast
from utils.core.interruption import Interrupted, handle_signals
from utils.core.run_directory import BEST, CONFIG, LAST, METRICS, PREVIOUS
from utils.core.run_log import LOGGER, MetricsTable, shielded
from utils.plotting.training_page import write_training_page
from utils.training.data_order import lack_of_memory_reported, notice_deaths_of_workers_later
from utils.training.interruption import Interruption
from utils.training.optimiser import MovingAverage, make_optimiser, rate_factor

READ_ITERATIONS = 10  # between two readings of the loss: for TensorBoard's curves, and on a GPU
CONTENTS_TOLERANCE = 1e-5  # relative, of statistics of the same survey on two machines


class Task(Protocol):
    """What the engine needs of a training stage.

    `network` is trained and saved; `objective` is a module around it whose `forward` takes what
    `prepare` returns and gives the loss.
    """

    network: nn.Module
    objective: nn.Module

    def prepare(self, batch: dict[str, Tensor], generator: torch.Generator) -> tuple: ...

    def validate(self, network: nn.Module) -> dict[str, float]: ...

    def preview(self, network: nn.Module, path: Path) -> None: ...

    constants: dict[str, dict[str, Any]]  # parts of a checkpoint besides weights and states
    score_name: str  # the validation metric, smaller is better, that chooses the best weights


class AtomicSaver(BaseSaveHandler):
    """Writes checkpoints into a folder, from the first process, each whole or not at all."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __call__(self, checkpoint: dict, filename: str, metadata: dict | None = None) -> None:
        if idist.get_rank() == 0:
            if filename == LAST and (self.folder / LAST).exists():
                (self.folder / LAST).replace(self.folder / PREVIOUS)
            write_checkpoint(self.folder / filename, checkpoint)

    def remove(self, filename: str) -> None:
        """Do nothing: ignite removes a checkpoint before it writes its successor of the same name,
        and a run killed in between would lose both."""


class ConstantState:
    """Constants that ignite's `Checkpoint` saves as it saves the state of an object."""

    def __init__(self, values: dict[str, Any]):
        self.values = values

    def state_dict(self) -> dict[str, Any]:
        """The constants."""
        return self.values

    def load_state_dict(self, values: dict[str, Any]) -> None:
        """Keep the constants as they are."""


class EpochMeans:
    """Means of the steps' outputs over an epoch and, on `device`, over several processes."""

    def __init__(self, device: torch.device):
        self.device = device
        self.reset()

    def reset(self) -> None:
        """Begin an epoch."""
        self.sums: dict[str, Tensor | float] = {}
        self.steps = 0

    def add(self, output: dict[str, Tensor | float]) -> None:
        self.steps += 1
        for name, value in output.items():
            exact = value.double() if isinstance(value, Tensor) else value
            self.sums[name] = self.sums.get(name, 0.0) + exact

    def finite(self) -> bool:
        """Whether no loss and no gradient of this epoch was NaN or infinite."""
        return all(math.isfinite(float(value)) for value in self.sums.values())

    def share(self) -> None:
        """Replace the sums by their means over the processes, so that one of them can save them."""
        sums = [float(value) for value in self.sums.values()]
        sums = torch.tensor(sums, dtype=torch.float64, device=self.device)
        means = idist.all_reduce(sums) / idist.get_world_size()
        self.sums = dict(zip(self.sums, means.tolist(), strict=True))

    def means(self) -> dict[str, float]:
        """Means over the epoch and the processes."""
        self.share()
        return {name: value / self.steps for name, value in self.sums.items()}

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps, "sums": {n: float(v) for n, v in self.sums.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with the sums of a checkpoint."""
        self.steps, self.sums = state["steps"], dict(state["sums"])


class Trainer:
    """A task, whose modules are on `device`, and its optimiser, driven by one Ignite engine; writes
    nothing before `fit`."""

    def __init__(
        self,
        task: Task,
        loader: DataLoader,
        optimiser: OptimiserConfig,
        run: RunConfig,
        device: torch.device,
    ):
        self.task, self.loader, self.config, self.run = task, loader, optimiser, run
        self.device = device
        self.objective = task.objective
        if idist.get_world_size() > 1:
            gpus = None
            if device.type == "cuda":  # torch has no such layers for CPUs
                nn.SyncBatchNorm.convert_sync_batchnorm(task.objective)
                gpus = [device.index]
            self.objective = DistributedDataParallel(task.objective, device_ids=gpus)
        self.optimiser = make_optimiser(task.network, optimiser)
        self.iterations = max(1, round(optimiser.epochs * len(loader)))
        self.rate_factor = rate_factor(optimiser, self.iterations)
        self.scheduler = LambdaLR(self.optimiser, self.rate_factor)
        self.average = None
        if optimiser.ema_decay:
            self.average = MovingAverage(task.network, optimiser.ema_decay)
        self.generator = torch.Generator(device)
        # A GPU that works ahead must not wait for the loss to be looked at after every step.
        self.read_every = 1 if device.type == "cpu" else READ_ITERATIONS
        self.writes, self._several = idist.get_rank() == 0, idist.get_world_size() > 1
        self.means = EpochMeans(device)
        self.stopped = False  # by a signal or the deadline
        self.board = None  # TensorBoard's writer, in the process that writes
        self.engine = self._engine()

    def _engine(self) -> Engine:
        engine = Engine(self._step)
        engine.logger.setLevel(logging.CRITICAL)  # the command reports what ends a run
        engine.add_event_handler(Events.EPOCH_STARTED, self._begin_epoch)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._end_iteration)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._end_epoch)
        if self.writes:
            ProgressBar(desc="training", disable=None).attach(
                engine,
                event_name=Events.ITERATION_COMPLETED(every=self.read_every),
                output_transform=lambda out: {"loss": out["loss"].item()},
            )
        return engine

    def fit(self, folder: Path, resume: bool = False, deadline: float = math.inf) -> None:
        """Train to the last epoch, with one validation before the first step.

        Args:
            folder: The run directory, which exists.
            resume: Go on from its `last.pt`, or from `previous.pt` where that cannot be read.
            deadline: Value of `time.monotonic()` after which the run saves and stops.

        Raises:
            Interrupted: SIGTERM, SIGUSR1 or the deadline stopped the run, and everything is saved.
            UserError: the loss or the gradient became NaN or infinite; or `last.pt` does not belong
                to this survey.
        """
        self._open(folder, resume)
        state = self.engine.state
        if state.iteration >= self.iterations:
            LOGGER.info("%s: all %g epochs are done", folder, self.config.epochs)
            if self.writes and (folder / BEST).exists():  # the parts besides may have changed
                best = torch.load(folder / BEST, map_location="cpu", weights_only=True)
                write_checkpoint(folder / BEST, best | self.task.constants)
            return
        length = len(self.loader)
        epochs = math.ceil(self.iterations / length)
        self.interruption = Interruption(self.run.checkpoint_minutes, deadline, self.device)
        with handle_signals(self.interruption.by_signal), lack_of_memory_reported():
            if state.iteration == 0:
                self._record({"epoch": 0, "iteration": 0, **self._validate()})
            self.engine.run(self.loader, max_epochs=epochs, epoch_length=length)
        self._close()
        if self.stopped and state.iteration < self.iterations:
            idist.barrier()  # the checkpoint is written
            raise Interrupted(
                f"stopped by {self.interruption.reason} after iteration {state.iteration} of "
                f"{self.iterations}; go on with --resume"
            )
        if state.iteration < self.iterations or self.engine.should_terminate:
            last = folder / LAST
            kept = f"; the last good weights are in {last}" if last.exists() else ""
            raise UserError(
                f"iteration {state.iteration}: the loss or its gradient is not finite{kept}. Try a "
                "lower optimiser.learning_rate, or run.precision float32"
            )
        self.stopped |= self.interruption.due(0)[1]  # by a signal during the last validation

    def _close(self) -> None:
        """Write the page of the run, and end TensorBoard's file."""
        if not self.writes:
            return
        with shielded("the page of the run"):
            config = self.folder / CONFIG
            text = config.read_text(encoding="utf-8") if config.exists() else ""
            write_training_page(self.folder, self.table.rows, text)
        if self.board is not None:
            with shielded("TensorBoard"):
                self.board.close()

    def _open(self, folder: Path, resume: bool) -> None:
        """Everything that reads and writes the run directory."""
        self.folder = folder
        self.best = Checkpoint(
            self._for_users(),
            AtomicSaver(folder),
            filename_pattern=BEST,
            score_function=lambda engine: -engine.state.score,
            n_saved=1,
        )
        self.last = Checkpoint(
            self._to_resume(), AtomicSaver(folder), filename_pattern=LAST, n_saved=1
        )
        done = self._load() if resume else -1
        self.started = time.monotonic()
        if not self.writes:
            return
        self.table = MetricsTable(folder / METRICS)
        self.table.keep(lambda row: row["epoch"] <= done)
        self.started -= self.table.last("seconds", 0.0)
        if self.run.tensorboard and self.engine.state.iteration < self.iterations:
            with shielded("TensorBoard"):
                from torch.utils.tensorboard import SummaryWriter

                self.board = SummaryWriter(
                    str(folder / "tensorboard"), purge_step=self.engine.state.iteration + 1
                )

    def _for_users(self) -> dict[str, Any]:
        """The contents of `best.pt`: each weight once."""
        constants = {name: ConstantState(values) for name, values in self.task.constants.items()}
        return {**constants, "network": self.validated_network, "trainer": self.engine}

    def _to_resume(self) -> dict[str, Any]:
        """The contents of `last.pt`."""
        objects = {
            **self._for_users(),
            "network": self.task.network,
            "optimiser": self.optimiser,
            "scheduler": self.scheduler,
            "best": self.best,
            "means": self.means,
        }
        if self.average is not None:
            objects["average"] = self.average
        return objects

    def _load(self) -> int:
        """Restore everything from `last.pt`; returns the number of finished epochs."""
        path, checkpoint = read_last(self.folder)
        if checkpoint["trainer"]["epoch_length"] != len(self.loader):
            raise UserError(
                f"{path}: {checkpoint['trainer']['epoch_length']} batches an epoch then, "
                f"{len(self.loader)} now: the survey file has changed"
            )
        check_contents(path, checkpoint, self.task.constants)
        idist.barrier()  # every process has read
        if path.name == PREVIOUS and self.writes:  # or a damaged file would soon replace it
            path.replace(self.folder / LAST)
        Checkpoint.load_objects(self._to_resume(), checkpoint)
        for group in self.optimiser.param_groups:  # the schedule may have become longer
            group["lr"] = group["initial_lr"] * self.rate_factor(self.scheduler.last_epoch)
        return self.engine.state.epoch

    def _step(self, engine: Engine, batch: dict[str, Tensor]) -> dict[str, Tensor | float]:
        self.objective.train()
        seed = mix(self.run.seed, idist.get_rank(), engine.state.iteration)
        self.generator.manual_seed(seed)
        torch.manual_seed(seed)  # of dropout
        self.optimiser.zero_grad(set_to_none=True)
        *first, last = divided(batch, self.config.accumulate)
        with self.objective.no_sync() if first and self._several else nullcontext():
            losses = [self._backward(part) for part in first]
        loss = sum(losses, self._backward(last))
        limit = self.config.gradient_clip or math.inf
        norm = nn.utils.clip_grad_norm_(self.task.network.parameters(), limit)
        rate = self.optimiser.param_groups[0]["lr"]
        self.optimiser.step()
        self.scheduler.step()
        if self.average is not None:
            self.average.update_parameters(self.task.network)
        return {"loss": loss, "gradient_norm": norm, "learning_rate": rate}

    def _backward(self, part: dict[str, Tensor]) -> Tensor:
        """Add the gradient of a part of the batch; returns the part's share of the loss."""
        inputs = self.task.prepare(part, self.generator)
        with autocast(self.device, self.run.precision):
            loss = self.objective(*inputs) / self.config.accumulate
        loss.backward()
        return loss.detach()

    @property
    def validated_network(self) -> nn.Module:
        """The averaged weights, or the raw ones where averaging is off."""
        return self.average.module if self.average is not None else self.task.network

    def _begin_epoch(self) -> None:
        """Begin with the first batch, or, resumed within an epoch, with the next."""
        notice_deaths_of_workers_later()
        sampler, done = self.loader.sampler, self.engine.state.iteration % len(self.loader)
        sampler.epoch, sampler.first = self.engine.state.epoch - 1, done
        if done == 0:
            self.means.reset()

    def _end_iteration(self) -> None:
        """Add up the means of the epoch; end the last epoch where it is a fraction of one, and the
        run where a sum is not finite."""
        state = self.engine.state
        self.means.add(state.output)
        ends = state.iteration in (self.iterations, state.epoch * len(self.loader))
        if (ends or state.iteration % self.read_every == 0) and not self.means.finite():
            self.engine.terminate()
            return
        save, self.stopped = self.interruption.due(state.iteration)
        if save and not ends:
            self._save_within_epoch()
        if state.iteration % READ_ITERATIONS == 0:
            output = {name: float(value) for name, value in state.output.items()}
            self._board("training", output, state.iteration)
        if state.iteration == self.iterations:
            self.engine.terminate_epoch()

    def _save_within_epoch(self) -> None:
        self.means.share()
        if not self.means.finite():  # on a GPU not every step is looked at
            self.engine.terminate()
            return
        self._save()
        if self.stopped:
            self.engine.terminate()

    def _save(self) -> None:
        self.last(self.engine)
        self.interruption.saved = time.monotonic()

    def _end_epoch(self) -> None:
        """Validate, record, save; a picture comes last, so that its failure costs no epoch."""
        epoch, iteration = self.engine.state.epoch, self.engine.state.iteration
        last = iteration == self.iterations
        row = {"epoch": epoch, "iteration": iteration, **self.means.means()}
        if epoch % self.run.validate_every_epochs == 0 or last:
            row |= self._validate()
        self._record(row)
        self._save()
        if self.run.preview_every_epochs and (epoch % self.run.preview_every_epochs == 0 or last):
            self._preview(f"preview_{epoch:04d}.png")
        if self.stopped and not last:
            self.engine.terminate()

    def _validate(self) -> dict[str, float]:
        metrics = self.task.validate(self.validated_network)
        score = metrics[self.task.score_name]
        # A NaN must never count as best: it counts as infinitely bad.
        self.engine.state.score = score if math.isfinite(score) else math.inf
        if self.engine.state.epoch > 0:
            self.best(self.engine)
        return metrics

    def _preview(self, name: str) -> None:
        if self.writes:
            with shielded(f"the picture {name}"):
                self.task.preview(self.validated_network, self.folder / name)

    def _record(self, row: dict[str, float]) -> None:
        if not self.writes:
            return
        self.table.append(row | {"seconds": time.monotonic() - self.started})
        self._board("epoch", row, row["iteration"])
        if self.task.score_name not in row:  # an epoch without validation
            return
        counters = ("epoch", "iteration")
        text = "  ".join(f"{k} {v:.4g}" for k, v in row.items() if k not in counters)
        LOGGER.info("epoch %d/%g  %s", row["epoch"], self.config.epochs, text)

    def _board(self, tag: str, values: dict[str, float], iteration: int) -> None:
        """Curves for TensorBoard; given up after the first error."""
        if self.board is not None:
            board, self.board = self.board, None
            with shielded("TensorBoard"):
                for name, value in values.items():
                    board.add_scalar(f"{tag}/{name}", value, iteration)
                self.board = board


def divided(batch: dict[str, Tensor], parts: int) -> list[dict[str, Tensor]]:
    """A batch of galaxies in parts of equal size."""
    pieces = zip(*(tensor.chunk(parts) for tensor in batch.values()), strict=True)
    return [dict(zip(batch, piece, strict=True)) for piece in pieces]


def read_last(folder: Path) -> tuple[Path, dict[str, Any]]:
    """The newest checkpoint of a run that can be read, and its file.

    Raises:
        UserError: neither the last nor the one before can be read.
    """
    for path in (folder / LAST, folder / PREVIOUS):
        try:
            return path, torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # of torch, for damaged files
            LOGGER.warning("%s: damaged or missing (%s)", path, type(error).__name__)
    raise UserError(
        f"{folder}: neither {LAST} nor {PREVIOUS} can be read: choose another run.output"
    )


def check_contents(path: Path, before: dict[str, Any], now: dict[str, dict[str, Any]]) -> None:
    """Refuse to go on with another survey or other towers under the old or another name.

    Args:
        path: The checkpoint, for messages.
        before: Its contents.
        now: The constants of the task.

    Raises:
        UserError: the survey's description or statistics differ, or the towers' weights.
    """
    for name in ("survey", "images", "spectra"):
        if not _alike(before["about"][name], now["about"][name]):
            raise UserError(f"{path}: data.survey is another survey than the run began with")
    old, new = (values.get("contrastive", {}).get("weights", {}) for values in (before, now))
    if not all(torch.equal(new[name].cpu(), old[name]) for name in old.keys() & new.keys()):
        raise UserError(f"{path}: diffusion.contrastive has other weights than the run began with")


def _alike(a: Any, b: Any) -> bool:
    """Whether two descriptions are equal up to rounding, the file's name aside."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_alike(a[k], b[k]) for k in a if k != "name")
    if isinstance(a, Tensor):
        return a.shape == b.shape and torch.allclose(a, b.to(a), rtol=CONTENTS_TOLERANCE)
    return a == b
