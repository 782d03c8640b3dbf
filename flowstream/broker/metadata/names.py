"""Which topic names Kafka allows, which two may not live side by side, since when topics are named
by id; which node a name means.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from flowstream.wire.fields import ZERO_UUID
from flowstream.wire.messages.metadata import MetadataRequestTopic

BY_ID = 12
"""The first version of Metadata that asks by topic id (KIP-516)."""
MAX_LENGTH = 249
MOST_DIGITS = 10
"""Of a number of 32 bits."""
_LEGAL = re.compile(r"[a-zA-Z0-9._-]+", re.ASCII)


def problem_with(name: str) -> str | None:
    """Why `name` is no topic name, as Kafka words it; None when it is one."""
    if not name:
        return "the empty string is not allowed"
    if name in (".", ".."):
        return f"'{name}' is not allowed"
    if len(name) > MAX_LENGTH:
        return f"the length of '{name}' is longer than the max allowed length {MAX_LENGTH}"
    if not _LEGAL.fullmatch(name):
        return (
            f"'{name}' contains one or more characters other than "
            "ASCII alphanumerics, '.', '_' and '-'"
        )
    return None


def folded(name: str) -> str:
    """What two topic names may not share: metrics write dots as underscores, so they would clash.

    >>> folded("a.b") == folded("a_b")
    True
    """
    return name.replace(".", "_")


def by_id_too_early(asked: Iterable[MetadataRequestTopic], version: int) -> bool:
    """Whether a Metadata request names topics as only later versions may: 10 and 11 have ids and
    nullable names in their form, and Kafka refuses to read them there.
    """
    return version < BY_ID and any(t.name is None or t.topic_id != ZERO_UUID for t in asked)


def node_id(name: str) -> int | None:
    """The node that a resource's name means; None where it is no number of 32 bits.

    >>> node_id("-1"), node_id("07"), node_id("2147483648"), node_id("9" * 5000)
    (-1, 7, None, None)
    """
    digits = name.removeprefix("-")
    if not digits.isdecimal() or len(digits) > MOST_DIGITS:
        return None
    number = int(name)
    return number if -(1 << 31) <= number < 1 << 31 else None
