"""The configuration: closed, complete in the main files, the command line before the file."""

import pytest
import yaml

from tests.support import ROOT
from utils.core.command_line import parse
from utils.core.config import ContrastiveConfig, GenerativeConfig, from_dict, to_dict
from utils.train_regression import RegressionConfig

MAIN = sorted(ROOT.glob("params_*.yml"))
SHIPPED = [*MAIN, *sorted((ROOT / "params").glob("*.yml"))]
KINDS = [ContrastiveConfig, GenerativeConfig]


STAGES = {
    "contrastive": ContrastiveConfig,
    "generative": GenerativeConfig,
    "regression": RegressionConfig,
}


def kind_of(path):
    return next(kind for stage, kind in STAGES.items() if stage in path.name)


def read(kind, *argv):
    return parse(kind, "none.yml", "", [str(argument) for argument in argv])[0]


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
def test_the_main_files_list_every_key(path):
    listed = leaves(yaml.safe_load(path.read_text()))
    assert listed.keys() == leaves(to_dict(kind_of(path)())).keys()


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
        ("--config=missing.yml", "missing.yml"),
    ],
)
def test_values_of_another_type_are_refused(argument, complaint, capsys):
    with pytest.raises(SystemExit) as stop:
        read(GenerativeConfig, argument)
    assert stop.value.code == 2 and complaint in capsys.readouterr().err


def test_command_line_beats_file_beats_default(tmp_path):
    path = tmp_path / "params.yml"
    path.write_text("optimiser:\n  epochs: 7\n  batch_size: 9\n")
    optimiser = read(ContrastiveConfig, "--config", path, "--optimiser.epochs", 3).optimiser
    assert (optimiser.epochs, optimiser.batch_size) == (3, 9)
    assert optimiser.learning_rate == ContrastiveConfig().optimiser.learning_rate


def test_the_default_file_is_read_where_there_is_one_and_none_is_named(tmp_path):
    default, other = tmp_path / "default.yml", tmp_path / "other.yml"
    default.write_text("run:\n  seed: 5\n")
    other.write_text("data:\n  workers: 2\n")
    for argv, seed in (([], 5), (["--config", str(other)], 1), ([f"--config={other}"], 1)):
        assert parse(ContrastiveConfig, str(default), "", argv)[0].run.seed == seed
    assert parse(ContrastiveConfig, str(tmp_path / "none.yml"), "", [])[0] == ContrastiveConfig()


def test_flags():
    for argv, expected in (([], (False, False)), (["--resume", "--dry-run"], (True, True))):
        flags = parse(GenerativeConfig, "none.yml", "", argv)[1]
        assert (flags.resume, flags.dry_run) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_dicts_hold_yamls_own_types_only(kind):
    values = to_dict(kind())
    assert yaml.safe_load(yaml.safe_dump(values)) == values
    assert from_dict(kind, values) == kind()
