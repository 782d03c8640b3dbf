"""What is due when: rows of a table in the order of their instants. Pure."""

from __future__ import annotations

import heapq
from collections.abc import KeysView


class Agenda:
    """Rows with the instant (ms) at which each is due; a row has one instant at most.

    >>> agenda = Agenda()
    >>> agenda.put(b"b", 20); agenda.put(b"a", 10); agenda.put(b"b", 5)
    >>> agenda.pop(10), agenda.pop(10), agenda.pop(10)
    ((5, b'b'), (10, b'a'), None)
    """

    __slots__ = ("_due", "_heap")

    def __init__(self) -> None:
        self._due: dict[bytes, int] = {}
        # Entries whose row has another instant by now are dropped when they come up.
        self._heap: list[tuple[int, bytes]] = []

    def __len__(self) -> int:
        return len(self._due)

    def put(self, row: bytes, due_ms: int) -> None:
        """Enter a row, or move it to another instant."""
        if self._due.get(row) != due_ms:
            self._due[row] = due_ms
            heapq.heappush(self._heap, (due_ms, row))
            if len(self._heap) > 2 * len(self._due) + 1_000:
                self._heap = sorted((due, row) for row, due in self._due.items())

    @property
    def rows(self) -> KeysView[bytes]:
        """All rows, in no order."""
        return self._due.keys()

    def __contains__(self, row: bytes) -> bool:
        return row in self._due

    def discard(self, row: bytes) -> None:
        """Forget a row, if it is there."""
        self._due.pop(row, None)

    @property
    def next_ms(self) -> int | None:
        """The first instant at which something is due."""
        while self._heap:
            due_ms, row = self._heap[0]
            if self._due.get(row) == due_ms:
                return due_ms
            heapq.heappop(self._heap)
        return None

    def pop(self, until_ms: int) -> tuple[int, bytes] | None:
        """Take out the first row that is due by then, with its instant."""
        first = self.next_ms
        if first is None or first > until_ms:
            return None
        due_ms, row = heapq.heappop(self._heap)
        del self._due[row]
        return due_ms, row
