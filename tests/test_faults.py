"""A short run of `make faults`, without the demo."""

import pytest

from tests import faults

KINDS = (
    "training-contrastive", "training-generative", "generation-files", "generation-shards",
    "disk-full", "dying-worker", "truncated-survey", "exploding-loss",
)  # fmt: skip


def test_nothing_is_lost(capsys):
    arguments = ["--count", "1", "--epochs", "2", "--seed", "2", "--only", *KINDS]
    assert faults.main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [line.split() for line in lines] == [[kind, "1", "1", "0"] for kind in KINDS]


def test_an_unknown_kind_of_fault_is_refused(capsys):
    with pytest.raises(SystemExit):
        faults.main(["--only", "rain"])
    assert "rain is not one of training-contrastive" in capsys.readouterr().err


def test_a_difference_counts_as_a_loss(tmp_path):
    for name, contents in (("whole", b"a"), ("other", b"b")):
        (tmp_path / name / "spectra").mkdir(parents=True)
        (tmp_path / name / "spectra" / "galaxy.fits").write_bytes(contents)
        (tmp_path / name / "rejected.csv").write_text("file,reason\n")
    whole, other = tmp_path / "whole", tmp_path / "other"
    assert faults.same_files(whole, whole) == []
    assert "other contents" in faults.same_files(whole, other)[0]
    (other / "spectra" / "galaxy.fits").unlink()
    assert "missing or too many" in faults.same_files(whole, other)[0]
