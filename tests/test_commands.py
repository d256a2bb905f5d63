"""What every command of the project has: help that fits a screen, version, quiet, debug."""

from __future__ import annotations

import sys

import pytest
import yaml

import generate
import train_contrastive
import train_generative
from datasets.command_parser import CommandParser
from datasets.errors import DEBUG
from datasets.version import VERSION
from tests.support import tiny
from utils import shards, weights

SCREEN = 60  # lines
MAINS = {
    "generate": generate.main,
    "contrastive": train_contrastive.main,
    "generative": train_generative.main,
    "weights": weights.main,
}


@pytest.fixture(autouse=True)
def streams(monkeypatch):
    """`--quiet` and `--debug` are for the rest of a process: for tests, of one test."""
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    monkeypatch.setattr(sys, "stderr", sys.stderr)
    monkeypatch.setenv(DEBUG, "")
    monkeypatch.setenv("COLUMNS", "100")


def stopped(main, *arguments):
    with pytest.raises(SystemExit) as error:
        main(list(arguments))
    return error.value.code


@pytest.mark.parametrize("name", MAINS)
def test_help_fits_a_screen_and_version_is_the_codes(name, capsys):
    assert stopped(MAINS[name], "--help") == 0
    brief = capsys.readouterr().out
    assert 10 < len(brief.splitlines()) <= SCREEN
    assert stopped(MAINS[name], "--version") == 0
    assert capsys.readouterr().out.startswith(VERSION)


@pytest.mark.parametrize(
    ("name", "option"),
    [("generate", "--guidance"), ("contrastive", "--towers.temperature"),
     ("generative", "--diffusion.channels")],
)  # fmt: skip
def test_every_option_is_explained_on_demand(name, option, capsys):
    stopped(MAINS[name], "--help")
    assert option not in capsys.readouterr().out
    assert stopped(MAINS[name], "--help-all") == 0
    assert option in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "arguments", "meant"),
    [
        ("generate", ["x", "--output", "y", "--candidats", "3"], "--candidates"),
        ("contrastive", ["--optimiser.epohcs", "3"], "--optimiser.epochs"),
        ("generative", ["--diffussion.channels=3"], "--diffusion.channels"),
    ],
)
def test_a_mistyped_option_is_guessed(name, arguments, meant, capsys):
    assert stopped(MAINS[name], *arguments) == 2
    assert f"did you mean {meant}?" in capsys.readouterr().err


def test_a_mistyped_key_in_a_file_is_guessed(tmp_path, capsys):
    path = tmp_path / "params.yml"
    path.write_text("optimiser:\n  learning_rat: 1\n")
    assert stopped(train_contrastive.main, f"--config={path}") == 2
    assert "did you mean --optimiser.learning_rate?" in capsys.readouterr().err


def test_a_printed_configuration_is_a_configuration(tmp_path, capsys):
    assert stopped(train_contrastive.main, tiny("contrastive"), "--print-config") == 0
    printed = capsys.readouterr().out
    assert yaml.safe_load(printed)["towers"]["image_width"] == 8
    (tmp_path / "all.yml").write_text(printed)
    assert (
        stopped(train_contrastive.main, f"--config={tmp_path / 'all.yml'}", "--print-config") == 0
    )
    assert capsys.readouterr().out == printed


def test_debug_shows_where_an_error_comes_from(tmp_path, capsys):
    arguments = [str(tmp_path / "no"), "--output", str(tmp_path / "out")]
    assert generate.main(arguments) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert generate.main([*arguments, "--debug"]) == 2
    errors = capsys.readouterr().err
    assert "Traceback" in errors and "does not exist" in errors


def test_quiet_prints_errors_only(tmp_path, capsys):
    assert weights.main(["list"]) == 0 and "mock-ugriz" in capsys.readouterr().out
    assert weights.main(["list", "--quiet"]) == 0
    assert not sys.stderr.isatty()
    assert shards.main(["--quiet", "check", str(tmp_path)]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and "not the record of a run" in printed.err


def test_the_flags_reach_no_command(monkeypatch):
    values = vars(CommandParser("").parse_args(["--quiet", "--debug"]))
    assert values == {}
