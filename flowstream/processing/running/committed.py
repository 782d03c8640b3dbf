"""What is committed on a worker, and who waits for it: readers of tables, and those who watch one.

Shell by its futures alone. An epoch costs one dict update and one question more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Protocol

from flowstream.transport.types import TopicPartition

MOST_ROWS = 10_000
"""Changed rows that may wait for a slow watcher; beyond it is told to begin anew."""
MOST_BYTES = 16 << 20
"""As many bytes of them: what is told at once has to fit a message (see `asked`)."""

Rows = Mapping[bytes, bytes | None]


class Rewritten(Protocol):
    """The rows of one table partition in an epoch."""

    @property
    def rows(self) -> Rows:
        """As they are in the changelog."""

    @property
    def changelog(self) -> tuple[str, int] | None:
        """Topic and partition."""


class Watch:
    """One who is told of committed changes of rows start <= row < stop, until it ends."""

    def __init__(self, start: bytes, stop: bytes | None) -> None:
        self.is_over = False
        self._start = start
        self._stop = stop
        self._changed: dict[bytes, bytes | None] = {}
        self._bytes = 0
        self._bell = asyncio.Event()

    def put(self, rows: Rows) -> None:
        """An epoch was committed."""
        if self.is_over:
            return  # whoever watches begins anew, whenever it finds out
        for key, row in rows.items():
            if key >= self._start and (self._stop is None or key < self._stop):
                if key in self._changed:
                    self._bytes -= _size(key, self._changed[key])
                self._changed[key] = row
                self._bytes += _size(key, row)
        if len(self._changed) > MOST_ROWS or self._bytes > MOST_BYTES:
            self.end()
        elif self._changed:
            self._bell.set()

    def end(self) -> None:
        """Nothing more is told."""
        self.is_over = True
        self._changed = {}
        self._bell.set()

    async def take(self) -> Rows:
        """Rows that changed since the last time, the newest of each; none when it is over."""
        await self._bell.wait()
        self._bell.clear()
        changed, self._changed, self._bytes = self._changed, {}, 0
        return {} if self.is_over else changed


def _size(key: bytes, row: bytes | None) -> int:
    return len(key) + len(row or b"")


class Committed:
    """Positions whose effects are in the stores here, and those who wait for more."""

    def __init__(self) -> None:
        self.positions: dict[tuple[str, int], int] = {}
        self._waiting: set[asyncio.Future[None]] = set()
        self._watches: dict[tuple[str, int], set[Watch]] = {}

    def begin(self, positions: Mapping[TopicPartition, int]) -> None:
        """A task runs from these positions on, over stores that hold what is before them."""
        self.positions.update({(tp.topic, tp.partition): at for tp, at in positions.items()})
        self._ring()

    def advance(self, offsets: Mapping[tuple[str, int], int], tables: Iterable[Rewritten]) -> None:
        """An epoch is committed and in the stores."""
        self.positions.update(offsets)
        if self._watches:
            for table in tables:
                assert table.changelog is not None
                for watch in self._watches.get(table.changelog, ()):
                    watch.put(table.rows)
        if self._waiting:
            self._ring()

    def let_go(
        self, positions: Iterable[tuple[str, int]], changelogs: Iterable[tuple[str, int]]
    ) -> None:
        """A task is not run here any more."""
        for tp in positions:
            self.positions.pop(tp, None)
        for changelog in changelogs:
            for watch in self._watches.pop(changelog, ()):
                watch.end()
        self._ring()

    def _ring(self) -> None:
        waiting, self._waiting = self._waiting, set()
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def change(self) -> None:
        """Wait for the next epoch, or a task that comes or goes."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            await future
        finally:
            self._waiting.discard(future)

    def watch(self, changelog: tuple[str, int], start: bytes, stop: bytes | None) -> Watch:
        """Be told of rows of a table partition; end it with `leave`."""
        watch = Watch(start, stop)
        self._watches.setdefault(changelog, set()).add(watch)
        return watch

    def leave(self, changelog: tuple[str, int], watch: Watch) -> None:
        """Be told no more."""
        watches = self._watches.get(changelog, set())
        watches.discard(watch)
        if not watches:
            self._watches.pop(changelog, None)
