"""Files that appear whole or not at all."""

import csv
import os

import pytest

from datasets.atomic_files import atomic_path, write_csv, write_text

NAME = os.fsdecode(b"caf\xe9.fits")  # of a file on a disk from times before UTF-8


def test_names_that_are_not_utf8_are_written_with_their_bytes(tmp_path):
    write_csv(tmp_path / "rejected.csv", ("file", "reason"), [(NAME, "empty"), ("é", "empty")])
    with open(tmp_path / "rejected.csv", newline="", encoding="utf-8") as file:
        assert [row["file"] for row in csv.DictReader(file)] == [r"caf\udce9.fits", "é"]
    write_text(tmp_path / "page.html", NAME)
    assert (tmp_path / "page.html").read_text() == r"caf\udce9.fits"


def test_a_file_that_is_not_finished_leaves_the_old_one(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(KeyError), atomic_path(path) as temporary:
        temporary.write_text("new")
        raise KeyError
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]
