"""Redriven records: dead letters that were sent back, each to the agent that had failed on it.

Pure. Such a record lies in its topic once more, and its first header says whose it is:
`app/agent/topic`, with `:left` or `:right` behind it where the agent joins, as it may read one
topic as both. Whoever else reads the topic has had the record and passes it by. A header that names
another topic is of a copy that somebody made with all headers: it says nothing there. The second
header says where the record was at first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flowstream.processing.events.event import Arrival, Came, Retimed
from flowstream.transport.types import LogRecord

ADDRESS = "flowstream.redriven-to"
FROM = "flowstream.redriven-from"
MOST_DIGITS = 19

Headers = tuple[tuple[str, bytes | None], ...]


@dataclass(frozen=True, slots=True)
class Addressee:
    """An agent, as those are told apart that read one topic."""

    agent: str
    side: str = ""
    """Where it joins, as which side it reads: "left" or "right"."""

    def __str__(self) -> str:
        return f"{self.side and f'the {self.side} side of '}agent {self.agent!r}"


@dataclass(frozen=True, slots=True)
class PassedBy(Came):
    """A record that is another's, in the shape of one that says nothing."""

    came: Arrival
    timestamp: int
    """Milliseconds since the epoch."""
    lost: Addressee | None = None
    """Whose it is, where this app has none such on the topic (any more), or two, and it falls to
    this reader to say so.
    """
    key: None = None
    value: None = None
    headers: Headers = ()


def address(app: str, agent: str, topic: str, side: str = "") -> tuple[str, bytes]:
    """The header of a record that is sent back to an agent."""
    # A colon is in no topic's name; an agent's may have anything.
    return ADDRESS, f"{app}/{agent}/{topic}{side and ':'}{side}".encode()


def first_place(offset: int) -> Headers:
    """What says where a record was before it was sent back; nothing where that is below 0."""
    return () if offset < 0 else ((FROM, b"%d" % offset),)


def age_of(record: LogRecord, topic: str) -> int:
    """Where a record of a topic was at first: one that was sent back is no newer than it was. -1
    when it does not say.
    """
    headers = record.headers
    if not headers or headers[0][0] != ADDRESS or _told(headers[0][1])[1] != topic:
        return record.offset
    digits = headers[1][1] if len(headers) > 1 and headers[1][0] == FROM else None
    return int(digits) if digits and digits.isdigit() and len(digits) <= MOST_DIGITS else -1


def _told(address: bytes | None) -> tuple[str, str, str]:
    """Whose it is ("app/agent"), in which topic, and which side's."""
    whose, _, place = (address or b"").decode("utf-8", "replace").rpartition("/")
    topic, _, side = place.partition(":")
    return whose, topic, side


def has_redriven(records: Sequence[Arrival]) -> bool:
    """Whether some of these are for one agent. Asked for every record that arrives."""
    return bool([r for r in records if r.headers and r.headers[0][0] == ADDRESS])


def shared_out(
    records: Sequence[Arrival], app: str, readers: Sequence[Addressee]
) -> list[Sequence[Arrival]]:
    """What each of an app's readers of a topic sees of these records.

    >>> headers = (address("shop", "count", "orders"), ("h", b"1"))
    >>> record = Retimed("orders", 0, 7, 0, b"k", b"v", headers)
    >>> both = [Addressee("sum"), Addressee("count")]
    >>> [other], [mine] = shared_out([record], "shop", both)
    >>> mine.value, mine.headers, other.value, other.offset
    (b'v', (('h', b'1'),), None, 7)
    """
    shares: list[list[Arrival]] = [[] for _ in readers]
    for record in records:
        for seen, share in zip(shares, _shares(record, app, readers), strict=True):
            seen.append(share)
    return list(shares)


def _shares(record: Arrival, app: str, readers: Sequence[Addressee]) -> list[Arrival]:
    headers = tuple(record.headers)
    if not headers or headers[0][0] != ADDRESS:
        return [record] * len(readers)
    whose, topic, side = _told(headers[0][1])
    of_app, _, agent = whose.partition("/")
    if topic != record.topic:
        return [record] * len(readers)
    shares: list[Arrival] = [PassedBy(record, record.timestamp)] * len(readers)
    if of_app == app:
        named = Addressee(agent, side)
        index = _index_of(named, readers)
        if index is None:
            shares[0] = PassedBy(record, record.timestamp, named)
        else:
            # From here on it is what it was: no copy that the agent makes of its headers is
            # addressed.
            own = headers[2:] if headers[1:] and headers[1][0] == FROM else headers[1:]
            shares[index] = Retimed(
                record.topic, record.partition, record.offset, record.timestamp, record.key,
                record.value, own,
            )  # fmt: skip
    return shares


def _index_of(named: Addressee, readers: Sequence[Addressee]) -> int | None:
    """Which of these it is; None where none is, and where two may be. An agent that joins no more
    is what was its left side; one that does not say a side is the only one of its name.
    """
    sides = {"": ("", "left", "right"), "left": ("", "left")}.get(named.side, (named.side,))
    found = [
        index
        for index, each in enumerate(readers)
        if each.agent == named.agent and each.side in sides
    ]
    return found[0] if len(found) == 1 else None
