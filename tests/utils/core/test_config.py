"""The configuration: closed, defaults in one place, ranges and contradictions checked."""

from dataclasses import replace
from typing import get_args

import pytest
import torch
import yaml

from datasets.errors import UserError
from datasets.image_transform import STRETCHES
from datasets.spectrum_transform import FLUX_TRANSFORMS, REPRESENTATIONS
from models.attention import HEAD_WIDTH
from models.attention import NORM_GROUPS as ATTENTION_GROUPS
from models.blocks import NORM_GROUPS as BLOCK_GROUPS
from models.image_encoder import LAYOUTS
from models.spectrum_encoder import SpectrumEncoder
from models.unet import SpectrumUNet
from tests.support import ROOT
from utils.core import config as module
from utils.core.command_line import parse
from utils.core.config import (
    ContrastiveConfig,
    DataConfig,
    DiffusionConfig,
    GenerativeConfig,
    SamplingConfig,
    TowersConfig,
    from_dict,
    to_dict,
)
from utils.core.regression_config import RegressionConfig

MAIN = sorted(ROOT.glob("params_*.yml"))
SHIPPED = [*MAIN, *sorted((ROOT / "params").glob("*.yml"))]
STAGES = {
    "contrastive": ContrastiveConfig,
    "generative": GenerativeConfig,
    "regression": RegressionConfig,
}
KINDS = list(STAGES.values())


def kind_of(path):
    return next(kind for stage, kind in STAGES.items() if stage in path.name)


def read(kind, *argv):
    return parse(kind, None, "", [str(argument) for argument in argv])[0]


def leaves(values):
    """Dotted key -> value."""
    found = {}
    for key, value in values.items():
        inner = leaves(value) if isinstance(value, dict) else {"": value}
        found |= {f"{key}.{name}".rstrip("."): item for name, item in inner.items()}
    return found


def test_files_are_shipped():
    assert len(MAIN) == 2 and len(SHIPPED) >= 10


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_files_parse_and_mean_what_they_say(path):
    config = read(kind_of(path), "--config", path)
    assert leaves(yaml.safe_load(path.read_text())).items() <= leaves(to_dict(config)).items()
    assert from_dict(kind_of(path), to_dict(config)) == config


@pytest.mark.parametrize("path", MAIN, ids=lambda path: path.name)
def test_the_main_files_are_the_defaults(path):
    assert yaml.safe_load(path.read_text()) == to_dict(kind_of(path)())


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_leaves_the_defaults_of_its_section_alone(kind):
    expected = kind()
    expected.optimiser.epochs = 3
    assert read(kind, "--optimiser.epochs", 3) == expected
    assert from_dict(kind, {"optimiser": {"epochs": 3}}) == expected


@pytest.mark.parametrize("path", sorted((ROOT / "params").glob("20*.yml")), ids=lambda p: p.name)
def test_published_set_ups_have_neither_warm_up_nor_clipping(path):
    optimiser = read(kind_of(path), "--config", path).optimiser
    assert (optimiser.warmup_iterations, optimiser.gradient_clip) == (0, 0)


def test_choices_are_those_of_the_code_that_takes_them():
    assert set(get_args(module.Representation)) == set(REPRESENTATIONS)
    assert set(get_args(module.Stretch)) == set(STRETCHES)
    assert set(get_args(module.Depth)) == set(LAYOUTS)
    for flux in FLUX_TRANSFORMS:
        DataConfig(flux=flux, positive_only=True)
    assert module.NORM_GROUPS == BLOCK_GROUPS
    assert module.ATTENTION_CHANNELS == HEAD_WIDTH == ATTENTION_GROUPS


@pytest.mark.parametrize("kind", KINDS)
def test_unknown_keys_are_refused(kind, tmp_path, capsys):
    path = tmp_path / "params.yml"
    path.write_text("optimiser:\n  batchsize: 8\n")
    with pytest.raises(SystemExit) as stop:
        read(kind, "--config", path)
    assert stop.value.code == 2 and "batchsize" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        read(kind, "--optimiser.batchsize", 8)
    with pytest.raises(Exception, match="batchsize"):
        from_dict(kind, {"optimiser": {"batchsize": 8}})


@pytest.mark.parametrize(
    ("argument", "complaint"),
    [
        ("--optimiser.epochs=many", "epochs"),
        ("--data.representation=high", "representation"),
        ("--data.flux=asinh", "flux"),
        ("--config=missing.yml", "missing.yml"),
    ],
)
def test_values_of_another_type_are_refused(argument, complaint, capsys):
    with pytest.raises(SystemExit) as stop:
        read(GenerativeConfig, argument)
    assert stop.value.code == 2 and complaint in capsys.readouterr().err


# Arguments, and what the message must name: the key with its value, and the remedy.
COMMON = [
    ("--data.workers=-1", "data.workers is -1", "at least 0"),
    ("--data.flux=log_positive", "data.flux log_positive", "data.positive_only true"),
    ("--optimiser.batch_size=0", "optimiser.batch_size is 0", "at least 1"),
    ("--optimiser.epochs=-1", "optimiser.epochs is -1", "greater than 0"),
    ("--optimiser.epochs=0", "optimiser.epochs is 0", "greater than 0"),
    ("--optimiser.epochs=.inf", "optimiser.epochs is inf", "greater than 0"),
    ("--optimiser.learning_rate=0", "optimiser.learning_rate is 0", "greater than 0"),
    ("--optimiser.final_learning_rate=-1", "optimiser.final_learning_rate is -1", "at least 0"),
    ("--optimiser.final_learning_rate=1", "optimiser.final_learning_rate 1", "lower the former"),
    ("--optimiser.warmup_iterations=-1", "optimiser.warmup_iterations is -1", "at least 0"),
    ("--optimiser.weight_decay=-1", "optimiser.weight_decay is -1", "at least 0"),
    ("--optimiser.gradient_clip=-1", "optimiser.gradient_clip is -1", "at least 0"),
    ("--optimiser.ema_decay=1", "optimiser.ema_decay is 1", "less than 1"),
    ("--run.seed=-1", "run.seed is -1", "at least 0"),
    ("--run.processes=0", "run.processes is 0", "at least 1"),
    ("--run.validate_every_epochs=0", "run.validate_every_epochs is 0", "at least 1"),
    ("--run.preview_every_epochs=-1", "run.preview_every_epochs is -1", "at least 0"),
    ("--run.processes=3", "optimiser.batch_size", "multiple of run.processes 3"),
]
CONTRASTIVE = [
    ("--optimiser.batch_size=2 --run.processes=2", "one galaxy to each", "needs two"),
    ("--optimiser.batch_size=1", "optimiser.batch_size is 1", "at least 2"),
    ("--data.survey=null", "data.survey is null", "give one"),
    ("--data.representation=null", "data.representation is null", "give one"),
    ("--towers.image_width=0", "towers.image_width is 0", "at least 1"),
    ("--towers.embedding=0", "towers.embedding is 0", "at least 1"),
    ("--towers.temperature=0", "towers.temperature is 0", "greater than 0"),
    ("--towers.noise=[0.3,0.1]", "towers.noise is [0.3, 0.1]", "lowest <= highest"),
    ("--towers.spectrum_channels=20", "a layer of 20 channels", "multiple of 8"),
    ("--towers.spectrum_multipliers=[1,-1]", "a layer of -64 channels", "spectrum_multipliers"),
    ("--towers.spectrum_multipliers=[]", "towers.spectrum_multipliers is empty", "give one"),
    ("--towers.imagenet_weights=w.pth --towers.image_width=16",
     "towers.imagenet_weights", "set that width"),
]  # fmt: skip
GENERATIVE = [
    ("--diffusion.condition=joint --diffusion.condition_width=8",
     "diffusion.condition_width is 8", "leave it out"),
    ("--diffusion.condition=joint --diffusion.condition_views=2",
     "diffusion.condition_views is 2", "diffusion.condition joint does not use it"),
    ("--diffusion.condition_depth=50", "diffusion.condition_depth is 50", "leave it out"),
    ("--diffusion.imagenet_weights=w.pth", "diffusion.imagenet_weights is w.pth", "leave it out"),
    ("--data.representation=low --diffusion.augmentation_sigma=0.2",
     "diffusion.augmentation_sigma is 0.2", "data.representation low does not use it"),
    ("--diffusion.augmentation_sigma=-1", "diffusion.augmentation_sigma is -1", "at least 0"),
    ("--diffusion.condition_views=-1", "diffusion.condition_views is -1", "at least 0"),
    ("--diffusion.condition_width=0", "diffusion.condition_width is 0", "at least 1"),
    ("--diffusion.steps=1", "diffusion.steps is 1", "at least 2"),
    ("--diffusion.time_width=1", "diffusion.time_width is 1", "at least 2"),
    ("--diffusion.time_width=65", "diffusion.time_width is 65", "even"),
    ("--diffusion.image_dropout=1", "diffusion.image_dropout is 1", "less than 1"),
    ("--diffusion.image_dropout=-0.1", "diffusion.image_dropout is -0.1", "at least 0"),
    ("--diffusion.multipliers=[]", "diffusion.multipliers is empty", "give one"),
    ("--diffusion.channels=20", "a layer of 20 channels", "diffusion.channels or"),
    ("--diffusion.channels=8 --diffusion.multipliers=[1,2] --diffusion.attention_levels=[]",
     "attention after diffusion.channels", "multiple of 32"),
    ("--diffusion.channels=24 --diffusion.attention_levels=[0]", "24 channels", "multiple of 32"),
    ("--diffusion.channels=16 --diffusion.attention_levels=[1]", "16 channels", "multiple of 32"),
    ("--diffusion.attention_levels=[4]", "diffusion.attention_levels [4]", "levels 0 to 3"),
    ("--sampling.steps=0", "sampling.steps is 0", "at least 1"),
    ("--sampling.steps=251", "sampling.steps 251", "lower the former"),
    ("--sampling.sampler=ancestral --sampling.steps=50", "sampling.steps is 50", "leave it out"),
    ("--sampling.candidates=0", "sampling.candidates is 0", "at least 1"),
    ("--sampling.mean_of_best=0", "sampling.mean_of_best is 0", "at least 1"),
    ("--sampling.mean_of_best=17", "sampling.mean_of_best 17", "lower the former"),
    ("--sampling.guidance=-1", "sampling.guidance is -1", "at least 0"),
    ("--sampling.guidance=2", "sampling.guidance 2", "diffusion.image_dropout above 0"),
    ("--sampling.preview_galaxies=0", "sampling.preview_galaxies is 0", "at least 1"),
    ("--compatibility=original", "diffusion.prior none", "set it so"),
    ("--compatibility=original --diffusion.prior=none", "diffusion.film false", "not true"),
    ("--prior.components=-1", "prior.components is -1", "at least 0"),
    ("--prior.smoothing_pixels=4", "prior.smoothing_pixels is 4", "odd"),
    ("--prior.bandwidth=0.3", "prior.bandwidth is 0.3", "a multiple of 0.125"),
    ("--parameters.width=40", "parameters.width makes a layer of 40", "multiple of 32"),
    ("--parameters.given=1", "parameters.given is 1", "less than 1"),
    ("--diffusion.prior=none --prior.components=8", "diffusion.prior none", "leave the section"),
    ("--diffusion.prior=none --parameters.depth=3", "diffusion.prior none", "leave the section"),
    ("--data.representation=super --parameters.depth=3", "representation super", "leave the sec"),
]  # fmt: skip
REGRESSION = [
    ("--data.survey=null", "data.survey is null", "give one"),
    ("--data.representation=low", "data.representation is low", "leave it polyphase"),
    ("--network.image_width=0", "network.image_width is 0", "at least 1"),
]
REFUSED = [
    *((ContrastiveConfig, *case) for case in COMMON + CONTRASTIVE),
    *((GenerativeConfig, *case) for case in GENERATIVE),
    *((RegressionConfig, *case) for case in REGRESSION),
]


def build(kind, arguments):
    """The configuration of a command line, without its parser, which takes longer."""
    changed = {}
    for argument in arguments.split():
        key, _, text = argument.removeprefix("--").partition("=")
        section, _, name = key.rpartition(".")
        value = yaml.safe_load(text)
        value = tuple(value) if isinstance(value, list) else value
        changed.setdefault(section, {})[name] = value
    top = changed.pop("", {})
    default = kind()
    sections = {name: replace(getattr(default, name), **new) for name, new in changed.items()}
    return replace(default, **sections, **top)


@pytest.mark.parametrize(("kind", "arguments", "key", "remedy"), REFUSED)
def test_what_cannot_work_is_refused_with_key_and_remedy(kind, arguments, key, remedy):
    with pytest.raises(UserError) as refusal:
        build(kind, arguments)
    assert key in str(refusal.value) and remedy in str(refusal.value)


@pytest.mark.parametrize("kind", KINDS)
def test_a_refusal_is_one_line_and_status_2(kind, capsys):
    with pytest.raises(SystemExit) as stop:
        read(kind, "--optimiser.batch_size=0")
    assert stop.value.code == 2
    assert capsys.readouterr().err == "error: optimiser.batch_size is 0: it must be at least 1\n"


@pytest.mark.parametrize("channels", [4, 8, 16, 24, 32])
@pytest.mark.parametrize("multipliers", [(1,), (1, 2), (3, 4), (2, 1, 4)])
def test_sizes_are_refused_exactly_where_the_networks_refuse_them(channels, multipliers):
    def built(network):
        try:
            with torch.device("meta"):
                network()
        except ValueError:
            return False
        return True

    def accepted(config):
        try:
            config()
        except UserError:
            return False
        return True

    sizes = channels, multipliers
    assert accepted(
        lambda: TowersConfig(spectrum_channels=channels, spectrum_multipliers=multipliers)
    ) == built(lambda: SpectrumEncoder(1, 563, 8, *sizes))
    for levels in ((), (0,), (1,), (2,)):
        assert accepted(
            lambda levels=levels: DiffusionConfig(
                channels=channels, multipliers=multipliers, attention_levels=levels
            )
        ) == built(lambda levels=levels: SpectrumUNet(1, 1, *sizes, levels, token_width=32))


def test_checks_hold_for_files_of_checkpoints_too():
    with pytest.raises(UserError, match=r"optimiser\.batch_size is 0"):
        from_dict(ContrastiveConfig, {"optimiser": {"batch_size": 0}})


@pytest.mark.parametrize(
    "arguments",
    [
        "--data.representation=low --diffusion.augmentation_sigma=0",
        "--data.representation=super --diffusion.augmentation_sigma=0.2",
        "--sampling.guidance=2 --diffusion.image_dropout=0.1",
        "--diffusion.condition=joint --diffusion.condition_depth=50",
        "--sampling.sampler=ancestral --diffusion.steps=5",
    ],
)
def test_what_is_close_to_a_refusal_is_allowed(arguments):
    assert isinstance(build(GenerativeConfig, arguments), GenerativeConfig)


def test_generate_may_replace_the_sampler_alone():
    assert replace(SamplingConfig(steps=10), sampler="ancestral").steps == 10


def test_stage_2_takes_survey_and_representation_of_the_towers():
    towers = DataConfig(survey="here.h5", representation="super", flux="log")
    config = GenerativeConfig().trained_on(towers)
    assert (config.data.survey, config.data.representation) == ("here.h5", "super")
    assert config.data.flux == "none"  # stage 2 has its own flux transform
    named = build(GenerativeConfig, "--data.survey=other.h5 --diffusion.augmentation_sigma=0.2")
    assert named.trained_on(towers).data.survey == "other.h5"
    with pytest.raises(UserError, match=r"data\.representation low does not use it"):
        named.trained_on(DataConfig(representation="low"))


def test_command_line_beats_file_beats_default(tmp_path):
    path = tmp_path / "params.yml"
    path.write_text("optimiser:\n  epochs: 7\n  batch_size: 9\n")
    optimiser = read(ContrastiveConfig, "--config", path, "--optimiser.epochs", 3).optimiser
    assert (optimiser.epochs, optimiser.batch_size) == (3, 9)
    assert optimiser.learning_rate == ContrastiveConfig().optimiser.learning_rate


def test_the_default_file_is_read_where_there_is_one_and_none_is_named(tmp_path, capsys):
    default, other = tmp_path / "default.yml", tmp_path / "other.yml"
    default.write_text("run:\n  seed: 5\n")
    other.write_text("data:\n  workers: 2\n")
    for argv, seed in (([], 5), (["--config", str(other)], 1), ([f"--config={other}"], 1)):
        assert parse(ContrastiveConfig, str(default), "", argv)[0].run.seed == seed
    assert parse(ContrastiveConfig, str(tmp_path / "none.yml"), "", [])[0] == ContrastiveConfig()
    default.write_text("run:\n  seeds: 5\n")
    with pytest.raises(SystemExit) as stop:
        parse(ContrastiveConfig, str(default), "", [])
    assert stop.value.code == 2 and "seeds" in capsys.readouterr().err


def test_flags():
    for argv, expected in (([], (False, False)), (["--resume", "--dry-run"], (True, True))):
        flags = parse(GenerativeConfig, "none.yml", "", argv)[1]
        assert (flags.resume, flags.dry_run) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_dicts_hold_yamls_own_types_only(kind):
    values = to_dict(kind())
    assert yaml.safe_load(yaml.safe_dump(values)) == values
    assert from_dict(kind, values) == kind()
