"""Checks of option values: every refusal names the full key and the remedy."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

from datasets.errors import UserError


def refuse(wrong: bool, message: str) -> None:
    """Raise UserError with `message` where `wrong` holds."""
    if wrong:
        raise UserError(message)


def at_least(low: float, section: str, config: Any, *names: str) -> None:
    """Refuse numbers below `low`, infinite ones and NaN; None counts as unset.

    Args:
        low: Smallest value that is allowed.
        section: Section of the keys, such as `optimiser`.
        config: The dataclass of that section.
        names: Its fields.

    Raises:
        UserError: a value is out of range.
    """
    for name in names:
        value = getattr(config, name)
        if value is not None and not low <= value < math.inf:
            raise UserError(f"{section}.{name} is {value}: it must be at least {low}")


def positive(section: str, config: Any, *names: str) -> None:
    """Refuse numbers that are not positive and finite; arguments as in `at_least`."""
    for name in names:
        value = getattr(config, name)
        if not 0 < value < math.inf:
            raise UserError(f"{section}.{name} is {value}: it must be greater than 0")


def fraction(section: str, config: Any, *names: str) -> None:
    """Refuse numbers outside [0, 1); arguments as in `at_least`."""
    for name in names:
        value = getattr(config, name)
        if not 0 <= value < 1:
            raise UserError(f"{section}.{name} is {value}: it must be at least 0 and less than 1")


def unused(section: str, config: Any, reason: str, *names: str) -> None:
    """Refuse options that were changed although `reason` leaves them without effect.

    Args:
        section, config, names: As in `at_least`.
        reason: The key and value that make them meaningless.

    Raises:
        UserError: one of them differs from its default.
    """
    defaults = {field.name: field.default for field in fields(config)}
    for name in names:
        value = getattr(config, name)
        if value != defaults[name]:
            raise UserError(
                f"{section}.{name} is {value}, but {reason} does not use it: leave it out, or "
                f"set it to its default {defaults[name]}"
            )


def multiples(of: int, key: str, widths: list[int], remedy: str) -> None:
    """Refuse layer widths that group normalisation or attention heads cannot divide.

    Args:
        of: The number that must divide every width.
        key: The key that sets the widths.
        widths: Channels of the layers.
        remedy: The keys to change.

    Raises:
        UserError: a width is not a positive multiple.
    """
    for width in widths:
        if width <= 0 or width % of:
            raise UserError(
                f"{key} makes a layer of {width} channels, which must be a positive multiple of "
                f"{of}: change {remedy}"
            )
