"""Who may begin or go on in a run directory, and what is recorded there."""

from __future__ import annotations

import json

import pytest
import yaml

from datasets.errors import UserError
from utils.core.config import ContrastiveConfig, GenerativeConfig, to_dict
from utils.core.run_directory import MAY_CHANGE, check_run, record_run
from utils.core.run_log import MetricsTable

CONFIG = to_dict(ContrastiveConfig())


def changed(section, key, value):
    return CONFIG | {section: CONFIG[section] | {key: value}}


@pytest.fixture
def begun(tmp_path):
    """A run that was stopped before its first epoch ended."""
    record_run(tmp_path / "run", CONFIG, 1, resumed=False)
    return tmp_path / "run"


@pytest.fixture
def saved(begun):
    """A run with a checkpoint."""
    (begun / "last.pt").touch()
    return begun


def test_a_run_begins_in_a_new_folder_also_with_resume(tmp_path):
    for resume in (False, True):
        assert check_run(tmp_path / "new", CONFIG, resume) is False
    assert not (tmp_path / "new").exists()


def test_a_run_without_a_checkpoint_begins_anew_with_resume_only(begun):
    assert check_run(begun, CONFIG, resume=True) is False
    (begun / "config.yml").write_text("")  # cut off: nothing depends on it yet
    assert check_run(begun, CONFIG, resume=True) is False
    with pytest.raises(UserError, match="add --resume"):
        check_run(begun, CONFIG, resume=False)


def test_a_run_with_a_checkpoint_goes_on_with_resume_only(saved):
    assert check_run(saved, CONFIG, resume=True) is True
    with pytest.raises(UserError, match="add --resume"):
        check_run(saved, CONFIG, resume=False)


def test_the_checkpoint_before_serves_where_the_last_is_missing(saved):
    (saved / "last.pt").rename(saved / "previous.pt")
    assert check_run(saved, CONFIG, resume=True) is True


def test_weights_alone_are_not_overwritten(begun):
    (begun / "best.pt").touch()
    table = MetricsTable(begun / "metrics.csv")
    table.append({"epoch": 1.0})  # stopped between its first best.pt and its first last.pt
    assert check_run(begun, CONFIG, resume=True) is False
    table.append({"epoch": 2.0})
    with pytest.raises(UserError, match=r"no last\.pt to go on from: .*--run\.output"):
        check_run(begun, CONFIG, resume=True)
    (begun / "metrics.csv").unlink()
    (begun / "config.yml").unlink()
    for resume in (False, True):
        with pytest.raises(UserError, match=r"--run\.output"):
            check_run(begun, CONFIG, resume)


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [("run", "device", "cuda:1"), ("data", "workers", 3), ("optimiser", "epochs", 999.0)],
)
def test_a_resumed_run_may_change_where_and_how_long_it_computes(saved, section, key, value):
    assert check_run(saved, changed(section, key, value), resume=True) is True


def test_a_resumed_run_may_not_change_what_decides_results(saved):
    other = changed("run", "seed", 5) | {"new": 1}
    with pytest.raises(UserError) as refused:
        check_run(saved, other, resume=True)
    lines = str(refused.value).splitlines()
    assert lines[1:] == ["  new: None -> 1", "  run.seed: 1 -> 5"]


@pytest.mark.parametrize("text", ["", "run: [", "just a word"])
def test_a_damaged_configuration_is_refused_with_a_remedy(saved, text):
    (saved / "config.yml").write_text(text)
    with pytest.raises(UserError, match=r"config\.yml is missing or damaged: .*--run\.output"):
        check_run(saved, CONFIG, resume=True)


@pytest.mark.parametrize("text", ["", '{"command": ', "[]"])
def test_a_damaged_record_is_refused_with_a_remedy(saved, text):
    (saved / "run.json").write_text(text)
    with pytest.raises(UserError, match=r"run\.json is missing or damaged"):
        record_run(saved, CONFIG, 1, resumed=True)


def test_every_call_is_recorded(saved):
    (saved / ".last.123.part.pt").touch()  # of a killed process
    for device in ("cpu", "cuda"):
        record_run(saved, changed("run", "device", device), 1, resumed=True)
    record = json.loads((saved / "run.json").read_text())
    assert {"command", "seed", "versions"} < record.keys() and len(record["resumed"]) == 2
    assert yaml.safe_load((saved / "config.yml").read_text())["run"]["device"] == "cuda"
    assert sorted(path.name for path in saved.iterdir()) == ["config.yml", "last.pt", "run.json"]


def test_what_may_change_are_keys_of_the_configuration():
    values = to_dict(GenerativeConfig())
    sections = {**values, "parameters.optimiser": values["parameters"]["optimiser"]}
    keys = {f"{section}.{key}" for section, inner in sections.items() if isinstance(inner, dict)
            for key in inner}  # fmt: skip
    assert all(any(key.startswith(name) for key in keys) for name in MAY_CHANGE)
