"""Names of galaxies as file names: no two of a run share a file, on any file system."""

from __future__ import annotations

import hashlib

LONGEST_STEM_BYTES = 120  # without suffix: eCryptfs takes names of 143 bytes, others of 255
FORBIDDEN = '/\\:*?"<>|'  # on one file system or another


def file_stem(name: str) -> str:
    """A galaxy's name as a file name that any file system takes.

    `#`, with which TOPCAT marks an extension, and what no file name may contain become `-`; the end
    of a very long name becomes a digest.
    """
    stem = "".join("-" if c in f"#{FORBIDDEN}" or not c.isprintable() else c for c in name)
    stem = stem.strip(". ") or "unnamed"
    encoded = stem.encode("utf-8", "replace")
    if len(encoded) <= LONGEST_STEM_BYTES:
        return stem
    kept = encoded[: LONGEST_STEM_BYTES - 17].decode("utf-8", "ignore")
    return f"{kept}-{hashlib.sha256(encoded).hexdigest()[:16]}"


def as_text(name: str) -> str:
    """A file's name with bytes that are not UTF-8 as escapes, which can be written anywhere."""
    return name.encode(errors="surrogateescape").decode(errors="backslashreplace")


def free_name(name: str, taken: set[str]) -> str:
    """`name`, or `name~2`, `name~3` … where its file is taken; the file is `taken` from then on."""
    found, number = name, 1
    while file_stem(found).casefold() in taken:
        number += 1
        found = f"{name}~{number}"
    taken.add(file_stem(found).casefold())
    return found
