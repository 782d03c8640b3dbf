"""Decide, write, apply: what a coordinator's request method returns, and what the write path needs
of a coordinator.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from flowstream.broker.types import ReplyTo
from flowstream.errors import FlowstreamError, WireError

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Decision(Generic[R]):
    """Nothing has changed yet: `records` go to the coordinator's log as one batch, are applied in
    that turn, and `replies` leave when the records are durable (at once when there are none).
    """

    records: tuple[R, ...] = ()
    replies: tuple[tuple[ReplyTo, object], ...] = ()


class Unwritable(FlowstreamError):
    """A decision has a record that its log cannot carry: this broker's error, whoever asked. What
    the same request decided before is in memory and not on disk, so the node stops.
    """

    def __init__(self, log: object, records: Iterable[object], error: WireError) -> None:
        """`log` by its name."""
        kinds = ", ".join(dict.fromkeys(type(each).__name__ for each in records))
        super().__init__(
            f"{log}: {kinds} cannot be written: {error}; this is an error of the broker, not of the"
            " client that asked"
        )


class EventSourced(Protocol[R]):
    """A core whose durable state is the fold of its records: `replay(records) == durable(live
    state)`.
    """

    def encode(self, record: R) -> tuple[bytes | None, bytes | None]:
        """The record's key and value as they stand in the log; a None value is a tombstone."""
        ...

    def decode(self, key: bytes | None, value: bytes | None) -> R | None:
        """The inverse of `encode`; None for record types that this core does not keep."""
        ...

    def apply(self, record: R) -> None:
        """The only mutator of durable state, live and on replay."""
        ...
