"""Giving events to a database exactly once: the decision, and the order of its steps.

Pure over the session that it was given. Whether an event has had its effects is what the database
itself says, in the transaction that would repeat them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

from flowstream.outbox.target import Known, OutboxRefused, Place, Session

STEPS = ("begin", "enter", "function", "advance", "commit")
"""What may be cut off: a checkpoint is called after each."""


class Numbered(Protocol):
    """An event, as far as it matters here."""

    @property
    def offset(self) -> int:
        """Its place in the partition."""


E = TypeVar("E", bound=Numbered)
Checkpoint = Callable[[str], None]


class Standing(NamedTuple):
    """A place, the topic's id there, and the offset up to which the app is done with it."""

    place: Place
    topic_id: str
    position: int


def apply(
    session: Session, at: Standing, events: Sequence[E], function: Callable[[Any, list[E]], object],
    checkpoint: Checkpoint,
) -> Mapping[int, str]:  # fmt: skip
    """Give the events that the database does not have yet to the function, and remember that.

    Gives the reasons of those that were put aside in an earlier try, by offset.
    """
    aside: Mapping[int, str] = {}
    with session.transaction():
        checkpoint("begin")
        known = _enter(session, at)
        checkpoint("enter")
        fresh = [event for event in events if event.offset >= known.next_offset]
        if len(fresh) < len(events):
            aside = session.aside(at.place, events[0].offset, known.next_offset)
        if fresh:
            with session.lent():
                function(session.connection, fresh)
            checkpoint("function")
            session.advance(at.place, fresh[-1].offset + 1)
            checkpoint("advance")
    checkpoint("commit")
    return aside


def put_aside(session: Session, at: Standing, offset: int, reason: str) -> None:
    """Remember that an event gets no effect, and go on behind it."""
    with session.transaction():
        if offset >= _enter(session, at).next_offset:
            session.put_aside(at.place, offset, reason)
            session.advance(at.place, offset + 1)


def _enter(session: Session, at: Standing) -> Known:
    place = at.place
    known = session.enter(place, Known(at.topic_id, at.position))
    where = f"outbox {place.outbox!r} of app {place.app!r}, {place.topic}-{place.partition}"
    if at.topic_id and known.topic_id and at.topic_id != known.topic_id:
        raise OutboxRefused(
            f"{where}: the topic was deleted and made anew, and the database is at offset"
            f" {known.next_offset} of the old one. If the new topic has other events, delete the"
            " row of this place from flowstream_offsets and start again"
        )
    if known.next_offset < at.position:
        raise OutboxRefused(
            f"{where}: the database has the effects up to offset {known.next_offset}, but the app"
            f" is done up to {at.position}: was it restored from a backup? Take the app back with"
            " `flowstream reset`, or, if what is between may be missing, delete the row of this"
            " place from flowstream_offsets"
        )
    return known
