"""What one event decides in a consumer group, and by which settings: collected while it is
decided. Values only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from flowstream.broker.config import BrokerConfig
from flowstream.broker.groups.consumer_topics import GROUP_CONFIG, KnownTopics
from flowstream.broker.groups.records import Record
from flowstream.broker.groups.room import Room
from flowstream.broker.types import Instant
from flowstream.wire.error_codes import ErrorCode

REGEX_REFRESH_MIN_MS = 10_000
"""Regular expressions are matched against new topics at most this often, as in Kafka."""


class Refused(NamedTuple):
    """A request that is not granted, and why."""

    error: ErrorCode
    message: str


@dataclass(frozen=True, slots=True)
class ConsumerLimits:
    """The settings that rule one consumer group: the broker's under the group's own."""

    session_timeout_ms: int
    heartbeat_interval_ms: int
    assignment_interval_ms: int
    regex_refresh_ms: int
    size_max: int
    assignors: tuple[str, ...]
    """The first is the default."""

    @classmethod
    def of(cls, config: BrokerConfig, own: Mapping[str, str]) -> ConsumerLimits:
        """What holds for a group with the settings `own`, each inside the broker's bounds."""
        c = config
        return cls(
            session_timeout_ms=_within(
                own.get("consumer.session.timeout.ms"),
                c.group_consumer_session_timeout_ms,
                c.group_consumer_min_session_timeout_ms,
                c.group_consumer_max_session_timeout_ms,
            ),
            heartbeat_interval_ms=_within(
                own.get("consumer.heartbeat.interval.ms"),
                c.group_consumer_heartbeat_interval_ms,
                c.group_consumer_min_heartbeat_interval_ms,
                c.group_consumer_max_heartbeat_interval_ms,
            ),
            assignment_interval_ms=_within(
                own.get("consumer.assignment.interval.ms"),
                c.group_consumer_assignment_interval_ms,
                c.group_consumer_min_assignment_interval_ms,
                c.group_consumer_max_assignment_interval_ms,
            ),
            regex_refresh_ms=c.group_consumer_regex_refresh_interval_ms,
            size_max=c.group_consumer_max_size,
            assignors=c.group_consumer_assignors,
        )


@dataclass(slots=True)
class ConsumerTurn:
    """One event's time, what is known of the topics, the settings, and what has been decided."""

    now: Instant
    known: KnownTopics
    topics_version: int
    """Grows whenever a topic appears, grows or goes."""
    limits: ConsumerLimits
    room: Room
    rack: str = ""
    """Where this node is."""
    allows: Callable[[str], bool] | None = None
    """Which topics the member may be told of; None: all."""
    records: list[Record] = field(default_factory=list)

    def after(self, delay_ms: int) -> Instant:
        """The instant `delay_ms` from now."""
        return Instant(self.now + delay_ms)


def own_configs(known: KnownTopics, group_id: str) -> Mapping[str, str]:
    """The settings that a group has itself."""
    return known.configs.get((GROUP_CONFIG, group_id), {})


def _within(own: str | None, default: int, low: int, high: int) -> int:
    """A group's own setting, cut to what the broker allows as in Kafka; a directory of a newer
    Kafka may hold what is no number here."""
    if own is None or not own.isascii() or not own.isdecimal():
        return default
    return min(max(int(own), low), high)
