"""What an outbox asks of a database: effects of events, and their position, in one transaction.

Pure. Whoever implements this must not know topics, agents or workers.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

from flowstream.errors import FlowstreamError


class OutboxRefused(FlowstreamError):
    """A database that does not fit the app's position, or a function that ended its transaction."""


class PlaceHeld(FlowstreamError):
    """Somebody else is at a place; nothing was done, and it may be tried again."""


class Place(NamedTuple):
    """Whose position it is: that of an app's outbox in a partition."""

    app: str
    outbox: str
    topic: str
    partition: int


class Known(NamedTuple):
    """What the database knows of a place: the topic (as hex, empty where the cluster has no ids),
    and the offset behind the last event that it has the effects of.
    """

    topic_id: str
    next_offset: int


class Session(Protocol):
    """A connection. All but `transaction`, `holder` and `close` happens inside of a transaction."""

    @property
    def connection(self) -> Any:
        """The driver's own."""

    @property
    def is_broken(self) -> bool:
        """Whether only another connection can help."""

    def transaction(self) -> AbstractContextManager[None]:
        """All or nothing of the block."""

    def lent(self) -> AbstractContextManager[None]:
        """The block is the user's: it may do all but end the transaction (OutboxRefused)."""

    def enter(self, place: Place) -> Known | None:
        """What is known of a place, if anything; nobody else may enter it meanwhile. PlaceHeld
        where somebody has entered it, and has not come to an end in a moment.
        """

    def is_new_to(self, app: str, outbox: str) -> bool:
        """Whether nothing is known of any place of an outbox."""

    def begin(self, place: Place, known: Known) -> Known:
        """Make a place known, unless somebody has meanwhile; nobody else may enter it either.
        PlaceHeld as above.
        """

    def advance(self, place: Place, next_offset: int) -> None:
        """The effects go up to here now."""

    def replace(self, place: Place, known: Known) -> None:
        """This is known of a place now, whatever was."""

    def put_aside(self, place: Place, offset: int, reason: str) -> None:
        """An event has no effect, for this reason."""

    def aside(self, place: Place, first: int, end: int) -> Mapping[int, str]:
        """Reasons by offset, of events from `first` to before `end` that have no effect."""

    def holder(self, place: Place) -> str:
        """Who has entered a place and not come to an end, for people; outside of a transaction."""

    def close(self) -> None:
        """Let the connection go."""


class Target(Protocol):
    """A database."""

    def connect(self) -> Session:
        """Open a connection, and make what outboxes need where it is missing."""
