"""The page of deviations: every switch it names exists and takes the value it gives."""

import re

import pytest
import yaml

from datasets.errors import UserError
from tests.support import ROOT
from utils import build_survey
from utils.core.config import ContrastiveConfig, GenerativeConfig, from_dict, to_dict
from utils.original.__main__ import main as original

PAGE = ROOT / "docs" / "deviations.md"
COMMANDS = {"build_survey": build_survey.main, "utils.original": original}


def switches():
    rows = [line.strip("| ").split(" | ") for line in PAGE.read_text().splitlines() if "|" in line]
    return [switch for row in rows if len(row) == 4 for switch in re.findall(r"`(.+?)`", row[3])]


KEYS = sorted({switch for switch in switches() if ": " in switch})
CALLS = sorted({switch for switch in switches() if " --" in switch})


def test_the_page_has_switches():
    assert len(KEYS) > 15 and len(CALLS) > 3
    assert set(switches()) == {*KEYS, *CALLS}


@pytest.mark.parametrize("switch", KEYS)
def test_keys_exist_and_change_the_default_of_the_main_files(switch):
    name, _, text = switch.partition(": ")
    value = yaml.safe_load(text)
    *section, key = name.split(".")
    found = 0
    for kind, file in ((ContrastiveConfig, "contrastive"), (GenerativeConfig, "generative")):
        main = yaml.safe_load((ROOT / f"params_{file}.yml").read_text())
        inner = main.get(section[0], {}) if section else main
        if key in inner:
            assert inner[key] != value
            inner[key] = value
            found += 1
            try:
                resolved = to_dict(from_dict(kind, main))
            except UserError as error:  # it needs another switch, too
                assert f"{name} {value}" in str(error) and "set" in str(error)
                continue
            assert (resolved[section[0]] if section else resolved)[key] == value
    assert found


@pytest.mark.parametrize("switch", CALLS)
def test_options_exist(switch, capsys):
    command, *words = switch.split()
    run = COMMANDS[command]
    options = [word for word in words if word.startswith("--")]
    call = words[: words.index(options[0])]
    with pytest.raises(SystemExit):
        run([*call, "--help"])
    text = capsys.readouterr().out
    for option in options:
        assert option in text
