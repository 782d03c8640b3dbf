"""The event time of the records that an agent reads: what its source asks of them. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from flowstream.processing.events.event import Arrival
from flowstream.processing.events.event_time import bounded
from flowstream.processing.streams.stream import Feed

T = TypeVar("T")


def timed(
    feed: Feed, event_ms: Callable[[T], int] | None, *, minds_time: bool
) -> Callable[[Arrival, T], T] | None:
    """A source's shape that gives each record the event time that its value says; where none does,
    and event time matters, it has to have one.
    """
    if event_ms is None:
        return bounded if minds_time else None

    def shape(record: Arrival, value: T) -> T:
        del record
        feed.retime(event_ms(value))
        return value

    return shape
