"""The store's twin in memory: same behaviour, and a crash that forgets what was not flushed.

Knows no disk and no clock; the time of writes is given.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator

from flowstream.state.store import Rows, Size, StoreError


class MemoryStore:
    """A StateStore of Python dicts.

    `flush_every` writes, and at `flush()` and `close()`, everything counts as being on disk; what
    came later is gone after `crash()`, in whole writes, as with a write-ahead log switched off.
    """

    def __init__(
        self, *, flush_every: int | None = None, now_ms: Callable[[], int] | None = None
    ) -> None:
        self._rows: dict[bytes, bytes] = {}
        self._changelog_offset: int | None = None
        self._source_offset: int | None = None
        self._written_ms: int | None = None
        self._lineage: bytes | None = None
        self._now_ms = now_ms
        self._flush_every = flush_every
        self._unflushed = 0
        self._closed = False
        self._disk: _Snapshot = self._snapshot()

    @property
    def changelog_offset(self) -> int | None:
        """Position in the changelog from which a restore goes on."""
        return self._changelog_offset

    @property
    def source_offset(self) -> int | None:
        """Committed position in the source partition."""
        return self._source_offset

    @property
    def written_ms(self) -> int | None:
        """Time at which the store was last current, if a clock was given."""
        return self._written_ms

    @property
    def lineage(self) -> bytes | None:
        """The id of the topic that the rows come from."""
        return self._lineage

    def descend(self, lineage: bytes) -> None:
        """Remember from which topic the rows come."""
        self._lineage = lineage

    def get(self, key: bytes) -> bytes | None:
        """The row of `key`."""
        return self._rows.get(key)

    def write(
        self,
        rows: Rows,
        *,
        changelog_offset: int | None = None,
        source_offset: int | None = None,
        caught_up: bool = True,
    ) -> None:
        """Write rows and offsets together."""
        self._check_open()
        for key, value in rows.items():
            if value is None:
                self._rows.pop(key, None)
            else:
                self._rows[key] = value
        if changelog_offset is not None:
            self._changelog_offset = changelog_offset
        if source_offset is not None:
            self._source_offset = source_offset
        if self._now_ms is not None and (caught_up or self._written_ms is None):
            self._written_ms = self._now_ms()
        self._unflushed += 1
        if self._flush_every is not None and self._unflushed >= self._flush_every:
            self.flush()

    def scan(
        self, start: bytes = b"", stop: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Rows with start <= key < stop in key order, as they are when the scan begins."""
        self._check_open()
        keys = sorted(self._rows)
        first = bisect_left(keys, start)
        last = len(keys) if stop is None else bisect_left(keys, stop)
        found = [(key, self._rows[key]) for key in keys[first:last]]
        return iter(found[::-1] if reverse else found)

    def size(self) -> Size:
        """How much there is."""
        return Size(len(self._rows), sum(len(key) + len(self._rows[key]) for key in self._rows))

    def count(self) -> int:
        """Number of rows."""
        return len(self._rows)

    def clear(self) -> None:
        """Delete all rows and forget the offsets."""
        self._check_open()
        self._rows = {}
        self._changelog_offset = self._source_offset = self._written_ms = None
        self._lineage = None
        self.flush()

    def flush(self) -> None:
        """From here on a crash keeps what is there now."""
        self._check_open()
        self._disk = self._snapshot()
        self._unflushed = 0

    def close(self) -> None:
        """Flush; no reads or writes after it."""
        if not self._closed:
            self.flush()
            self._closed = True

    def crash(self) -> None:
        """Lose what was not flushed, as a killed process does, and be open again."""
        rows, self._changelog_offset, self._source_offset, self._written_ms = self._disk
        self._rows = dict(rows)
        self._unflushed = 0
        self._closed = False

    def survivor(self) -> MemoryStore:
        """A store of what a process finds that comes after this one was killed."""
        found = MemoryStore(flush_every=self._flush_every, now_ms=self._now_ms)
        found._disk, found._lineage = self._disk, self._lineage
        found.crash()
        return found

    def _snapshot(self) -> _Snapshot:
        offsets = (self._changelog_offset, self._source_offset, self._written_ms)
        return dict(self._rows), *offsets

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError("the store is closed")


_Snapshot = tuple[dict[bytes, bytes], int | None, int | None, int | None]
