"""Kinds of settings: what values a setting takes, and how text becomes a checked value, in Kafka's words
(DescribeConfigs tells a setting's kind by name and number). Pure.
"""

# ruff: noqa: E501 - one docstring on one line

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_WHOLE = re.compile(r"\s*[+-]?[0-9]{1,19}\s*", re.ASCII)
"""What Java reads as a number: Python would also take `1_000` and other scripts' digits."""


class BadValue(ValueError):
    """A value that its setting does not allow; the text says what would be allowed."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What values a setting takes: Kafka's type name and number (DescribeConfigs), and how text becomes a checked value."""

    type: str
    type_id: int
    parse: Callable[[str], Any]


def _bounded(value: float, low: float | None, high: float | None) -> None:
    if low is not None and value < low:
        raise BadValue(f"Value must be at least {low}")
    if high is not None and value > high:
        raise BadValue(f"Value must be no more than {high}")


def whole(type: str = "int", low: int | None = None, high: int | None = None) -> Kind:
    """Integers of Kafka's `int`, `short` or `long` between `low` and `high`."""
    type_id, bits = {"int": (3, 31), "short": (4, 15), "long": (5, 63)}[type]

    def parse(text: str) -> int:
        try:
            value = int(text.strip() if _WHOLE.fullmatch(text) else "")
        except ValueError:
            raise BadValue(f"Not a number of type {type.upper()}") from None
        if not -(1 << bits) <= value < 1 << bits:
            raise BadValue(f"Not a number of type {type.upper()}")
        _bounded(value, low, high)
        return value

    return Kind(type, type_id, parse)


def fraction(low: float, high: float) -> Kind:
    """Kafka's `double` between `low` and `high`."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise BadValue("Not a number of type DOUBLE") from None
        if value != value:
            raise BadValue("Not a number of type DOUBLE")
        _bounded(value, low, high)
        return value

    return Kind("double", 6, parse)


def choice(*allowed: str) -> Kind:
    """One of `allowed`; any text when there are none."""

    def parse(text: str) -> str:
        if allowed and text not in allowed:
            raise BadValue(f"String must be one of: {', '.join(allowed)}")
        return text

    return Kind("string", 2, parse)


class Secret(str):
    """A text that nobody is shown (X5)."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "[hidden]"


SECRET = Kind("password", 9, Secret)


def several(*allowed: str) -> Kind:
    """A comma-separated list of some of `allowed`; of anything when there are none."""

    def parse(text: str) -> tuple[str, ...]:
        items = tuple(item.strip() for item in text.split(",")) if text.strip() else ()
        for item in items:
            if allowed and item not in allowed:
                raise BadValue(f"String must be one of: {', '.join(allowed)}")
        return items

    return Kind("list", 7, parse)


def _parse_flag(text: str) -> bool:
    value = {"true": True, "false": False}.get(text.strip().lower())
    if value is None:
        raise BadValue("Expected value to be either true or false")
    return value


FLAG = Kind("boolean", 1, _parse_flag)
