"""What pages of other origins may do with an app's pages (CORS), as Faust has it said.

Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

MOST_AGE_S = 86_400
_ORIGIN = re.compile(r"\*|null|https?://[^/\s*]+")


@dataclass(frozen=True, slots=True)
class CrossOrigin:
    """What pages of one origin may do."""

    allow_credentials: bool = False
    expose_headers: tuple[str, ...] = ()
    allow_headers: tuple[str, ...] = ()
    max_age: int = 5
    """For so many seconds a browser need not ask again; as it is without any."""
    allow_methods: tuple[str, ...] = ()
    """None: those that the page answers."""


_NAMES = tuple(each.name for each in fields(CrossOrigin))


def cross_origin(given: object) -> dict[str, CrossOrigin]:
    """By origin ("*": of any), what it may do: dicts, or objects with these attributes, as
    aiohttp_cors has them. ValueError when they cannot be.
    """
    if not isinstance(given, Mapping):
        raise ValueError(f"a dict by origin, as 'https://shop.example' or '*', not {given!r}")
    return {_origin(origin): _options(options) for origin, options in given.items()}


def _origin(origin: object) -> str:
    if not isinstance(origin, str) or not _ORIGIN.fullmatch(origin):
        raise ValueError(f"{origin!r} is no origin: 'https://shop.example', without a path, or '*'")
    return origin


def _options(options: Any) -> CrossOrigin:
    if not isinstance(options, Mapping):
        options = {name: getattr(options, name) for name in _NAMES if hasattr(options, name)}
        if not options:
            raise ValueError(f"an origin has a dict of {', '.join(_NAMES)}")
    unknown = sorted(set(options) - set(_NAMES))
    if unknown:
        raise ValueError(f"{', '.join(map(str, unknown))}: there are {', '.join(_NAMES)}")
    found = {name: value for name, value in options.items() if value is not None}
    for name in ("expose_headers", "allow_headers", "allow_methods"):
        if name in found:
            found[name] = _listed(name, found[name])
    if not isinstance(found.get("allow_credentials", False), bool):
        raise ValueError("allow_credentials is True or False")
    age = found.get("max_age", 0)
    if isinstance(age, bool) or not isinstance(age, int) or not 0 <= age <= MOST_AGE_S:
        raise ValueError(f"max_age is a number of seconds up to {MOST_AGE_S}")
    return CrossOrigin(**found)


def _listed(name: str, value: object) -> tuple[str, ...]:
    if value == "*":
        return ("*",)
    if not isinstance(value, list | tuple | set | frozenset):
        raise ValueError(f"{name} is a list of texts, or '*'")
    listed = list(value)
    if not all(isinstance(each, str) and each.isprintable() for each in listed):
        raise ValueError(f"{name} is a list of texts, or '*'")
    return tuple(sorted(listed))


def is_cross_origin(given: object) -> bool:
    """Whether it can be."""
    try:
        cross_origin(given)
    except ValueError:
        return False
    return True
