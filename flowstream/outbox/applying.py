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


class UnknownPlace(Exception):
    """The database knows nothing of a place, and the app may not be new there."""


class Standing(NamedTuple):
    """A place, the topic's id there, and the offset up to which the app is done with it; `is_new`
    when it is done with no event that is there, so that a database may know nothing of it.
    """

    place: Place
    topic_id: str
    position: int
    is_new: bool = False

    @property
    def where(self) -> str:
        """For people."""
        app, outbox, topic, partition = self.place
        return f"outbox {outbox!r} of app {app!r}, {topic}-{partition}"


def apply(
    session: Session, at: Standing, events: Sequence[E], function: Callable[[Any, list[E]], object],
    checkpoint: Checkpoint,
) -> Mapping[int, str]:  # fmt: skip
    """Give the events that the database does not have yet to the function, and remember that.

    Gives the reasons of those that were put aside in an earlier try, by offset. UnknownPlace, with
    nothing done, where the database should know something.
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


def refused(at: Standing, known: Known | None) -> OutboxRefused | None:
    """Why a database that knows this of a place cannot go on there, if it cannot."""
    begin = (
        f"`flowstream outbox begin {at.place.outbox}` lets the database go on from where the app is"
    )
    if known is None:
        return OutboxRefused(
            f"{at.where}: the app is done up to offset {at.position}, and the database knows of"
            " nothing: is it another one, or was it made anew? Give the app the database that it"
            " had. To fill this one from the first record on, take the app back with `flowstream"
            f" reset`. If what is before {at.position} may be missing here, as for an outbox that"
            f" is new on a topic which the app reads already: {begin}"
        )
    if at.topic_id and known.topic_id and at.topic_id != known.topic_id:
        return OutboxRefused(
            f"{at.where}: the topic was deleted and made anew, and the database is at offset"
            f" {known.next_offset} of the old one. If the new topic has other events: {begin}"
        )
    if known.next_offset < at.position:
        return OutboxRefused(
            f"{at.where}: the database has the effects up to offset {known.next_offset}, but the"
            f" app is done up to {at.position}: was it restored from a backup? Take the app back"
            f" with `flowstream reset`; or, if what is between may be missing: {begin}"
        )
    return None


def begin(session: Session, at: Standing, *, execute: bool) -> OutboxRefused | None:
    """Let a database that would be refused go on from the app's position; gives what it was that
    would have been refused. Without `execute` nothing is changed.
    """
    with session.transaction():
        known = session.enter(at.place)
        why = None if known is None and at.is_new else refused(at, known)
        if why is not None and execute:
            session.replace(at.place, Known(at.topic_id, at.position))
    return why


def _enter(session: Session, at: Standing) -> Known:
    known = session.enter(at.place)
    if known is None:
        if not at.is_new:
            raise UnknownPlace(at.place)
        known = session.begin(at.place, Known(at.topic_id, at.position))
    why = refused(at, known)
    if why is not None:
        raise why
    return known
