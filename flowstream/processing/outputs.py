"""Where outputs go: the partition of a key, as Java's clients place it.

Pure. A key's partition is cached, because murmur2 in Python costs more than all else of a send.
"""

from __future__ import annotations

from flowstream.processing.errors import AppError
from flowstream.transport.types import TopicPartition
from flowstream.wire.hashing import partition_for_key

CACHED_KEYS = 100_000


class OutputTopic:
    """A topic that agents write to and its number of partitions."""

    __slots__ = ("_next", "_placed", "name", "partitions", "targets")

    def __init__(self, name: str, partitions: int) -> None:
        self.name = name
        self.partitions = partitions
        self.targets = [TopicPartition(name, partition) for partition in range(partitions)]
        self._placed: dict[bytes, TopicPartition] = {}
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

    def at(self, partition: int) -> TopicPartition:
        """A partition that the agent chose itself."""
        if not 0 <= partition < self.partitions:
            raise AppError(
                f"topic {self.name!r} has partitions 0 to {self.partitions - 1}, not {partition}"
            )
        return self.targets[partition]
