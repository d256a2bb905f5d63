"""The pages for looking at spectra and at runs, in a real browser where there is one."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest

from utils.plotting.gallery import (
    CHUNK,
    Column,
    Gallery,
    as_script,
    gallery_entry,
    packed,
)
from utils.plotting.training_page import write_training_page

BROWSER = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chrome")
needs_browser = pytest.mark.skipif(
    BROWSER is None, reason="no Chromium here: apt install chromium, to test the pages in it"
)
HOSTILE = '<img src=x onerror="document.title=1">&amp;</script>'
COLUMNS = (
    Column("name", "name", "of the galaxy"),
    Column("image_flag", "flag", "unlike the training's", "flag"),
    Column("z", "z", "redshift"),
)
WAVELENGTH = np.linspace(4000.0, 8499.0, 450)


def galaxy(name, z, flag=False, **more):
    generator = np.random.default_rng(round(1000 * z))
    return gallery_entry(
        name,
        generator.normal(size=(5, 16, 16)).astype(np.float32),
        tuple("ugriz"),
        1 + z * np.sin(WAVELENGTH / 200),
        np.full(450, 0.1),
        generator.normal(1, 0.1, (3, 450)),
        redshift=z,
        values={"z": z, "z_err": 0.01, "image_flag": flag},
        links=[("spectrum (FITS)", "spectra/a%20b.fits")],
        **more,
    )


def write(folder, galaxies):
    gallery = Gallery(
        folder, "A title & more", "a note", tuple("ugriz"), WAVELENGTH, COLUMNS, {}, 0.396
    )
    for galaxy in galaxies:  # one by one, as a run adds them
        gallery.add([galaxy])
    return gallery.close()


class Page(HTMLParser):
    """The elements of a page after its scripts have run: tag, attributes and text of each."""

    def __init__(self, path, address=""):
        super().__init__()
        self.elements: list[tuple[str, dict, list[str]]] = []
        command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
        command += ["--virtual-time-budget=8000", "--host-resolver-rules=MAP * ~NOTFOUND"]
        address = f"file://{path}{address}"
        self.source = subprocess.run(
            [*command, address], capture_output=True, text=True, check=True, timeout=120
        ).stdout
        self.feed(self.source)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes), []))

    def handle_data(self, data):
        if self.elements:
            self.elements[-1][2].append(data)

    def texts(self, tag):
        return ["".join(parts).strip() for name, _, parts in self.elements if name == tag]

    def attributes(self, tag, name):
        return [
            values[name]
            for element, values, _ in self.elements
            if element == tag and name in values
        ]


@needs_browser
def test_the_page_shows_a_galaxy_and_its_values(tmp_path):
    edges = np.linspace(0.05, 0.15, 11)
    first = galaxy(
        "NGC 1", 0.1, truth=1 + 0.1 * np.cos(WAVELENGTH / 90), pdf=(edges, np.full(10, 0.1))
    )
    page = Page(write(tmp_path, [first, galaxy("NGC 2", 0.05)]))
    assert page.attributes("body", "data-shown") == ["NGC 1"]
    assert page.texts("h1") == ["A title & more"] and page.texts("h2") == ["NGC 1"]
    assert "0.1000 ± 0.01000" in page.texts("dd")
    assert "spectra/a%20b.fits" in page.attributes("a", "href")
    for text in ("best candidate", "observed", "±1σ of the candidates", "Hα + [N II]", "redshift"):
        assert text in page.source, text
    assert "other candidates" not in "".join(page.texts("text"))
    assert page.attributes("img", "src")[0].startswith("data:image/png;base64,")


@needs_browser
def test_the_address_keeps_order_filter_and_galaxy(tmp_path):
    galaxies = [galaxy(f"G{k}", z, flag=k == 2) for k, z in enumerate((0.08, 0.14, 0.11, 0.05))]
    path = write(tmp_path, galaxies)
    names = lambda page: [t for t in page.texts("td") if re.fullmatch(r"G\d", t)]  # noqa: E731
    assert names(Page(path)) == ["G0", "G1", "G2", "G3"]
    assert names(Page(path, "#sort=z")) == ["G3", "G0", "G2", "G1"]
    assert names(Page(path, "#sort=z&down=1&flags=none")) == ["G1", "G0", "G3"]
    page = Page(path, "#find=z%3E0.06+z%3C0.12&galaxy=G2&candidates=1")
    assert names(page) == ["G0", "G2"] and page.attributes("body", "data-shown") == ["G2"]
    assert "other candidates" in page.source


ACTIONS = """
addEventListener("load", () => setTimeout(() => {
  const press = (key) => document.dispatchEvent(new KeyboardEvent("keydown", { key }));
  press("ArrowDown");
  press("ArrowDown");
  press("ArrowUp");
  press("c");
  document.querySelector("#theme").click();
  [...document.querySelectorAll("th button")].find((b) => b.textContent === "z").click();
  const find = document.querySelector("#filter");
  find.value = "z<0.12";
  find.dispatchEvent(new Event("input"));
}, 500));
"""


@needs_browser
def test_keys_and_clicks(tmp_path):
    path = write(tmp_path, [galaxy(f"G{k}", z) for k, z in enumerate((0.08, 0.14, 0.11, 0.05))])
    page = path.read_text()
    path.write_text(page.replace("</body>", f"<script>{ACTIONS}</script></body>"))
    page = Page(path, "#dark=0")
    assert page.attributes("body", "data-shown") == ["G1"]
    assert page.attributes("html", "class") == ["dark"]
    assert "other candidates" in page.source
    names = [text for text in page.texts("td") if re.fullmatch(r"G\d", text)]
    assert names == ["G3", "G0", "G2"] and "3 of 4" in page.texts("span")


@needs_browser
def test_text_from_files_never_becomes_markup(tmp_path):
    page = Page(write(tmp_path, [galaxy(HOSTILE, 0.1)]))
    assert page.texts("title") == ["A title & more"]
    assert page.attributes("body", "data-shown") == [HOSTILE]
    assert "x" not in page.attributes("img", "src")


@needs_browser
def test_of_many_galaxies_the_data_lie_beside_the_page(tmp_path):
    path = write(tmp_path, (galaxy(f"G{k}", 0.05 + k / 1000) for k in range(CHUNK + 3)))
    assert len(list((tmp_path / "gallery").iterdir())) == 2
    assert Page(path, f"#galaxy=G{CHUNK + 1}").attributes("body", "data-shown") == [f"G{CHUNK + 1}"]


@needs_browser
def test_a_run_has_a_page_too(tmp_path):
    rows = [{"epoch": k, "iteration": 10 * k, "loss": 1 / k, "recall_1": k / 10} for k in (1, 2, 3)]
    (tmp_path / "preview_0003.png").write_bytes(b"a picture")
    page = Page(write_training_page(tmp_path, rows, "run: <b>\n"))
    assert page.texts("pre") == ["run: <b>"]
    assert {"losses", "recall"} <= set(page.texts("text"))
    data = base64.b64encode(b"a picture").decode()
    assert page.attributes("img", "src") == [f"data:image/png;base64,{data}"]


def test_packed_numbers_come_back_within_a_65534th():
    values = np.append(np.random.default_rng(1).normal(size=300), np.nan)
    data = packed(values)
    codes = np.frombuffer(base64.b64decode(data["codes"]), "<u2").astype(float)
    step = (data["high"] - data["low"]) / 65534
    np.testing.assert_allclose(data["low"] + codes[:-1] * step, values[:-1], atol=0.51 * step)
    assert codes[-1] == 65535
    assert packed(np.full(3, np.nan))["low"] == 0.0 and packed(np.ones(3))["high"] == 1.0


def test_a_script_cannot_be_ended_by_its_data():
    assert "</" not in as_script({"name": HOSTILE})
    with pytest.raises(ValueError, match="JSON"):
        as_script(float("nan"))


def test_a_second_page_replaces_the_first(tmp_path):
    write(tmp_path, (galaxy(f"G{k}", 0.05 + k / 1000) for k in range(CHUNK + 3)))
    write(tmp_path, [galaxy("G0", 0.1)])
    assert not (tmp_path / "gallery").exists()
