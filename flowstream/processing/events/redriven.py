"""Redriven records: dead letters that were sent back, each to the agent that had failed on it.

Pure. Such a record lies in its topic once more, and its first header says whose it is. Whoever else
reads the topic has had the record and passes it by. A header that names another topic is of a copy
that somebody made with all headers: it says nothing there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flowstream.processing.events.event import Arrival, Retimed

ADDRESS = "flowstream.redriven-to"

Headers = tuple[tuple[str, bytes | None], ...]


@dataclass(frozen=True, slots=True)
class PassedBy:
    """A record that is another's, in the shape of one that says nothing."""

    came: Arrival
    lost: str = ""
    """The agent it is for, where this app has none of that name on the topic (any more), and it
    falls to this reader to say so.
    """
    key: None = None
    value: None = None
    headers: Headers = ()

    @property
    def topic(self) -> str:
        """The topic."""
        return self.came.topic

    @property
    def partition(self) -> int:
        """The partition."""
        return self.came.partition

    @property
    def offset(self) -> int:
        """The offset."""
        return self.came.offset

    @property
    def timestamp(self) -> int:
        """Milliseconds since the epoch."""
        return self.came.timestamp


def address(app: str, agent: str, topic: str) -> tuple[str, bytes]:
    """The header of a record that is sent back to an agent."""
    return ADDRESS, f"{app}/{agent}/{topic}".encode()


def has_redriven(records: Sequence[Arrival]) -> bool:
    """Whether some of these are for one agent. Asked for every record that arrives."""
    return bool([r for r in records if r.headers and r.headers[0][0] == ADDRESS])


def shared_out(
    records: Sequence[Arrival], app: str, agents: Sequence[str]
) -> list[Sequence[Arrival]]:
    """What each of an app's agents on a topic sees of these records.

    >>> headers = (address("shop", "count", "orders"), ("h", b"1"))
    >>> record = Retimed("orders", 0, 7, 0, b"k", b"v", headers)
    >>> [other], [mine] = shared_out([record], "shop", ["sum", "count"])
    >>> mine.value, mine.headers, other.value, other.offset
    (b'v', (('h', b'1'),), None, 7)
    """
    shares: list[list[Arrival]] = [[] for _ in agents]
    for record in records:
        for agent, seen in zip(agents, shares, strict=True):
            seen.append(_seen(record, app, agent, agents))
    return list(shares)


def _seen(record: Arrival, app: str, agent: str, agents: Sequence[str]) -> Arrival:
    headers = tuple(record.headers)
    if not headers or headers[0][0] != ADDRESS:
        return record
    told = (headers[0][1] or b"").decode("utf-8", "replace")
    whose, _, topic = told.rpartition("/")
    of_app, _, named = whose.partition("/")
    if topic != record.topic:
        return record
    if of_app != app:
        return PassedBy(record)
    if named == agent:
        # From here on it is what it was: no copy that the agent makes of its headers is addressed.
        return Retimed(
            record.topic, record.partition, record.offset, record.timestamp, record.key,
            record.value, headers[1:],
        )  # fmt: skip
    return PassedBy(record, named if named not in agents and agent == agents[0] else "")
