"""Option types of the commands that generate spectra; light, for a quick `--help`."""

from __future__ import annotations

from collections.abc import Callable

REQUESTS = ("sampled", "unconditional", "given")  # of a condition, beside a value
SMALLEST = {"redshift": 0.0, "snr": 1e-3}  # value that can be requested; S/N per SDSS pixel


def parse_condition(name: str, given: bool = True) -> Callable[[str], str]:
    """The argparse type of a condition: one of `REQUESTS`, or a value.

    Args:
        name: `redshift` or `snr`.
        given: whether `given`, a value per galaxy, can be requested.
    """
    words = REQUESTS if given else REQUESTS[:2]

    def check(text: str) -> str:
        if text not in words and not float(text) >= SMALLEST[name]:
            raise ValueError(text)
        return text

    check.__name__ = name  # argparse says "invalid NAME value"
    return check


def at_least_one(text: str) -> int:
    """The argparse type of a count."""
    if int(text) < 1:
        raise ValueError(text)
    return int(text)


at_least_one.__name__ = "count (1 or more)"
