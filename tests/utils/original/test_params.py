"""The original's YAML files in this project's terms; the published ones are written out here."""

import pytest
import yaml

from utils.core.command_line import parse
from utils.core.config import ContrastiveConfig, GenerativeConfig
from utils.original.__main__ import main
from utils.original.params import translate, untranslated

OPTIMISER = {
    "learning_rate": 1e-4,
    "lr_function": "polynomial",
    "lr_params": {"power": 1.0, "min_lr": 1e-6},
}
RESNET = {"pretrained": True, "base_channels": 64, "channel_mults": [1, 2, 4, 8, 16]}
SHARED = {
    "output_path": "./logs/${NOW}", "dataset_file": "datasets.lr_5band", "multigpu": False,
    "mp_loaders": 4, "learning_rate": 1e-4, "preprocessing": "log", "reduction": "subsample",
    "use_logger": False, "con_backbone": "resnet", "img_res": 64, "optim": OPTIMISER,
    "resnet": RESNET, "load_from": None,
}  # fmt: skip
CONTRASTIVE = SHARED | {
    "batch_size": 2048, "max_epochs": 500, "latent_dimensionality": 128, "weight_decay": 0.001,
}  # fmt: skip
GENERATIVE = SHARED | {
    "distributed": False, "batch_size": 512, "max_epochs": 1000, "beta_schedule": "cosine",
    "polyak_alpha": 0.9999, "backbone": "spectrumunet", "conditioning": "x-attention",
    "time_steps": 250, "latent_dimensionality": 256, "load_con_from": None,
    "spectrumunet": {
        "pretrained_encoder": False, "encoder_size": 18, "dim": 64, "attention_depths": [3, 4],
        "dim_mults": [1, 2, 4, 8, 16],
    },
    "num_eval_samples": 3, "num_eval_predictions": 25, "num_shown": 1, "num_lr_to_save": 2,
    "num_sr_to_save": 1,
}  # fmt: skip


def test_the_contrastive_file():
    config = translate(CONTRASTIVE)
    assert isinstance(config, ContrastiveConfig)
    data, towers, optimiser = config.data, config.towers, config.optimiser
    assert (data.representation, data.flux, data.standardise) == ("low", "log_positive", "none")
    assert data.positive_only and data.workers == 4
    assert (towers.stretch, towers.image_statistics) == ("linear", "survey")
    assert (towers.embedding, towers.spectrum_pooling) == (128, "mean")
    assert towers.noise == (0.0, 0.0) and towers.temperature == 0.05
    assert (optimiser.batch_size, optimiser.epochs) == (2048, 500)
    assert (optimiser.learning_rate, optimiser.final_learning_rate) == (1e-4, 1e-6)
    assert (optimiser.weight_decay, optimiser.name) == (0.001, "adam")
    assert (optimiser.gradient_clip, optimiser.ema_decay, optimiser.warmup_iterations) == (0, 0, 0)
    assert config.run.output == "./logs/${NOW}"


def test_the_generative_file():
    config = translate(GENERATIVE | {"dataset_file": "datasets.sr_5band"})
    assert isinstance(config, GenerativeConfig)
    size = config.diffusion
    assert config.data.representation == "super" and config.compatibility == "original"
    assert (size.condition, size.condition_depth, size.prior) == ("joint", 18, "none")
    assert (size.channels, size.multipliers, size.attention_levels) == (64, (1, 2, 4, 8), (3,))
    assert (size.prediction, size.schedule, size.steps) == ("noise", "cosine", 250)
    assert size.augmentation_sigma == 0
    assert (config.sampling.sampler, config.sampling.candidates) == ("ancestral", 25)
    assert (config.optimiser.ema_decay, config.optimiser.weight_decay) == (0.9999, 0)


@pytest.mark.parametrize(
    ("kind", "params"), [(ContrastiveConfig, CONTRASTIVE), (GenerativeConfig, GENERATIVE)]
)
def test_the_new_file_is_one_for_the_training_scripts(kind, params, tmp_path, capsys):
    old, new = tmp_path / "old.yml", tmp_path / "new.yml"
    old.write_text(yaml.safe_dump(params, sort_keys=False))
    assert main(["params", str(old), "--output", str(new)]) == 0
    assert capsys.readouterr().out.split()[-1] == untranslated(params)[-1]
    assert parse(kind, "", "", ["--config", str(new)])[0] == translate(params)
    assert main(["params", str(old)]) == 0
    assert capsys.readouterr().out == new.read_text()
    assert main(["params", str(old), "--output", str(new)]) == 2  # never overwritten
    assert "File exists" in capsys.readouterr().err


def test_keys_without_a_counterpart_are_named(tmp_path, capsys):
    common = ["multigpu", "reduction", "use_logger", "con_backbone", "img_res",
              "optim.lr_params.power", "resnet.pretrained", "load_from"]  # fmt: skip
    assert untranslated(CONTRASTIVE | {"nonsense": 1}) == [*common, "nonsense"]
    towers = ["resnet.base_channels", "resnet.channel_mults", "latent_dimensionality"]
    unet = ["distributed", "backbone", "load_con_from", "spectrumunet.pretrained_encoder",
            "num_shown", "num_lr_to_save", "num_sr_to_save"]  # fmt: skip
    assert set(untranslated(GENERATIVE)) == {*common, *towers, *unet}
    (tmp_path / "old.yml").write_text(yaml.safe_dump(CONTRASTIVE | {"nonsense": 1}))
    assert main(["params", str(tmp_path / "old.yml")]) == 0
    assert "# nonsense\n" in capsys.readouterr().out


def test_the_last_rate_is_what_the_optimiser_would_have():
    """The factor min_lr / optim.learning_rate multiplies the optimiser's own rate."""
    config = translate(GENERATIVE | {"learning_rate": 1e-3})
    assert config.optimiser.learning_rate == 1e-3
    assert config.optimiser.final_learning_rate == pytest.approx(1e-5)


def test_the_warm_up():
    rates = {"power": 1.0, "min_lr": 1e-6, "warmup_iters": 100, "warmup_rate": 0.001}
    warm = OPTIMISER | {"lr_function": "linear-warmup-polynomial", "lr_params": rates}
    assert translate(CONTRASTIVE | {"optim": warm}).optimiser.warmup_iterations == 100
    cold = warm | {"lr_function": "polynomial"}
    assert translate(CONTRASTIVE | {"optim": cold}).optimiser.warmup_iterations == 0


def test_colour_pictures():
    config = translate(CONTRASTIVE | {"dataset_file": "datasets.rgb", "preprocessing": "none"})
    assert (config.towers.image_statistics, config.data.flux) == ("imagenet", "none")


def test_files_of_other_kinds_are_refused(tmp_path, capsys):
    for text, complaint in (("[1, 2]", "is not a parameter file"), ("a: [", "is not a YAML file")):
        (tmp_path / "other.yml").write_text(text)
        assert main(["params", str(tmp_path / "other.yml")]) == 2
        assert complaint in capsys.readouterr().err
    assert main(["params", str(tmp_path / "none.yml")]) == 2
    (tmp_path / "short.yml").write_text("batch_size: 1\n")
    assert main(["params", str(tmp_path / "short.yml")]) == 2
    assert "lack dataset_file" in capsys.readouterr().err
