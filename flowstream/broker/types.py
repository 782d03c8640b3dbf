"""The small words every part of the broker shares: instants, offsets, partition names. Nothing here
decides anything.
"""

from __future__ import annotations

from typing import NamedTuple, NewType

Instant = NewType("Instant", int)
"""Milliseconds since the Unix epoch; the clock is read once per event and handed on as an argument.
"""

ConnectionId = NewType("ConnectionId", int)


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
