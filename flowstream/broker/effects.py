"""What a node wants done, as values, in order. The driver performs them; nothing here has
behaviour.

Within one turn: operations are performed in the order of the list; `Advance`, `WhenDurable` and
`ReplyWhenDurable` take effect once everything emitted before them (this turn's operations included)
is durable; `Reply`, `Mute` and `Close` at once. Made and dropped per request, so not frozen: that
would double their cost.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from flowstream.broker.doors import Operation
from flowstream.broker.types import ConnectionId, Instant, ReplyTo, Session, TopicPartition


class Log(Protocol):
    """What an `Advance` needs to know of a partition's log."""

    @property
    def name(self) -> TopicPartition:
        """Which partition this is the log of."""
        ...

    def advance(self, offset: int) -> None:
        """Everything below `offset` is durable: the high watermark moves there. Never backwards
        (L6).
        """
        ...


@dataclass(slots=True)
class Write:
    """Operations on the disk, performed in order."""

    operations: list[Operation]


@dataclass(slots=True)
class Advance:
    """When durable, `log`'s high watermark moves to `offset` and the fetches that wait for it are
    looked at.
    """

    log: Log
    offset: int


@dataclass(slots=True)
class WhenDurable:
    """When durable, call `then(now)` and carry out the effects it returns."""

    then: Callable[[Instant], list[Effect]]


@dataclass(slots=True)
class Reply:
    """Send `body` (a response message of `wire.messages`) to where the request came from."""

    to: ReplyTo
    body: object


@dataclass(slots=True)
class ReplyWhenDurable(Reply):
    """The same, when durable: what Produce answers, so it costs no closure."""


@dataclass(slots=True)
class Close:
    """Close the connection: its peer broke the protocol. `reason` goes to the log. With
    `after_answers` the answers it already has are sent first, and nothing more of it is read.
    """

    connection: ConnectionId
    reason: str
    after_answers: bool = False


@dataclass(slots=True)
class LoggedIn:
    """From the next request on the connection speaks for `session`."""

    connection: ConnectionId
    session: Session


@dataclass(slots=True)
class Unframed:
    """From the next message on until it is logged in the connection speaks its login's bytes alone,
    without Kafka's headers (SaslHandshake 0).
    """

    connection: ConnectionId


@dataclass(slots=True)
class Mute:
    """Read nothing more of the connection for so many ms: its client is over a quota (KIP-219)."""

    connection: ConnectionId
    milliseconds: int


@dataclass(slots=True)
class Compute:
    """Call `work`, a pure function that takes long, off the loop and tell its result by `Computed`;
    then `then(result, now)` is called and the effects it returns are carried out. A connection
    waits for one at a time; nobody wants the result once it is gone. `work` may hold secrets (X5).
    """

    connection: ConnectionId
    work: Callable[[], bytes] = field(repr=False)
    then: Callable[[bytes, Instant], list[Effect]]


@dataclass(slots=True)
class Notice:
    """Something that whoever runs the broker should read in its log."""

    text: str


@dataclass(slots=True)
class Happened:
    """Something that whoever follows the broker's log at level info reads there: all is well."""

    text: str


Effect = (
    Write
    | Advance
    | WhenDurable
    | Reply
    | ReplyWhenDurable
    | Close
    | Mute
    | LoggedIn
    | Unframed
    | Compute
    | Notice
    | Happened
)

Parkable = Advance | WhenDurable | ReplyWhenDurable
"""What waits for its write group."""
