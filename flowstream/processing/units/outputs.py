"""Where outputs go: the partition of a key, as Java's clients place it, if the topic takes them.

Pure. A key's partition is cached, because murmur2 in Python costs more than all else of a send.
"""

from __future__ import annotations

from flowstream.processing.errors import AppError, RecordMistimed, RecordTooLarge
from flowstream.processing.values.moments import moment_text
from flowstream.transport.types import Headers, TopicPartition
from flowstream.wire.batch_header import HEADER_SIZE
from flowstream.wire.hashing import partition_for_key

CACHED_KEYS = 100_000


MAX_MESSAGE_BYTES = 1_048_588
"""Kafka's default of max.message.bytes: the largest batch, and so the largest record."""
BATCH_OVERHEAD = 100
"""A batch of one record without headers is larger than its key and value by less than this."""

UNLIMITED_MS = (1 << 63) - 1
"""As Kafka says that a record may have any time."""
NO_TIME = -1
"""The time of a record that has none."""


class OutputTopic:
    """A topic that agents write to and its number of partitions."""

    __slots__ = ("_ahead_ms", "_behind_ms", "_next", "_placed", "max_message_bytes", "name",
                 "partitions", "placed", "roomy", "targets", "until_ms")  # fmt: skip

    def __init__(
        self, name: str, partitions: int, max_message_bytes: int = MAX_MESSAGE_BYTES, *,
        ahead_ms: int = UNLIMITED_MS, behind_ms: int = UNLIMITED_MS,
    ) -> None:  # fmt: skip
        """`ahead_ms` and `behind_ms`: how far from now the time of a record may be."""
        self.name = name
        self._ahead_ms, self._behind_ms = ahead_ms, behind_ms
        self.until_ms = -UNLIMITED_MS
        """Times up to this one are taken for sure; what is later has to be checked."""
        self.max_message_bytes = max_message_bytes
        self.roomy = max_message_bytes - BATCH_OVERHEAD
        """Key and value up to this size together fit for sure, without headers."""
        self.partitions = partitions
        self.targets = [TopicPartition(name, partition) for partition in range(partitions)]
        self._placed: dict[bytes | None, TopicPartition] = {}
        self.placed = self._placed.get
        """Where a key goes, if that is known already."""
        self._next = 0

    def place(self, key: bytes | None) -> TopicPartition:
        """The (topic, partition) of a key; records without one take turns."""
        if key is None:
            self._next = (self._next + 1) % self.partitions
            return self.targets[self._next]
        found = self._placed.get(key)
        if found is None:
            if len(self._placed) >= CACHED_KEYS:
                self._placed.clear()
            found = self.targets[partition_for_key(key, self.partitions)]
            self._placed[key] = found
        return found

    def takes(self, key: bytes | None, value: bytes | None, headers: Headers) -> bool:
        """Whether the broker would take this."""
        return batch_bytes(key, value, headers) <= self.max_message_bytes

    def check(self, key: bytes | None, value: bytes | None, headers: Headers = ()) -> None:
        """Raise RecordTooLarge for what the broker would refuse: in the unit that sends it, where
        the agent's policy can deal with it.
        """
        size = batch_bytes(key, value, headers)
        if size > self.max_message_bytes:
            raise RecordTooLarge(
                f"a record for topic {self.name!r} takes {size} bytes, but the topic takes"
                f" {self.max_message_bytes}: send less, or raise the topic's max.message.bytes and"
                " start the worker again"
            )

    def takes_time(self, at_ms: int, now_ms: int) -> bool:
        """Whether the broker would take a record of this time now."""
        latest_ms = min(now_ms + self._ahead_ms, UNLIMITED_MS)
        if self._behind_ms == UNLIMITED_MS:
            self.until_ms = latest_ms
            return at_ms <= latest_ms
        return at_ms == NO_TIME or now_ms - self._behind_ms <= at_ms <= latest_ms

    def check_time(self, at_ms: int, now_ms: int) -> None:
        """Raise RecordMistimed for a time that the broker would refuse, as `check`. One such event
        would stop the worker past every policy, and whoever comes next.
        """
        if at_ms > self.until_ms and not self.takes_time(at_ms, now_ms):
            where, which = ("ahead of", "after") if at_ms > now_ms else ("behind", "before")
            raise RecordMistimed(
                f"a record for topic {self.name!r} is of {moment_text(at_ms) or at_ms}, {where} now"
                f" by more than the topic takes (message.timestamp.{which}.max.ms): if the event is"
                " right about its time, raise that and start the worker again; else pass over such"
                " events, or send with timestamp="
            )

    def near(self, at_ms: int, now_ms: int) -> int:
        """The time for a record that may have another one: as near as the topic takes, with room
        behind for what passes until it is committed.
        """
        return max(min(at_ms, now_ms), now_ms - self._behind_ms // 2, 0)

    def at(self, partition: int) -> TopicPartition:
        """A partition that the agent chose itself."""
        if not 0 <= partition < self.partitions:
            raise AppError(
                f"topic {self.name!r} has partitions 0 to {self.partitions - 1}, not {partition}"
            )
        return self.targets[partition]


def batch_bytes(key: bytes | None, value: bytes | None, headers: Headers) -> int:
    """The size of a batch (format v2) that holds one record."""
    body = 3 + _field(key) + _field(value) + varint_bytes(len(headers))
    for name, content in headers:
        body += _field(name.encode()) + _field(content)
    return HEADER_SIZE + varint_bytes(body) + body


def _field(data: bytes | None) -> int:
    return 1 if data is None else varint_bytes(len(data)) + len(data)


def varint_bytes(value: int) -> int:
    """How many bytes a length takes as a zigzag varint."""
    return (max(1, (2 * value).bit_length()) + 6) // 7
