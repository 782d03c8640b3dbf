"""Windows on a table as agents use them: per key and span of event time.

Finds the partition through the running agent instance; knows no store, changelog or cluster.
"""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Generic, NoReturn, Self, TypeVar, cast

from flowstream.processing.declaring import described
from flowstream.processing.errors import AppError
from flowstream.processing.events.current import Current, in_unit
from flowstream.processing.events.event import Event
from flowstream.processing.events.event_time import instant_ms
from flowstream.processing.instead import missing
from flowstream.processing.tables.closing import ClosedWindows
from flowstream.processing.tables.drawing import Drawn
from flowstream.processing.tables.in_place import InPlace
from flowstream.processing.time.watermarks import UNKNOWN
from flowstream.processing.time.windows import STREAM_TIME_KEY, Window, split_window_key, window_key
from flowstream.processing.values.durations import Seconds, milliseconds
from flowstream.state.overlay import DELETED

if TYPE_CHECKING:
    from flowstream.processing.tables.table import Table

_COUNTER = itertools.count()
"""Tells one opening of a window from the next."""

NEVER = 2 * UNKNOWN
"""The start of no window."""

K = TypeVar("K")
V = TypeVar("V")


class WindowedTable(Drawn, Generic[K, V]):
    """A table whose values belong to a key *and* a window of event time.

    `windowed[key] += 1` changes every window that holds the event; `windowed[key].current()`
    reads one. A write to a window past its `expires` is dropped and counted. `in` and iteration
    are of the windows that hold the event; `items` gives every window kept.
    """

    key_index = True
    """Which windows are kept is known by their rows, always."""

    def __init__(self, table: Table[K, V], window: Window) -> None:
        self.table = table
        self.window = window
        self._closed: ClosedWindows[K, V] | None = None

    if not TYPE_CHECKING:  # checkers know what is there

        def __getattr__(self, name: str) -> Any:
            raise missing("WindowWrapper", name, f"{type(self).__name__!r} object")

    def __repr__(self) -> str:
        return f"WindowedTable({self.table.name!r})"

    @property
    def name(self) -> str:
        """The table's name."""
        return self.table.name

    @property
    def closed(self) -> ClosedWindows[K, V]:
        """The final value of each window, exactly once, for an agent: `@app.agent(t.closed)`.

        It comes once the watermark is `grace` past a window's end, also across restarts and
        rebalances. Without `expires` the window's row is deleted with that.
        """
        if self.window.grace_ms is None:
            raise AppError(
                f"the windows of table {self.name!r} never close: say grace=, e.g."
                f" {self.name}.tumbling(60, grace=10)"
            )
        if self._closed is None:
            kept: Table[bytes, bytes] | None = None
            if self.window.expires_ms is not None:
                kept = self.table.beside(f"{self.name}-open")
            self._closed = ClosedWindows(self.table, kept)
        return self._closed

    @property
    def changes(self) -> NoReturn:
        """None of a table with windows: each is told once, when it has closed."""
        raise AppError(f"table {self.name!r} has windows: give them grace=, and read `closed`")

    def relative_to_stream(self) -> WindowedTable[K, V]:
        """The table itself: its windows go by the time of the event, as the topic has it."""
        self.table.event_field = None
        return self

    def relative_to_field(self, field: Any) -> WindowedTable[K, V]:
        """The table itself: the events whose values have this field (`Order.date` of a `fs.Record`,
        or its name) have their time there, as with `app.topic(timestamp="date")`: for whatever
        goes by time. AppError at the start when it is not clear which topics these are.
        """
        name = getattr(field, "__name__", field)
        if not isinstance(name, str):
            raise AppError(
                f"table {self.name!r}: relative_to_field takes a field of a model, Order.date or"
                f' "date", not {described(field)}'
            )
        self.table.event_field = name
        return self

    def relative_to(self, field: Any = None) -> WindowedTable[K, V]:
        """`relative_to_field(field)`, or without one `relative_to_stream()`."""
        return self.relative_to_stream() if field is None else self.relative_to_field(field)

    def get_timestamp(self, event: Event[Any] | None = None) -> float:
        """The event time, in seconds, by which the windows of this event go, or of another one."""
        if event is not None:
            return event.timestamp
        return in_unit(f"using table {self.name!r}").timestamp_ms / 1000

    def __getitem__(self, key: K) -> WindowSet[V]:
        return WindowSet(self.table, self.window, self._row(key), key)

    def __setitem__(self, key: K, value: V | WindowSet[V]) -> None:
        if not isinstance(value, WindowSet):
            self[key].put(value)
        elif not value.is_of(self.table, self._row(key)):
            raise TypeError(
                f"table {self.name!r}: {value!r} is the windows of another key or table, not a"
                " value: assign one of theirs, e.g. windowed[key].current()"
            )
        # Else `t[key] += 1` has changed the windows already and hands back their set.

    def _row(self, key: K) -> bytes:
        try:
            return self.table.key_codec.encode(key)
        except (TypeError, ValueError) as error:
            raise self.table.unusable(key, error) from None

    def __delitem__(self, key: K) -> None:
        self[key].delete()

    def __contains__(self, key: object) -> bool:
        """Whether a window that holds the event has a value of this key."""
        current = in_unit(f"using table {self.name!r}")
        try:
            row = self.table.key_codec.encode(cast("K", key))
        except (TypeError, ValueError):
            return False
        view = current.view(self.name)
        return any(
            view.get(window_key(row, start)) is not DELETED for start in self._kept_starts(current)
        )

    def __iter__(self) -> Iterator[K]:
        """The keys that are `in` the table: of the windows that hold the event, each key once."""
        current = in_unit(f"using table {self.name!r}")
        starts = frozenset(self._kept_starts(current))
        keys: dict[bytes, None] = {}
        for row, _ in current.view(self.name).scan():
            found = None if row == STREAM_TIME_KEY else split_window_key(row)
            if found is not None and found[1] in starts:
                keys[found[0]] = None
        return map(self.table.key_codec.decode, keys)

    def keys(self) -> Iterator[K]:
        """As iteration: the keys with a value in a window that holds the event."""
        return iter(self)

    def values(self, event: Event[Any] | None = None) -> Iterator[V]:
        """For each of these keys the value of the window that is current, or was at another event;
        without one where it has none.
        """
        for key in self:
            try:
                yield self[key].current(event)
            except KeyError:
                continue

    def _kept_starts(self, current: Current) -> list[int]:
        """Starts of the windows that hold the event and are not gone."""
        last_gone = last_gone_ms(current, self.table)
        return [s for s in self.window.starts(current.timestamp_ms) if s > last_gone]

    def items(self) -> Iterator[tuple[K, float, V]]:
        """(key, start in seconds, value) of every window kept in this partition, by key."""
        current = in_unit(f"using table {self.name!r}")
        last_gone = last_gone_ms(current, self.table)
        decode = self.table.key_codec.decode
        for row, value in current.view(self.name).scan():
            found = None if row == STREAM_TIME_KEY else split_window_key(row)
            if found is not None and found[1] > last_gone:
                yield decode(found[0]), found[1] / 1000, cast("V", value)

    def _drawn_columns(self, key: str, value: str) -> tuple[str, str, str]:
        return (key, "window", value)

    def _drawn_rows(self) -> Iterator[tuple[K, str, V]]:
        for key, start, value in self.items():
            begins = datetime.datetime.fromtimestamp(start, tz=datetime.UTC)
            yield key, begins.isoformat(), value


class WindowSet(InPlace, Generic[V]):
    """All windows of one key, seen from the event that is being processed."""

    __slots__ = ("_key", "_row", "_table", "_window")

    def __init__(self, table: Table[Any, V], window: Window, row: bytes, key: object) -> None:
        self._table = table
        self._window = window
        self._row = row
        self._key = key

    def __repr__(self) -> str:
        return f"WindowSet({self._table.name!r}, {self._key!r})"

    def is_of(self, table: Table[Any, Any], row: bytes) -> bool:
        """Whether these are the windows of that table's key."""
        return self._table is table and self._row == row

    def now(self) -> V:
        """The value of the window that holds the worker's clock (not repeatable in a replay)."""
        return self._at(self._window.current(self._unit().wall_time_ms()))

    def current(self, event: Event[Any] | None = None) -> V:
        """The value of the window that began last and holds the event, or another one."""
        return self._at(self._window.current(self._instant(event)))

    def earliest(self) -> V:
        """The value of the window that began first and still holds the event: the longest view."""
        return self._at(self._window.earliest(self._unit().timestamp_ms))

    def delta(self, span: Seconds, event: Event[Any] | None = None) -> V:
        """The value of the window that was current `span` before the event, or another one."""
        return self._at(self._window.current(self._instant(event) - milliseconds(span)))

    def value(self, at: Event[Any] | float | datetime.datetime | None = None) -> V:
        """The value of the window current at a time (seconds, a datetime or that of an event;
        unless given the event's).
        """
        return self._at(self._window.current(self._instant(at)))

    def _instant(self, at: Event[Any] | float | datetime.datetime | None) -> int:
        if at is None:
            return cast("int", self._unit().timestamp_ms)
        return instant_ms(at.timestamp if isinstance(at, Event) else at)

    def keys(self) -> Any:
        """The keys of the current value, where that is a dict."""
        return self._mapping().keys()

    def values(self) -> Any:
        """The values of the current value, where that is a dict."""
        return self._mapping().values()

    def items(self) -> Any:
        """(key, value) of the current value, where that is a dict."""
        return self._mapping().items()

    def _mapping(self) -> Any:
        current = self.current()
        if not isinstance(current, dict):
            raise TypeError(
                f"a window of table {self._table.name!r} holds {type(current).__name__} values, no"
                " dict: windowed[key].current(), or windowed[key].windows()"
            )
        return current

    def windows(self) -> list[tuple[float, V]]:
        """(start in seconds, value) of every window that holds the event, oldest first."""
        starts = self._window.starts(self._unit().timestamp_ms)
        return [(start / 1000, self._at(start)) for start in starts]

    def apply(self, change: Callable[..., V], *others: Any) -> Self:
        """Replace the value of every window that holds the event by `change(value)`, or by
        `change(value, other)`.
        """
        return self._write(lambda start: change(self._at(start), *others))

    def put(self, value: V) -> Self:
        """Give this value to every window that holds the event."""
        return self._write(lambda _: value)

    def _write(self, value_of: Callable[[int], V]) -> Self:
        current = self._unit()
        view = current.view(self._table.name)
        kept = self._table.open_rows
        open_rows = None if kept is None else current.view(kept.name)
        for start in self._in_time(current):
            row = window_key(self._row, start)
            view.set(row, value_of(start))
            if open_rows is not None:
                open_rows.set(row, b"%d" % next(_COUNTER))
        return self

    def delete(self) -> None:
        """Delete the value of every window that holds the event."""
        current = self._unit()
        view = current.view(self._table.name)
        for start in self._in_time(current):
            view.delete(window_key(self._row, start))

    def _in_time(self, current: Any) -> list[int]:
        """Starts of the windows that hold the event and may change; for others it is late."""
        stream_time = past_ms(current, self._table)
        watermark = current.watermark(self._table.name)
        starts, found, too_late = self._window.starts(current.timestamp_ms), [], 0
        for start in starts:
            if self._window.is_expired(start, stream_time):
                current.late(self._table.name)
            elif self._window.is_closed(start, watermark) and self._table.late != "update":
                current.late(self._table.name)
                too_late += 1
            else:
                found.append(start)
        if too_late == len(starts) and self._table.late == "dead_letter":
            current.late_letter(self._table.name)
        return found

    def _unit(self) -> Any:
        return in_unit(f"using table {self._table.name!r}")

    def _at(self, start: int) -> V:
        current = self._unit()
        name = self._table.name
        value: object = DELETED
        if start > last_gone_ms(current, self._table):
            value = current.view(name).get(window_key(self._row, start))
        if value is not DELETED:
            return cast("V", value)
        if self._table.default is None:
            raise KeyError(self._key)
        return self._table.default()


def past_ms(current: Current, table: Table[Any, Any]) -> int:
    """By when windows end to be kept: by the watermark where they close, else by stream time."""
    if table.window is not None and table.window.closes:
        return current.watermark(table.name)
    return current.stream_time_ms(table.name)


def last_gone_ms(current: Current, table: Table[Any, Any]) -> int:
    """The start of the last window that reads as missing: past keeping, or closed where that ends
    it. Whether its row has been deleted yet makes no difference.
    """
    window = table.window
    if window is None:
        return NEVER
    if window.expires_ms is not None:
        return past_ms(current, table) - window.size_ms - window.expires_ms
    if table.ends_with_closing and window.grace_ms is not None:
        return current.watermark(table.name) - window.size_ms - window.grace_ms
    return NEVER
