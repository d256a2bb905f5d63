"""A page to look at galaxies and their spectra: `index.html`, which needs no server and no network.

The page holds its style, its script and the plotting library (plotly.js). Of few galaxies it holds
the data, too; of many, files of `CHUNK` galaxies lie in `gallery/` beside it and are read when they
are looked at. Text from files never becomes markup: the script writes it as text.
"""

from __future__ import annotations

import base64
import html
import io
import json
import math
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from datasets.atomic_files import write_text
from datasets.colour_composite import to_rgb
from utils.plotting.spectrum_panel import MARKS, SCALE_BAR_ARCSEC

PAGE = Path(__file__).parent / "page"
CHUNK = 50  # galaxies in a file of data; up to so many are in the page itself
MOST_CANDIDATES = 5  # besides the best
EVERY = 3  # pixels of a candidate, of which one is kept
LARGEST_CODE = 65534  # of a packed number; the next one is NaN


@dataclass(frozen=True)
class Column:
    """A column of the page's table.

    Args:
        key: Of the values of a galaxy.
        label: Its heading.
        help: What it is, shown at the heading.
        kind: `value`, or `flag`: a warning where it is true.
    """

    key: str
    label: str
    help: str
    kind: str = "value"


@dataclass
class Gallery:
    """Writes a page, whose galaxies come one after the other.

    Args:
        folder: Where the page is written, anew.
        title, note: Above the page.
        bands: Of the cutouts.
        wavelength_angstrom: (pixels,), vacuum, observed frame.
        columns: Of the table; the first is the name.
        units: Of the values, by name.
        pixel_scale_arcsec: Of the cutouts; None for no scale bar.
    """

    folder: Path
    title: str
    note: str
    bands: Sequence[str]
    wavelength_angstrom: np.ndarray
    columns: Sequence[Column]
    units: Mapping[str, str]
    pixel_scale_arcsec: float | None = None
    _rows: list[list] = field(default_factory=list, init=False)
    _part: list[dict] = field(default_factory=list, init=False)  # not yet in a file
    _size: int = field(default=1, init=False)  # of the cutouts, pixels

    def __post_init__(self) -> None:
        shutil.rmtree(self.folder / "gallery", ignore_errors=True)

    def add(self, entries: Iterable[dict[str, Any]]) -> None:
        """Add galaxies, each as `gallery_entry` makes it."""
        for entry in entries:
            self._rows.append([entry["values"].get(column.key) for column in self.columns])
            self._rows[-1][0] = entry["name"]
            self._part.append(entry)
            self._size = entry["size"]
            if len(self._part) == CHUNK:
                self._write_part()

    def close(self) -> Path:
        """Write the page, and return its path."""
        inline = ""
        if self._part and len(self._rows) < CHUNK:
            inline = f"<script>{_chunk_script(0, self._part)}</script>"
        elif self._part:
            self._write_part()
        write_text(self.folder / "index.html", self._page(inline))
        return self.folder / "index.html"

    def _write_part(self) -> None:
        (self.folder / "gallery").mkdir(exist_ok=True)
        number = (len(self._rows) - 1) // CHUNK
        script = _chunk_script(number, self._part)
        write_text(self.folder / "gallery" / f"chunk_{number:03d}.js", script)
        self._part = []

    def _page(self, inline: str) -> str:
        scale = self.pixel_scale_arcsec
        data = {
            "columns": [vars(column) for column in self.columns],
            "rows": self._rows,
            "chunk": CHUNK,
            "wavelength": packed(self.wavelength_angstrom),
            "lines": list(MARKS.items()),
            "units": dict(self.units),
            "bar": scale
            and {"arcsec": SCALE_BAR_ARCSEC, "fraction": SCALE_BAR_ARCSEC / (scale * self._size)},
        }
        return fill_page(
            "gallery",
            {
                "TITLE": html.escape(self.title),
                "NOTE": html.escape(self.note),
                "DATA": as_script(data),
                "CHUNKS": inline,
            },
        )


def gallery_entry(
    name: str,
    image: np.ndarray,
    bands: Sequence[str],
    best: np.ndarray,
    sigma: np.ndarray,
    candidates: np.ndarray,
    *,
    values: Mapping[str, Any],
    truth: np.ndarray | None = None,
    scale: float | None = None,
    redshift: float = math.nan,
    pdf: tuple[np.ndarray, np.ndarray] | None = None,
    links: Sequence[tuple[str, str]] = (),
) -> dict[str, Any]:
    """What a page holds of a galaxy, as JSON has it.

    Args:
        name: Unique.
        image, bands: (bands, height, width), the cutout, and the names of its bands.
        best, sigma: (pixels,) normalised flux of the best candidate, and the spread of all.
        candidates: (kept, pixels) the others.
        values: What is shown of it, by name; the error of NAME is called NAME_err.
        truth: (pixels,) normalised, NaN where unknown, or None.
        scale: 1e-17 erg/s/cm²/Å per normalised unit, or None.
        redshift: Where lines are marked; NaN if unknown.
        pdf: Edges (bins + 1,) and probabilities (bins,) of the redshift, or None.
        links: Label and path, relative to the page, of its files.
    """
    shown = None
    if pdf is not None:
        edges, probability = pdf
        density = probability / np.diff(edges)
        shown = {
            "z": np.round((edges[1:] + edges[:-1]) / 2, 5).tolist(),
            "density": [float(f"{value:.4g}") for value in density],
        }
    return {
        "name": name,
        "size": image.shape[-1],
        "image": _png(image, bands),
        "best": packed(best),
        "sigma": packed(sigma),
        "candidates": [packed(one) for one in candidates[:MOST_CANDIDATES, ::EVERY]],
        "every": EVERY,
        "truth": None if truth is None else packed(truth),
        "scale": _plain(scale),
        "redshift": _plain(redshift),
        "pdf": shown,
        "values": {key: _plain(value) for key, value in values.items()},
        "links": list(links),
    }


def packed(values: np.ndarray) -> dict[str, Any]:
    """Numbers as 16-bit codes between their bounds, which the page's script unpacks."""
    values = np.asarray(values, np.float64)
    known = np.isfinite(values)
    low, high = (float(f(values[known])) if known.any() else 0.0 for f in (np.min, np.max))
    codes = np.full(values.shape, LARGEST_CODE + 1, "<u2")
    codes[known] = np.round((values[known] - low) / ((high - low) or 1.0) * LARGEST_CODE)
    return {"low": low, "high": high, "codes": base64.b64encode(codes.tobytes()).decode()}


def fill_page(name: str, texts: Mapping[str, str]) -> str:
    """The page with the body `page/NAME.html`, its script, the style, the library, and `texts`."""
    library = Path(find_spec("plotly").origin).parent / "package_data" / "plotly.min.js"
    parts = {
        "CHUNKS": "",
        "STYLE": (PAGE / "page.css").read_text(encoding="utf-8"),
        "BODY": (PAGE / f"{name}.html").read_text(encoding="utf-8"),
        "SCRIPT": (PAGE / f"{name}.js").read_text(encoding="utf-8"),
        "LIBRARY": library.read_text(encoding="utf-8").replace("</script", "<\\/script"),
        **texts,
    }
    first, *pieces = (PAGE / "page.html").read_text(encoding="utf-8").split("%%")
    # odd pieces are the names of what is put in their place
    return first + "".join(parts[p] if k % 2 == 0 else p for k, p in enumerate(pieces))


def as_script(data: Any) -> str:
    """JSON that may stand inside a script element of a page."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _chunk_script(number: int, galaxies: list[dict]) -> str:
    return f"galleryChunk({number},{as_script(galaxies)});"


def _plain(value: Any) -> Any:
    """A value as JSON has it: NaN and infinities are unknown."""
    if value is np.ma.masked:
        return None
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


def _png(image: np.ndarray, bands: Sequence[str]) -> str:
    """The colour composite of a cutout; FITS images have their first row at the bottom."""
    from PIL import Image

    rgb = (255 * np.clip(to_rgb(image, bands), 0, 1)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(rgb if set("RGB") <= set(bands) else rgb[::-1]).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()
