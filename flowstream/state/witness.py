"""Views that remember what their unit has read, to tell at its end whether all of it still holds.

Pure. Where several units of one task are open at the same time, each reads what others complete
meanwhile; one that read a row before it changed must be done again. Values are compared, not
versions: a row that is what it was cannot have misled anyone, unless it was read in between.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flowstream.state.expiring import ExpiringView
from flowstream.state.overlay import Absent
from flowstream.state.table_view import TableView

Walk = tuple[bytes, bytes | None, bool]
"""Start, stop, and whether in reverse."""


class Witness(TableView):
    """A plain view that remembers; before another kind of view, that one."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.seen: dict[bytes, object] = {}
        """Rows of the partition as they were read."""
        self.is_torn = False
        """Whether a row changed between two reads: it may be again what it was at the first."""
        self.walks: list[tuple[Walk, list[tuple[bytes, object]]]] = []

    def get(self, key: bytes) -> object | Absent:
        """As the view below; the row is remembered as it was at the first read."""
        if key not in self.writes:
            now = self.partition.read(key)
            before = self.seen.setdefault(key, now)
            if before is not now and before != now:
                self.is_torn = True
        return super().get(key)

    def scan(
        self, start: bytes = b"", stop: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, object]]:
        """As the view below; all rows of the walk are remembered, also if it ends early."""
        walk = (start, stop, reverse)
        self.walks.append((walk, self._rows(walk)))
        yield from super().scan(start, stop, reverse=reverse)

    def _rows(self, walk: Walk) -> list[tuple[bytes, object]]:
        start, stop, reverse = walk
        return list(self.partition.rows({}, start, stop, reverse=reverse))

    def holds(self) -> bool:
        """Whether everything that the unit has read is still so."""
        if self.is_torn:
            return False
        read = self.partition.read
        for key, value in self.seen.items():
            now = read(key)
            if now is not value and now != value:
                return False
        return all(self._rows(walk) == rows for walk, rows in self.walks)

    def clear(self) -> None:
        """Begin the next unit."""
        super().clear()
        self.seen, self.walks, self.is_torn = {}, [], False


class ExpiringWitness(Witness, ExpiringView):
    """A view of rows that expire, that remembers."""
