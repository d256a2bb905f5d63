"""The engine: schedule, order, averaging, exact resuming, guards."""

import numpy as np
import pytest
import torch
from torch import nn

import train_contrastive
import train_generative
from datasets.hashing import mix
from tests.support import GOLDEN, tiny
from utils.core.checkpoints import read_checkpoint
from utils.core.config import OptimiserConfig
from utils.core.run_log import MetricsTable
from utils.training.data_order import EpochSampler
from utils.training.optimiser import averaged, rate_factor


@pytest.mark.parametrize(
    ("name", "iterations", "warmup"),
    [("polynomial_101", 101, 0), ("polynomial_1000", 1000, 0),
     ("linear_warmup_polynomial_1000", 1000, 100)],
)  # fmt: skip
def test_learning_rate_is_the_published_schedule(name, iterations, warmup):
    config = OptimiserConfig(learning_rate=1e-4, final_learning_rate=1e-6, warmup_iterations=warmup)
    factor = rate_factor(config, iterations)
    ours = [1e-4 * factor(iteration) for iteration in range(iterations)]
    np.testing.assert_allclose(ours, np.load(GOLDEN / "schedules.npz")[name], rtol=1e-6)


def test_order_is_a_function_of_seed_and_epoch_and_covers_all():
    sampler = EpochSampler(50, seed=1)
    first = list(sampler)
    assert sorted(first) == list(range(50)) and first == list(sampler)
    sampler.epoch = 1
    assert list(sampler) != first
    assert list(EpochSampler(50, seed=2)) != first


def test_processes_share_out_an_epoch_without_overlap():
    parts = [list(EpochSampler(51, 1, rank, 2)) for rank in range(2)]
    assert len(parts[0]) == len(parts[1]) == 25 and not set(parts[0]) & set(parts[1])


def test_mix_separates_neighbouring_seeds():
    seeds = {mix(a, b, c) for a in range(10) for b in range(10) for c in range(10)}
    assert len(seeds) == 1000 and all(0 <= seed < 2**63 for seed in seeds)


def test_average_warms_up_to_its_decay():
    network = nn.Linear(1, 1, bias=False)
    average = averaged(network, decay=0.5)
    expected = None
    for n, value in enumerate([1.0, 2.0, 3.0, 4.0]):
        nn.init.constant_(network.weight, value)
        average.update_parameters(network)
        # torch's average copies the first weights; then decay min(0.5, (1 + n) / (10 + n))
        decay = min(0.5, (1 + n) / (10 + n))
        expected = value if expected is None else decay * expected + (1 - decay) * value
    assert average.module.weight.item() == pytest.approx(expected, rel=1e-6)


def weights_of(path):
    checkpoint = read_checkpoint(path)
    return {**checkpoint["network"], **checkpoint.get("average", {})}


def assert_same_weights(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


@pytest.fixture
def contrastive_run(tiny_survey, tiny_towers):
    return tiny_towers.parent, [tiny("contrastive"), f"--data.survey={tiny_survey}"]


def stop_after_first_epoch(monkeypatch):
    from utils.training.trainer import Trainer

    end_epoch = Trainer._end_epoch

    def killed(self):
        end_epoch(self)
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "_end_epoch", killed)


def check_resume(main, arguments, whole, stopped, monkeypatch):
    """A run killed after its first epoch and resumed equals `whole`, which never stopped."""
    arguments = [*arguments, "--optimiser.epochs=3", f"--run.output={stopped}"]
    with monkeypatch.context() as patch:
        stop_after_first_epoch(patch)
        with pytest.raises(KeyboardInterrupt):
            main(arguments)
    assert main([*arguments, "--resume"]) == 0
    assert_same_weights(weights_of(whole / "last.pt"), weights_of(stopped / "last.pt"))
    assert_same_weights(weights_of(whole / "best.pt"), weights_of(stopped / "best.pt"))
    rows = [MetricsTable(folder / "metrics.csv").rows for folder in (whole, stopped)]
    for before, after in zip(*rows, strict=True):
        assert {**before, "seconds": 0} == {**after, "seconds": 0}


def test_contrastive_resume_is_exact(contrastive_run, tmp_path, monkeypatch):
    whole, arguments = contrastive_run
    check_resume(train_contrastive.main, arguments, whole, tmp_path / "stopped", monkeypatch)


@pytest.mark.parametrize("views", [0, 2])
def test_generative_resume_is_exact(contrastive_run, tiny_survey, tmp_path, monkeypatch, views):
    towers, _ = contrastive_run
    arguments = [
        tiny("generative"),
        f"--data.survey={tiny_survey}",
        f"--diffusion.contrastive={towers / 'best.pt'}",
        f"--diffusion.condition_views={views}",
    ]
    whole = tmp_path / "whole"
    main = train_generative.main
    assert main([*arguments, "--optimiser.epochs=3", f"--run.output={whole}"]) == 0
    check_resume(main, arguments, whole, tmp_path / "stopped", monkeypatch)


def test_epochs_may_be_a_fraction(contrastive_run, tmp_path, capsys):
    _, arguments = contrastive_run
    folder = tmp_path / "part"
    asked = [*arguments, "--optimiser.epochs=1.5", f"--run.output={folder}"]
    assert train_contrastive.main(asked) == 0
    one, half = MetricsTable(folder / "metrics.csv").rows[1:]
    length = int(one["iteration"])
    assert int(half["iteration"]) == round(1.5 * length)
    assert float(half["loss"]) > 0.5 * float(one["loss"])  # a mean over the steps there were
    assert train_contrastive.main([*asked, "--resume"]) == 0
    assert "all 1.5 epochs are done" in capsys.readouterr().out


def test_a_finished_run_resumed_does_nothing(contrastive_run, capsys):
    folder, arguments = contrastive_run
    before = (folder / "last.pt").read_bytes()
    again = [*arguments, "--optimiser.epochs=3", f"--run.output={folder}", "--resume"]
    assert train_contrastive.main(again) == 0
    assert (folder / "last.pt").read_bytes() == before
    assert "all 3 epochs are done" in capsys.readouterr().out


def test_a_run_is_not_overwritten(contrastive_run, capsys):
    folder, arguments = contrastive_run
    assert train_contrastive.main([*arguments, f"--run.output={folder}"]) == 1
    assert "--resume" in capsys.readouterr().err


def test_a_run_resumes_only_as_it_began(contrastive_run, capsys):
    folder, arguments = contrastive_run
    changed = [*arguments, "--optimiser.epochs=3", "--run.seed=5", "--resume"]
    assert train_contrastive.main([*changed, f"--run.output={folder}"]) == 1
    assert "run.seed: 1 -> 5" in capsys.readouterr().err


def test_a_loss_that_explodes_stops_the_run_and_keeps_the_last_weights(
    tiny_survey, tmp_path, monkeypatch, capsys
):
    from utils.training.contrastive_task import ContrastiveObjective

    calls = []
    forward = ContrastiveObjective.forward

    def poisoned(self, *inputs):
        calls.append(None)
        loss = forward(self, *inputs)
        return loss * float("nan") if len(calls) == 5 else loss

    monkeypatch.setattr(ContrastiveObjective, "forward", poisoned)
    arguments = [
        tiny("contrastive"),
        f"--data.survey={tiny_survey}",
        f"--run.output={tmp_path / 'r'}",
    ]
    assert train_contrastive.main([*arguments, "--optimiser.epochs=3"]) == 1
    assert "iteration 5" in capsys.readouterr().err
    saved = weights_of(tmp_path / "r" / "last.pt")
    assert all(torch.isfinite(tensor).all() for tensor in saved.values())


def test_a_nan_score_never_counts_as_best(tiny_survey, tmp_path, monkeypatch):
    from utils.training.contrastive_task import ContrastiveTask

    validate = ContrastiveTask.validate
    calls = []

    def poisoned(self, network):
        calls.append(None)
        figures = validate(self, network)
        return figures | {"validation_loss": float("nan")} if len(calls) > 2 else figures

    monkeypatch.setattr(ContrastiveTask, "validate", poisoned)
    arguments = [
        tiny("contrastive"),
        f"--data.survey={tiny_survey}",
        f"--run.output={tmp_path / 'r'}",
    ]
    assert train_contrastive.main([*arguments, "--optimiser.epochs=3"]) == 0
    assert read_checkpoint(tmp_path / "r" / "best.pt")["trainer"]["iteration"] == 3
    assert read_checkpoint(tmp_path / "r" / "last.pt")["trainer"]["iteration"] == 9


@pytest.mark.slow
def test_two_processes_train_both_stages(tiny_survey, tmp_path):
    common = [f"--data.survey={tiny_survey}", "--optimiser.epochs=1", "--run.processes=2"]
    towers, network = tmp_path / "towers", tmp_path / "network"
    first = [tiny("contrastive"), *common, f"--run.output={towers}"]
    assert train_contrastive.main(first) == 0
    second = [tiny("generative"), *common, f"--run.output={network}"]
    given = f"--diffusion.contrastive={towers / 'last.pt'}"
    assert train_generative.main([*second, given]) == 0
    for folder in (towers, network):
        assert read_checkpoint(folder / "last.pt")["trainer"]["iteration"] == 3


def test_dry_run_leaves_nothing(tiny_survey, tmp_path, capsys):
    arguments = [tiny("contrastive"), f"--data.survey={tiny_survey}", "--dry-run"]
    assert train_contrastive.main([*arguments, f"--run.output={tmp_path / 'r'}"]) == 0
    assert not (tmp_path / "r").exists()
    assert "parameters to train" in capsys.readouterr().out


def test_missing_survey_says_how_to_make_one(tmp_path, capsys):
    assert train_contrastive.main([f"--data.survey={tmp_path / 'no.h5'}"]) == 1
    assert "datasets.mock" in capsys.readouterr().err
