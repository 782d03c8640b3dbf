"""Joins of a stream with a table: the row of each event's key, as it is or as it was.

As it is: a lookup in the open unit. As it was at the event's time: events wait until the watermark
has passed them, so that the changes of the table that were before them are there, whatever topic
came first; the table keeps versions for that.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, cast

import msgspec

from flowstream.processing.errors import AppError
from flowstream.processing.streams.stream import DerivedStream, SourceStream, Stream, TimedOut
from flowstream.processing.tables.inner import Fired, Kept, KeyedRows
from flowstream.processing.tables.table import Table
from flowstream.processing.time.digits import DIGITS, digits, leading
from flowstream.processing.time.dues import PREFIX
from flowstream.processing.time.watermarks import FOREVER
from flowstream.processing.values.codecs import BYTES, Codec, readable
from flowstream.processing.values.joined import LEFT_HEADER, RIGHT_HEADER, Joined, joined_shape
from flowstream.state.keys import after
from flowstream.state.overlay import DELETED
from flowstream.state.table_view import TableView

T = TypeVar("T")

Version = tuple[int, bytes | None]
"""From when on (ms) a row has a value; None: it is deleted."""

VERSIONS: Codec[tuple[Version, ...]] = Codec(
    "versions",
    msgspec.msgpack.Encoder().encode,
    msgspec.msgpack.Decoder(tuple[Version, ...]).decode,
    immutable=True,
)


def with_version(
    versions: tuple[Version, ...], at_ms: int, data: bytes | None, oldest_ms: int
) -> tuple[Version, ...]:
    """The versions with one more; what was replaced before `oldest_ms` goes.

    >>> with_version(((1, b"a"), (5, b"b")), 9, b"c", 6)
    ((5, b'b'), (9, b'c'))
    """
    found = [*versions]
    found.insert(bisect.bisect_right([at for at, _ in found], at_ms), (at_ms, data))
    keep = max(0, bisect.bisect_right([at for at, _ in found], oldest_ms) - 1)
    return tuple(found[keep:])


def version_at(versions: tuple[Version, ...], at_ms: int) -> bytes | None:
    """The value that a row had at an instant, None when it had none.

    >>> version_at(((5, b"b"), (9, b"c")), 8)
    b'b'
    """
    place = bisect.bisect_right([at for at, _ in versions], at_ms)
    return versions[place - 1][1] if place else None


def waiting_since(view: TableView, key: bytes) -> int:
    """The event time of the first event of a key that waits for the table."""
    begin = PREFIX + key
    for row, _ in view.scan(begin, after(begin)):
        if len(row) == len(begin) + 2 * DIGITS:
            return leading(row[-2 * DIGITS :])
    return FOREVER


class LookupStream(DerivedStream[Joined[Any, Any]]):
    """Each value with the row of its key as it is now."""

    def __init__(self, up: Stream[Any], table: Table[Any, Any], *, inner: bool) -> None:
        super().__init__(up)
        self._table = table
        self._is_inner = inner

    async def _pull(self, *, hold: bool, deadline: float | None) -> Joined[Any, Any] | TimedOut:
        while True:
            value = await self._up._pull(hold=hold, deadline=deadline)
            if isinstance(value, TimedOut):
                return value
            key = self._up._key()
            row = None if key is None else self._table.get(key)
            if row is not None or not self._is_inner:
                return Joined(value, row)


class Waiting(KeyedRows[Any, Joined[Any, Any]]):
    """Events of one agent that wait for the table that they are joined with."""

    kind = "waiting"

    def __init__(self, table: Table[Any, Any], *, inner: bool, grace_ms: int) -> None:
        if table.versions is None:
            raise AppError(
                f"table {table.name!r} keeps no versions: declare it with"
                " app.table(topic, history=SECONDS)"
            )
        self._table = table
        self._versions = table.versions.name
        self._is_inner = inner
        self._grace_ms = grace_ms
        self.name = ""
        self.value_codec = BYTES
        self._left: Codec[Any] = BYTES

    def bind(self, agent: str, keys: Codec[Any], values: Codec[Any]) -> None:
        """Learn whose events these are."""
        self.name = f"{agent}-waiting.joined"
        self.key_codec = keys
        self._left = values
        self._keep_in(self._table.beside(f"{agent}-waiting"))
        self._table.joined_as_of[self.table] = self._grace_ms

    @property
    def joined_with(self) -> Table[Any, Any]:
        """The table whose versions the events get."""
        return self._table

    @property
    def fed_by(self) -> tuple[str, ...]:
        """The topic that the table is of."""
        return () if self._table.fed_by is None else (self._table.fed_by,)

    @property
    def shape(self) -> Callable[[Any, Any], Any]:
        """Both sides; a version that does not fit the table's type is no fault of the event."""
        both, table = joined_shape(self._left, BYTES), self._table

        def joined(record: Any, value: Any) -> Joined[Any, Any] | None:
            pair = both(record, value)
            if pair is None or pair.right is None:
                return pair
            key = table.key_codec.decode(record.key)
            return Joined(pair.left, table.of_before(key, pair.right))

        return joined

    def key_of(self, row: bytes) -> bytes | None:
        """What stands before the event's time and offset."""
        return row[len(PREFIX) : -2 * DIGITS] if row.startswith(PREFIX) else None

    def kept(self, row: bytes, value: Any) -> Iterable[Kept]:
        """The event."""
        return (Kept(readable(self._left, value), at_ms=leading(row[-2 * DIGITS :])),)

    def due_ms(self, row: bytes, value: Any, watermark_ms: int | None) -> int | None:
        """Once the table's side has passed its time, too."""
        del value, watermark_ms
        if not row.startswith(PREFIX):
            return None
        return leading(row[-2 * DIGITS :]) + self._grace_ms + 1

    def enter(self, view: TableView, key: bytes, at_ms: int, offset: int, value: bytes) -> None:
        """An event begins to wait."""
        view.set(PREFIX + key + digits(at_ms) + digits(offset), value)

    def fired(
        self, row: bytes, due_ms: int, views: Mapping[str, TableView], partition: int
    ) -> Fired:
        """The event with the version of its time; silent when there is none and it is wanted."""
        key, at_ms = row[len(PREFIX) : -2 * DIGITS], leading(row[-2 * DIGITS :])
        left = views[self.table].get(row)
        versions = views[self._versions].get(key)
        right = None
        if versions is not DELETED:
            right = version_at(cast("tuple[Version, ...]", versions), at_ms)
        return Fired(
            self.name, partition, at_ms, key, b"", row, due_ms,
            headers=((LEFT_HEADER, cast("bytes", left)), (RIGHT_HEADER, right)),
            is_silent=left is DELETED or (right is None and self._is_inner),
        )  # fmt: skip

    def settle(self, fired: Fired, views: Mapping[str, TableView], now_ms: int) -> None:
        """It waits no more."""
        del now_ms
        views[self.table].delete(fired.row)


class WaitingStream(DerivedStream[Any]):
    """Has every event wait, and tells nothing: another instance does, when it is time."""

    def __init__(self, up: Stream[Any], waiting: Waiting) -> None:
        super().__init__(up)
        self._waiting = waiting

    async def _pull(self, *, hold: bool, deadline: float | None) -> TimedOut:
        while True:
            value = await self._up._pull(hold=hold, deadline=deadline)
            if isinstance(value, TimedOut):
                return value
            self._feed.wait_for_table(self._waiting)


class WaitingSource(SourceStream[T]):
    """The stream of an agent whose events wait for a table."""

    def __init__(self, *args: Any, waiting: Waiting) -> None:
        super().__init__(*args)
        self._waiting = waiting

    def looked_up(self, upstream: Stream[Any], waiting: Waiting) -> Stream[Any]:
        """Nothing yet; what the agent asked for is bound already."""
        del waiting
        return WaitingStream(upstream, self._waiting)
