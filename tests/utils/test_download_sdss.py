"""Downloading from a small archive on this machine: layout, resuming, retries, the skip list."""

import csv
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from datasets.sdss import archive as sdss_archive
from datasets.sdss.archive import relative_path
from datasets.sdss.spec_files import read_spec_file, spec_object_identifier
from tests.spec_files import write_spec_file
from utils.download_sdss import main

LEGACY = spec_object_identifier(266, 51630, 215, "26")
BOSS = spec_object_identifier(10000, 57346, 3, "v5_13_0")
ABSENT = spec_object_identifier(300, 52000, 1, "103")


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """A server of two spectra; `server.trouble[path]` holds answers to give first."""
    monkeypatch.setattr(sdss_archive, "FIRST_WAIT_S", 0.01)
    files = {}
    for identifier in (LEGACY, BOSS):
        path = write_spec_file(
            tmp_path / "x.fits", identifier, 3.6 + 1e-4 * np.arange(9), np.ones(9)
        )
        files[f"/dr/{relative_path(identifier)}"] = path.read_bytes()
        path.unlink()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.asked[self.path] += 1
            trouble = self.server.trouble.get(self.path, [])
            status, body = trouble.pop(0) if trouble else (200, files.get(self.path))
            if body is None:
                return self.send_error(404)
            self.send_response(status)
            self.send_header("Content-Length", str(len(files[self.path])))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.trouble, server.files = Counter(), {}, files
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def run(archive, tmp_path, identifiers):
    table = tmp_path / "catalogue.csv"
    table.write_text("specObjID,z\n" + "".join(f"{i},0.1\n" for i in identifiers))
    url = f"http://127.0.0.1:{archive.server_address[1]}/dr/"
    return main([str(table), str(tmp_path / "out"), "--base-url", url])


def files_in(tmp_path):
    return sorted(str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.f*"))


def test_addresses_of_both_archives():
    assert relative_path(LEGACY) == (
        "sdss/spectro/redux/26/spectra/lite/0266/spec-0266-51630-0215.fits"
    )
    assert relative_path(BOSS) == (
        "eboss/spectro/redux/v5_13_0/spectra/lite/10000/spec-10000-57346-0003.fits"
    )


def test_download_resume_and_skip_list(archive, tmp_path):
    assert run(archive, tmp_path, [LEGACY, ABSENT, BOSS, LEGACY]) == 1
    expected = ["0266/spec-0266-51630-0215.fits", "10000/spec-10000-57346-0003.fits"]
    assert files_in(tmp_path) == expected
    assert read_spec_file(tmp_path / "out" / expected[1]).specobjid == BOSS
    with open(tmp_path / "out/skipped.csv") as file:
        (skipped,) = csv.DictReader(file)
    assert (skipped["specobjid"], skipped["reason"]) == (str(ABSENT), "HTTP 404 Not Found")

    before = archive.asked.copy()
    assert set(before.values()) == {1}
    (tmp_path / "out" / expected[0]).unlink()
    assert run(archive, tmp_path, [LEGACY, ABSENT, BOSS]) == 1
    assert archive.asked - before == {f"/dr/{relative_path(LEGACY)}": 1}
    assert files_in(tmp_path) == expected
    assert run(archive, tmp_path, [LEGACY, BOSS, 0]) == 0  # 0: unknown


@pytest.mark.parametrize("trouble", ["server error", "half a file", "error page"])
def test_troubles_are_retried_and_never_stored(archive, tmp_path, trouble):
    path = f"/dr/{relative_path(LEGACY)}"
    whole = archive.files[path]
    answer = {
        "server error": (503, whole),
        "half a file": (200, whole[: len(whole) // 2]),
        "error page": (200, b"x" * len(whole)),
    }[trouble]
    archive.trouble[path] = [answer] * 2
    assert run(archive, tmp_path, [LEGACY]) == 0
    assert archive.asked[path] == 3
    archive.trouble[path] = [answer] * 9
    Path(tmp_path / "out/0266/spec-0266-51630-0215.fits").unlink()
    assert run(archive, tmp_path, [LEGACY]) == 1
    assert files_in(tmp_path) == []
    archive.trouble.clear()
    assert run(archive, tmp_path, [LEGACY]) == 0  # only what does not exist is given up for good
    assert (tmp_path / "out/skipped.csv").read_text().count("\n") == 1


def test_a_dead_server_ends_the_run(archive, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sdss_archive, "HOPELESS_FAILURES", 3)
    table = tmp_path / "catalogue.csv"
    identifiers = [spec_object_identifier(266, 51630, fiber, "26") for fiber in range(1, 200)]
    table.write_text("specObjID\n" + "".join(f"{i}\n" for i in identifiers))
    assert main([str(table), str(tmp_path / "out"), "--base-url", "http://127.0.0.1:9"]) == 1
    assert "try again later" in capsys.readouterr().err
    assert (tmp_path / "out/skipped.csv").read_text().count("\n") < 20


def test_an_address_without_its_scheme_is_refused(tmp_path, capsys):
    (tmp_path / "a.csv").write_text(f"specObjID\n{LEGACY}\n")
    table, output = str(tmp_path / "a.csv"), str(tmp_path / "out")
    assert main([table, output, "--base-url", "data.sdss.org/sas/dr16"]) == 2
    assert "--base-url data.sdss.org/sas/dr16: begin with https://" in capsys.readouterr().err


def test_a_catalogue_without_identifiers(tmp_path, capsys):
    (tmp_path / "a.csv").write_text("plate,mjd\n266,51630\n")
    assert main([str(tmp_path / "a.csv"), str(tmp_path / "out")]) == 2
    assert "lacks the columns specobjid" in capsys.readouterr().err
