"""Both stages of training, and generation with every sampler, on a GPU that does not exist.

Its tensors have shapes and types, but no numbers. Torch refuses to combine them with those of the
host, as it does with those of a GPU. What is copied to the host is zero. Operations that none of
them takes part in are computed as ever.
"""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

import train_contrastive
import train_generative
from models.diffusion import NoiseSchedule
from models.samplers import DDIM, AdamsBashforth2, Ancestral, DPMSolverPP2M, StationaryNoise
from tests.support import tiny
from utils.core.checkpoints import load_generator, read_checkpoint, write_checkpoint
from utils.generation.pipeline import Pipeline
from utils.training import distributed, trainer
from utils.training.optimiser import MovingAverage

GPU = torch.device("lazy:0")  # unlike "cuda", torch's builds for CPUs support it as far as needed
ATEN = torch.ops.aten


class _Fake(FakeTensorMode):
    def __deepcopy__(self, memo):
        return self  # copies of its tensors belong to it, too


class PretendGpu(TorchDispatchMode):
    """There is one within the block; `patch` is like `setattr`.

    Attributes:
        read: What the host finds where it reads a number of the GPU, in an `if` for example.
    """

    def __init__(self, patch):
        super().__init__()
        self.fake, self.read = _Fake(allow_non_fake_inputs=True), 1
        generator, tensor, to = torch.Generator, torch.tensor, nn.Module.to
        patch(torch, "autocast", lambda *_, **__: nullcontext())  # does not know the device
        patch(torch, "Generator", lambda *_: generator())
        patch(torch, "tensor", lambda *a, device=None, **k: tensor(*a, **k).to(device))
        patch(nn.Module, "to", lambda m, *a, **k: moved(m) if GPU in a else to(m, *a, **k))

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if not any(map(_on_gpu, tree_leaves((args, kwargs)))):
            return func(*args, **kwargs)
        if func is ATEN._local_scalar_dense.default:
            return self.read
        if func is ATEN.equal.default:
            return True
        if func is ATEN.index.Tensor:  # masks choose everything
            args = (args[0], [_everything(index) for index in args[1]])
        with self.fake:
            result = func(*args, **kwargs)
        return tree_map(_numbers_on_host, result)


def moved(module: nn.Module) -> nn.Module:
    """`module` on the GPU, in place; `Module.to` takes no tensors without numbers."""
    for part in module.modules():
        for name, weight in part._parameters.items():
            if weight is not None:
                part._parameters[name] = nn.Parameter(weight.to(GPU), weight.requires_grad)
        for name, buffer in part._buffers.items():
            part._buffers[name] = buffer.to(GPU)
    return module


def _on_gpu(leaf: object) -> bool:
    return isinstance(leaf, FakeTensor) or (isinstance(leaf, torch.device) and leaf == GPU)


def _everything(index: Tensor | None) -> Tensor | None:
    return torch.arange(len(index)) if index is not None and index.dtype == torch.bool else index


def _numbers_on_host(leaf: object) -> object:
    on_host = isinstance(leaf, FakeTensor) and leaf.device.type == "cpu"
    return torch.zeros(leaf.shape, dtype=leaf.dtype) if on_host else leaf


def train(main, monkeypatch, capsys, folder, *arguments):
    """A step with its validation, checkpoint and preview; returns what is printed."""

    def write(path, contents):
        on_host = tree_map(lambda x: x.cpu() if isinstance(x, Tensor) else x, contents)
        write_checkpoint(path, on_host)

    monkeypatch.setattr(distributed, "pick_device", lambda name: GPU)
    monkeypatch.setattr(trainer, "write_checkpoint", write)
    options = ["--optimiser.epochs=0.3", "--run.preview_every_epochs=1", f"--run.output={folder}"]
    with PretendGpu(monkeypatch.setattr):
        assert main([*arguments, *options]) == 0
    assert read_checkpoint(folder / "best.pt")["network"]
    return capsys.readouterr().out


def test_training_of_the_towers(tiny_survey, tmp_path, monkeypatch, capsys):
    arguments = [tiny("contrastive"), f"--data.survey={tiny_survey}"]
    printed = train(train_contrastive.main, monkeypatch, capsys, tmp_path, *arguments)
    assert "failed" not in printed  # the preview


@pytest.mark.filterwarnings("ignore:cov")  # counts galaxies on the GPU
def test_training_of_the_generator(tiny_survey, tiny_towers, tmp_path, monkeypatch, capsys):
    arguments = [tiny("generative"), f"--data.survey={tiny_survey}"]
    arguments += [f"--diffusion.contrastive={tiny_towers}", "--parameters.optimiser.epochs=0.3"]
    printed = train(train_generative.main, monkeypatch, capsys, tmp_path, *arguments)
    assert "failed" not in printed


def test_an_update_of_the_average_does_not_wait_for_the_gpu(monkeypatch):
    with PretendGpu(monkeypatch.setattr) as gpu:
        network = nn.Linear(1, 1).to(GPU)
        average = MovingAverage(network, 0.9)
        del gpu.read  # an error where something is read
        for _ in range(2):
            average.update_parameters(network)
    assert average.n_averaged == 2


@pytest.mark.filterwarnings("ignore:invalid value")  # probabilities without numbers
@pytest.mark.parametrize(
    ("sampler", "read"),
    [
        (Ancestral(), 0), (Ancestral(), 1), (DPMSolverPP2M(3), 0), (DPMSolverPP2M(3), 1),
        (AdamsBashforth2(2), 0), (DDIM(2), 1), (StationaryNoise(), 1),
    ],
)  # fmt: skip
def test_generation(tiny_generator, monkeypatch, sampler, read):
    stage = load_generator(tiny_generator)
    stage.network.schedule = NoiseSchedule(steps=3)
    with PretendGpu(monkeypatch.setattr) as gpu:
        rank = "both" if read else "contrastive"
        pipeline = Pipeline([stage], GPU, rank=rank, rows_at_once=5)
        gpu.read = read  # of whether a step is the last one
        images = torch.ones(3, 5, 64, 64)
        found = pipeline.generate(images, "abc", count=4, seed=1, sampler=sampler)
    assert found.flux.shape == (3, 4, 4500)
