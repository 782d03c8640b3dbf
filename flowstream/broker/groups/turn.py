"""What one event causes in a group, collected in order while it is decided: records and replies.
Values only."""

from __future__ import annotations

from dataclasses import dataclass, field

from flowstream.broker.decision import Decision
from flowstream.broker.groups.records import Record
from flowstream.broker.groups.room import Room
from flowstream.broker.types import Instant, ReplyTo

NEW_MEMBER_JOIN_TIMEOUT_MS = 300_000
"""A new member cannot send heartbeats; its first join is given up after this time even in a longer
rebalance."""


@dataclass(frozen=True, slots=True)
class GroupLimits:
    """The settings that rule classic groups."""

    session_timeout_min_ms: int
    session_timeout_max_ms: int
    initial_rebalance_delay_ms: int
    size_max: int


@dataclass(slots=True)
class Turn:
    """One event's time, the limits, the room that is left and what has been decided so far."""

    now: Instant
    limits: GroupLimits
    room: Room
    records: list[Record] = field(default_factory=list)
    replies: list[tuple[ReplyTo, object]] = field(default_factory=list)

    def after(self, delay_ms: int) -> Instant:
        """The instant `delay_ms` from now."""
        return Instant(self.now + delay_ms)

    def reply(self, to: ReplyTo, body: object) -> None:
        """Answer when the records of this turn are durable."""
        self.replies.append((to, body))

    def decision(self) -> Decision[Record]:
        """All of it."""
        return Decision(tuple(self.records), tuple(self.replies))
