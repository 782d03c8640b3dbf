"""The small words every part of the broker shares: instants, offsets, partition names. Nothing here
decides anything.
"""

from __future__ import annotations

from typing import NamedTuple, NewType

Instant = NewType("Instant", int)
"""Milliseconds since the Unix epoch; the clock is read once per event and handed on as an argument.
"""

ConnectionId = NewType("ConnectionId", int)
NOBODY = ConnectionId(0)
"""Of no connection: those are numbered from 1."""


class TopicPartition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition}"


class ReplyTo(NamedTuple):
    """Where a reply goes: the request's connection, correlation id, API key and version."""

    connection: ConnectionId
    correlation_id: int
    api_key: int
    version: int


class Principal(NamedTuple):
    """Who sends a request. `str` is the form that access rules use: `User:alice`."""

    type: str
    name: str

    def __str__(self) -> str:
        return f"{self.type}:{self.name}"


ANONYMOUS = Principal("User", "ANONYMOUS")
"""Who has not said who it is, under Kafka's name."""


class Session(NamedTuple):
    """What is known of a connection's peer: replaced as a whole when it logs in."""

    principal: Principal = ANONYMOUS
    listener: str = "PLAINTEXT"
    protocol: str = "PLAINTEXT"
    expires: Instant | None = None
    """Until when the login holds (KIP-368); None: as long as the connection."""
    mechanism: str = ""
    """The SASL mechanism of the login; empty when there was none."""


LOCAL = Session()
"""A connection without any security."""
