"""A result of a join, and how both of its sides travel in one record. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

from flowstream.processing.values.codecs import Codec

L = TypeVar("L")
R = TypeVar("R")

LEFT_HEADER = "join-left"
RIGHT_HEADER = "join-right"
"""Both sides' bytes; they travel with a result that becomes a dead letter."""


class Joined(NamedTuple, Generic[L, R]):
    """Both sides of a join; None where there is none."""

    left: L
    right: R


def joined_shape(left: Codec[L], right: Codec[R]) -> Callable[[Any, Any], Joined[Any, Any] | None]:
    """(record, value) to both sides, decoded; None where the record has no value."""

    def joined(record: Any, value: Any) -> Joined[Any, Any] | None:
        if value is None:
            return None
        sides = dict(record.headers)
        one, two = sides.get(LEFT_HEADER), sides.get(RIGHT_HEADER)
        return Joined(
            None if one is None else left.decode(one), None if two is None else right.decode(two)
        )

    return joined
