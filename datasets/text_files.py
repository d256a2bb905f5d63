"""Text files of others, in the encodings that editors and spreadsheets write."""

from __future__ import annotations

import codecs
from pathlib import Path

MARKS = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}  # byte-order marks


def read_text(path: str | Path) -> str:
    """The text of a file in UTF-8 or UTF-16, or else of Windows' code page 1252."""
    data = Path(path).read_bytes()
    encoding = next((MARKS[mark] for mark in MARKS if data.startswith(mark)), "utf-8-sig")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")
