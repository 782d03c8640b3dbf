"""One partition of a table whose rows come due: windows that close, timers that fire.

Pure. The rows are the truth; the agenda beside them is made anew from the store when the
partition opens, and follows what completed units write. A row leaves the table in the unit that
deals with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from flowstream.processing.time.agenda import Agenda
from flowstream.processing.time.watermarks import UNKNOWN
from flowstream.state.overlay import DELETED
from flowstream.state.table import TablePartition
from flowstream.state.table_view import TableView

WATERMARK_KEY = b"@watermark"
"""The row that holds the watermark of the last commit that wrote to the partition."""

MARKS_KEY = b"@marks "
"""Begins the rows that hold what is known of a source's time (see `kept_time`), with the topic's
name behind it. A window's row may begin so, too, but has an `@` behind it, as no name of a topic.
"""

WRITTEN_AS_KEY = b"@windows"
"""The row that says of which windows a table's rows are: those of others would look alike."""
WRITTEN_AS_BEGINS = b"\xff"
"""As no text, number or JSON does: in a table without windows a key of that name may have any."""

PREFIX = b"="
"""Before a key in the row of a table that comes due, so that none looks like a row of our own."""

SLICE = 2_000
"""Rows of a store that are read between two turns of the loop: a few milliseconds."""

DueOf = Callable[[bytes, Any, int | None], int | None]
"""When a row with this value, written at this watermark (None: in an earlier life), is due, in ms;
None for rows that never are.
"""


def is_own(row: bytes) -> bool:
    """Whether a row of a table that comes due is none of its keys. Elsewhere a key of the user's
    may look so.
    """
    is_marks = row.startswith(MARKS_KEY) and b"@" not in row[1:]
    return is_marks or row in (WATERMARK_KEY, WRITTEN_AS_KEY)


class RecordedTime:
    """What a table partition keeps of time beside its rows: its watermark, and marks."""

    __slots__ = ("_store", "at_ms")

    def __init__(self, partition: TablePartition) -> None:
        if partition.is_own is None:
            partition.is_own = is_own
        self._store = partition.store
        row = self._store.get(WATERMARK_KEY)
        self.at_ms = UNKNOWN if row is None else int(row)
        """The watermark of the last commit, UNKNOWN when there was none."""

    def marks(self, topic: str) -> bytes | None:
        """What the store holds of a topic's time."""
        return self._store.get(MARKS_KEY + topic.encode())

    def record(self, rows: dict[bytes, bytes | None], watermark_ms: int) -> None:
        """Add the watermark to the rows of an epoch when it has moved. Whoever comes after must
        not take for open what was closed here.
        """
        if watermark_ms > self.at_ms:
            rows[WATERMARK_KEY] = b"%d" % watermark_ms
            self.at_ms = watermark_ms


class DuePartition:
    """The agenda of one table partition."""

    __slots__ = ("_by_value", "_due_of", "agenda", "partition")
    keeps_over = False
    """Whether rows that are due are kept when they are written before they were dealt with."""

    def __init__(self, partition: TablePartition, due_of: DueOf, *, by_value: bool = False) -> None:
        self.partition = partition
        self.agenda = Agenda()
        self._due_of = due_of
        self._by_value = by_value

    def load(self) -> Iterator[None]:
        """Make the agenda from the store, with a pause after each slice of rows."""
        decode, by_value = self.partition.codec.decode, self._by_value
        for number, (row, stored) in enumerate(self.partition.store.scan(), 1):
            if not is_own(row):
                self._put(row, decode(stored) if by_value else None, None)
            if number % SLICE == 0:
                yield

    @property
    def present(self) -> Iterable[bytes]:
        """Rows that are on the agenda."""
        return self.agenda.rows

    def arm(self, dues: Mapping[bytes, int]) -> None:
        """Rows that are due although they are not there yet."""
        for row, due_ms in dues.items():
            self.agenda.put(row, due_ms)

    def _put(self, row: bytes, value: Any, watermark_ms: int | None) -> None:
        due_ms = self._due_of(row, value, watermark_ms)
        if due_ms is not None:
            self.agenda.put(row, due_ms)

    def keep_over(self, view: TableView, watermark_ms: int) -> None:
        """Before a unit's writes are sealed: have it keep what is due and would be replaced."""

    def settled_as(self, row: bytes) -> bytes:
        """Under which name a row is now that was taken off the agenda and is dealt with."""
        return row

    def is_taken(self, row: bytes) -> bool:
        """Whether a row on the agenda is one that was taken off it under another name."""
        del row
        return False

    def give_back(self, row: bytes, due_ms: int) -> None:
        """A row that was taken off the agenda was not dealt with."""
        if row not in self.agenda:
            self.agenda.put(row, due_ms)

    def observe(self, rows: Mapping[bytes, object], watermark_ms: int) -> None:
        """A completed unit wrote these rows."""
        for row, value in rows.items():
            if value is DELETED:
                self.agenda.discard(row)
            else:
                self._put(row, value, watermark_ms)
