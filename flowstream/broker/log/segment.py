"""One segment: a run of batches in a `.log` file, its sparse indexes and its aborted transactions.

Knows its own bytes only: no producers, no watermarks, no neighbours. Everything here can be rebuilt
from the `.log` file.
"""

from __future__ import annotations

from flowstream.broker.doors import (
    Append,
    Flush,
    Operation,
    Put,
    Replace,
    Storage,
    Sync,
    Truncate,
)
from flowstream.broker.log import names
from flowstream.broker.log.aborted import Aborted, decode_aborted, encode_aborted, encode_check
from flowstream.broker.log.config import LogConfig
from flowstream.broker.log.index import NO_TIMESTAMP, OffsetIndex, TimeIndex
from flowstream.broker.log.removal import remove_durably
from flowstream.broker.types import Instant
from flowstream.wire.checksum import crc32c

SPAN = 2**31 - 1
"""Index entries hold offsets relative to the base in 32 bits."""


class Segment:
    """Batches from `base_offset` on. `size` counts what was appended, whether the driver has
    written it yet or not.
    """

    __slots__ = (
        "_aborted",
        "aborted_checked",
        "aborted_on_disk",
        "base_offset",
        "checked",
        "closed_size",
        "created",
        "directory",
        "first_timestamp",
        "full",
        "index",
        "index_limit",
        "indexed_at",
        "interval",
        "jitter",
        "max_timestamp",
        "max_timestamp_offset",
        "on_disk",
        "own_from",
        "path",
        "size",
        "storage",
        "times",
    )

    def __init__(
        self,
        storage: Storage,
        directory: str,
        base_offset: int,
        created: Instant,
        config: LogConfig,
    ) -> None:
        """A new, empty segment; later changes of `config` apply to the next one, as in Kafka."""
        self.storage = storage
        self.directory = directory
        self.base_offset = base_offset
        self.created = created
        self.path = names.file_path(directory, base_offset, names.LOG)
        self.size = 0
        self.index = OffsetIndex(storage, self.file(names.INDEX), base_offset)
        self.times = TimeIndex(storage, self.file(names.TIMEINDEX), base_offset)
        self.max_timestamp = NO_TIMESTAMP
        self.max_timestamp_offset = base_offset
        self.first_timestamp = NO_TIMESTAMP
        """Largest timestamp of the first batch: the age of the segment counts from it."""
        self.interval = config.index_interval_bytes
        self.index_limit = config.segment_index_bytes
        self.jitter = 0
        """Time that its roll comes earlier: random among segments, and the same after a restart."""
        if config.segment_jitter_ms:
            bound = min(config.segment_jitter_ms, config.segment_ms)
            self.jitter = crc32c(self.path.encode()) % max(bound, 1)
        self.full = False
        """No index entry fits any more."""
        self.indexed_at = 0
        """Position of the batch that the last index entry points to."""
        self._aborted: list[Aborted] | None = []
        self.own_from = 0
        """Bytes from here on were written or checked by this process."""
        self.checked = 0
        """Bytes below were read once and found to match their CRC."""
        self.on_disk = False
        """Whether index files of an earlier life may exist: they are replaced, not extended."""
        self.aborted_on_disk = 0
        self.aborted_checked = False
        """Whether the entries of an earlier life were compared with the log."""
        self.closed_size = -1
        """Size at which an earlier process closed it, -1 when it did not."""

    def dated(self, config: LogConfig, now: Instant) -> int:
        """Of when its newest record is. Where that says no time, or one that the topic would not
        take now, it was opened then: a clock was set back, and else the segment and all behind it
        would stay for as long as that was.
        """
        latest = now + config.timestamp_after_max_ms
        return self.max_timestamp if 0 <= self.max_timestamp <= latest else self.created

    def file(self, suffix: str) -> str:
        """Path of one of the segment's files."""
        return names.file_path(self.directory, self.base_offset, suffix)

    def extend(self, last_offset: int, max_timestamp: int, size: int) -> None:
        """A batch of `size` bytes follows; every so many bytes one gets an index entry, as in
        Kafka.
        """
        position = self.size
        if max_timestamp > self.max_timestamp:
            self.max_timestamp = max_timestamp
            self.max_timestamp_offset = last_offset
        if position - self.indexed_at > self.interval:
            self.index.append(last_offset, position)
            self.times.maybe_append(self.max_timestamp, self.max_timestamp_offset)
            self.indexed_at = position
            self.full = self.index.is_full(self.index_limit) or self.times.is_full(self.index_limit)
        elif position == 0:
            self.first_timestamp = max_timestamp
        self.size = position + size

    @property
    def aborted(self) -> list[Aborted]:
        """Transactions whose abort marker is in this segment, in the order of the markers."""
        if self._aborted is None:
            path = self.file(names.TXNINDEX)
            self._aborted = decode_aborted(self.storage.read(path, 0, self.aborted_on_disk))
        return self._aborted

    @aborted.setter
    def aborted(self, transactions: list[Aborted]) -> None:
        self._aborted = transactions

    def load_closed(self, index_size: int, times_size: int, aborted_size: int) -> None:
        """Take the sizes of a closed segment's files; their content is looked up when asked for."""
        self.index.entries.open_file(index_size)
        self.times.entries.open_file(times_size)
        self.aborted_on_disk = aborted_size
        self._aborted = None if aborted_size else []
        self.max_timestamp, self.max_timestamp_offset = self.times.last()
        self.on_disk = True

    def make_resident(self) -> None:
        """Read the indexes into memory, because the segment is to grow again."""
        for entries in (self.index.entries, self.times.entries):
            entries.load(
                self.storage.read(entries.path, 0, entries.size) if entries.filled else b""
            )
        self.indexed_at = self.index.entries[-1][1] if self.index.entries.filled else 0
        _ = self.aborted

    def release(self) -> None:
        """The index files are written: look entries up there."""
        if self.index.entries.resident is not None:
            self.index.entries.release()
            self.times.entries.release()

    def close(self) -> None:
        """No batch follows for now: the largest timestamp gets its entry."""
        if self.index.entries.resident is not None:
            self.times.maybe_append(self.max_timestamp, self.max_timestamp_offset)

    def write_indexes(self, whole: type[Replace] | type[Put] | None = None) -> list[Operation]:
        """Write the index files, each with the operation `whole`. Without it a crash may tear
        them: recovery rebuilds what was not flushed.
        """
        index, times = self.index.entries.resident, self.times.entries.resident
        if index is None or times is None:
            return []
        contents = {names.INDEX: bytes(index), names.TIMEINDEX: bytes(times)}
        if self.aborted:
            aborted = contents[names.TXNINDEX] = encode_aborted(self.aborted)
            contents[names.TXNCHECK] = encode_check(self.size, aborted)
        operations: list[Operation] = []
        for suffix, content in contents.items():
            path = self.file(suffix)
            if whole is not None:
                operations.append(whole(path, content))
                continue
            if self.on_disk:
                operations.append(Truncate(path, 0))
            operations.append(Append(path, (content,)))
        if not self.aborted and self.on_disk:
            operations += self._remove_aborted()
        self.on_disk = True
        return operations

    def _remove_aborted(self) -> list[Operation]:
        """An aborted transaction that was cut off must not come back with its old index."""
        paths = (self.file(names.TXNCHECK), self.file(names.TXNINDEX))
        return remove_durably([path for path in paths if self.storage.size(path) is not None])

    @property
    def is_unchanged(self) -> bool:
        """Whether a clean stop left the files as they are."""
        return self.size == self.closed_size

    def sync(self) -> list[Operation]:
        """Let the files be durable with the next sync; those of a segment that was never closed
        are not there.
        """
        suffixes = names.SEGMENT_SUFFIXES if self.on_disk else (names.LOG,)
        return [Sync(self.file(suffix)) for suffix in suffixes]

    def flush(self) -> list[Operation]:
        """Make the files durable before anything that follows."""
        return [Flush(self.file(suffix)) for suffix in names.SEGMENT_SUFFIXES]

    def remove(self) -> list[Operation]:
        """Delete the files, the `.log` last and durably: segments go one by one, in order."""
        rest = [self.file(suffix) for suffix in names.SEGMENT_SUFFIXES if suffix != names.LOG]
        return remove_durably([*rest, self.path])
