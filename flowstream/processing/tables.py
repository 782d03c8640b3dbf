"""Tables as agents use them: mappings over the running task's partition, and windows on them.

Finds the partition through the running agent instance; knows no store, changelog or cluster.
"""

from __future__ import annotations

import datetime
import operator
from collections.abc import Callable, Iterator
from typing import Any, Generic, NoReturn, TypeVar, cast, overload

from flowstream.processing.codecs import Codec, codec_of
from flowstream.processing.current import CURRENT, Current, in_unit
from flowstream.processing.errors import AppError
from flowstream.processing.rows import Migrate, mended, row_keys
from flowstream.processing.scanning import Scans
from flowstream.processing.windows import (
    STREAM_TIME_KEY,
    Window,
    split_window_key,
    window_key,
)
from flowstream.state.expiring import ExpiringCodec, split
from flowstream.state.overlay import DELETED
from flowstream.state.table import TableView, ValueCodec

K = TypeVar("K")
V = TypeVar("V")
D = TypeVar("D")

Seconds = float | datetime.timedelta
"""A span of time: seconds or a timedelta."""


def milliseconds(span: Seconds) -> int:
    """A span as whole milliseconds."""
    seconds = span.total_seconds() if isinstance(span, datetime.timedelta) else span
    return round(seconds * 1000)


class Table(Scans[K, V]):
    """A sharded, durable mapping: an agent sees the partition of the event it processes.

    A missing key reads as `default()` when the table has a default (it is not stored until it is
    assigned). A mutable value is a copy: a change in place counts when it is assigned back.
    Iterating and `len` walk the partition's rows; `range` and `prefix` walk some of them in order.
    """

    def __init__(
        self,
        name: str,
        *,
        key_type: type[K],
        value_type: type[V],
        default: Callable[[], V] | None,
        partitions: int | None,
        ordered: bool = False,
        ttl: Seconds | None = None,
        migrate: Migrate | None = None,
    ) -> None:
        self.name = name
        self.partitions = partitions
        self.default = default
        self.window: Window | None = None
        self.key_codec: Codec[K] = codec_of(key_type)
        self.value_codec: Codec[V] = codec_of(value_type)
        self.row_keys = row_keys(name, key_type, self.key_codec, ordered=ordered)
        self.ttl_ms = None if ttl is None else milliseconds(ttl)
        if self.ttl_ms is not None and self.ttl_ms <= 0:
            raise AppError(f"table {name!r}: ttl must be at least one millisecond")
        self.is_ordered = ordered
        self._migrate = migrate
        self._key = self.row_keys.encode
        self._what = f"using table {name!r}"

    def __repr__(self) -> str:
        return f"Table({self.name!r})"

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other

    def _view(self) -> TableView:
        current = CURRENT.get()
        if current is None or current.record is None:
            current = in_unit(self._what)
        if self.window is not None:
            self._refuse(None)
        view = current.views.get(self.name)
        return current.view(self.name) if view is None else view

    @property
    def row_codec(self) -> ValueCodec:
        """How a value becomes a row."""
        return self.value_codec if self.ttl_ms is None else ExpiringCodec(self.value_codec)

    def mend(self, row: bytes, data: bytes, error: Exception) -> Any:
        """The value of a row that does not decode, by `migrate`; RowUnreadable without it."""
        key = self.row_keys.decode(row) if self.window is None else row
        if self.ttl_ms is None:
            return mended(self.name, key, data, error, self._migrate)
        at, inner = split(data)
        return at, mended(self.name, key, inner, error, self._migrate)

    def _refuse(self, key: object) -> NoReturn:
        """A row that is no window's would be skipped by every read of the windows, and a clear
        would take the table's event time away.
        """
        del key
        raise AppError(
            f"table {self.name!r} has windows: use what tumbling() or hopping() returned, e.g."
            f" {self.name} = app.Table({self.name!r}, ...).tumbling(60)"
        )

    def __getitem__(self, key: K) -> V:
        # As `_view` does, without its call: this is the most frequent line of most agents.
        current = CURRENT.get()
        if current is None or current.record is None:
            current = in_unit(self._what)
        view = current.views.get(self.name)
        if view is None:
            view = current.view(self.name)
        value = view.get(self._key(key))
        if value is DELETED:
            if self.default is None:
                raise KeyError(key)
            return self.default()
        return cast("V", value)

    def __setitem__(self, key: K, value: V) -> None:
        self._view().set(self._key(key), value)

    def __delitem__(self, key: K) -> None:
        view, row = self._view(), self._key(key)
        if view.get(row) is DELETED:
            raise KeyError(key)
        view.delete(row)

    def __contains__(self, key: object) -> bool:
        view = self._view()
        try:
            row = self._key(cast("K", key))
        except (TypeError, ValueError):
            return False
        return view.get(row) is not DELETED

    @overload
    def get(self, key: K, default: None = None, /) -> V | None: ...
    @overload
    def get(self, key: K, default: V, /) -> V: ...
    @overload
    def get(self, key: K, default: D, /) -> V | D: ...
    def get(self, key: K, default: Any = None, /) -> Any:
        """The stored value or the argument; the table's own default is not used, as in a dict."""
        value = self._view().get(self._key(key))
        return default if value is DELETED else value

    def setdefault(self, key: K, default: V = None, /) -> V:  # type: ignore[assignment]
        """The stored value, or `default` after storing it."""
        value = self._view().get(self._key(key))
        if value is not DELETED:
            return cast("V", value)
        self[key] = default
        return default

    def pop(self, key: K, *default: Any) -> Any:
        """Remove a key and give its value, or the argument when there is none."""
        view, row = self._view(), self._key(key)
        value = view.get(row)
        if value is not DELETED:
            view.delete(row)
            return value
        if default:
            return default[0]
        raise KeyError(key)

    def clear(self) -> None:
        """Delete every row of this partition."""
        view = self._view()
        for row, _ in list(view.scan()):
            view.delete(row)

    def tumbling(self, size: Seconds, *, expires: Seconds | None = None) -> WindowedTable[K, V]:
        """Windows of `size`, one after the other. `expires`: how long to keep one after its end."""
        return self._windowed(size, size, expires)

    def hopping(
        self, size: Seconds, step: Seconds, *, expires: Seconds | None = None
    ) -> WindowedTable[K, V]:
        """Windows of `size` that start every `step`: an event is in size/step of them."""
        return self._windowed(size, step, expires)

    def _windowed(
        self, size: Seconds, step: Seconds, expires: Seconds | None
    ) -> WindowedTable[K, V]:
        if self.window is not None:
            raise AppError(f"table {self.name!r} has windows already")
        if self.ttl_ms is not None or self.is_ordered:
            raise AppError(
                f"table {self.name!r}: windows have expires= instead of ttl=, and are not ordered="
            )
        kept = None if expires is None else milliseconds(expires)
        self.window = Window(milliseconds(size), milliseconds(step), kept)
        self._key = self._refuse
        return WindowedTable(self, self.window)


class WindowedTable(Generic[K, V]):
    """A table whose values belong to a key *and* a window of event time.

    `windowed[key] += 1` changes every window that holds the event; `windowed[key].current()`
    reads one. A write to a window past its `expires` is dropped and counted. `in` and iteration
    are of the windows that hold the event; `items` gives every window kept.
    """

    def __init__(self, table: Table[K, V], window: Window) -> None:
        self.table = table
        self.window = window

    def __repr__(self) -> str:
        return f"WindowedTable({self.table.name!r})"

    @property
    def name(self) -> str:
        """The table's name."""
        return self.table.name

    def __getitem__(self, key: K) -> WindowSet[V]:
        return WindowSet(self.table, self.window, self.table.key_codec.encode(key), key)

    def __setitem__(self, key: K, value: V | WindowSet[V]) -> None:
        if not isinstance(value, WindowSet):
            self[key].apply(lambda _: value)
        elif not value.is_of(self.table, self.table.key_codec.encode(key)):
            raise TypeError(
                f"table {self.name!r}: {value!r} is the windows of another key or table, not a"
                " value: assign one of theirs, e.g. windowed[key].current()"
            )
        # Else `t[key] += 1` has changed the windows already and hands back their set.

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
            view.get(window_key(row, start)) is not DELETED for start in self._open_starts(current)
        )

    def __iter__(self) -> Iterator[K]:
        """The keys that are `in` the table: of the windows that hold the event, each key once."""
        current = in_unit(f"using table {self.name!r}")
        open_starts = frozenset(self._open_starts(current))
        keys: dict[bytes, None] = {}
        for row, _ in current.view(self.name).scan():
            found = None if row == STREAM_TIME_KEY else split_window_key(row)
            if found is not None and found[1] in open_starts:
                keys[found[0]] = None
        return map(self.table.key_codec.decode, keys)

    def _open_starts(self, current: Current) -> list[int]:
        """Starts of the windows that hold the event and are not past keeping."""
        stream_time = current.stream_time_ms(self.name)
        return [
            start
            for start in self.window.starts(current.timestamp_ms)
            if not self.window.is_expired(start, stream_time)
        ]

    def items(self) -> Iterator[tuple[K, float, V]]:
        """(key, start in seconds, value) of every window kept in this partition, by key."""
        current = in_unit(f"using table {self.name!r}")
        stream_time = current.stream_time_ms(self.name)
        decode = self.table.key_codec.decode
        for row, value in current.view(self.name).scan():
            found = None if row == STREAM_TIME_KEY else split_window_key(row)
            if found is not None and not self.window.is_expired(found[1], stream_time):
                yield decode(found[0]), found[1] / 1000, cast("V", value)


class WindowSet(Generic[V]):
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

    def current(self) -> V:
        """The value of the window that began last and holds the event."""
        return self._at(self._window.current(self._unit().timestamp_ms))

    def earliest(self) -> V:
        """The value of the window that began first and still holds the event: the longest view."""
        return self._at(self._window.earliest(self._unit().timestamp_ms))

    def delta(self, span: Seconds) -> V:
        """The value of the window that was current `span` before the event."""
        return self._at(self._window.current(self._unit().timestamp_ms - milliseconds(span)))

    def value(self, at: float | datetime.datetime | None = None) -> V:
        """The value of the window current at a time (seconds or datetime; default: the event's)."""
        if at is None:
            return self.current()
        seconds = at.timestamp() if isinstance(at, datetime.datetime) else at
        return self._at(self._window.current(round(seconds * 1000)))

    def windows(self) -> list[tuple[float, V]]:
        """(start in seconds, value) of every window that holds the event, oldest first."""
        starts = self._window.starts(self._unit().timestamp_ms)
        return [(start / 1000, self._at(start)) for start in starts]

    def apply(self, change: Callable[[V], V]) -> WindowSet[V]:
        """Replace the value of every window that holds the event by `change(value)`."""
        current = self._unit()
        view = current.view(self._table.name)
        stream_time = current.stream_time_ms(self._table.name)
        for start in self._window.starts(current.timestamp_ms):
            if self._window.is_expired(start, stream_time):
                current.late(self._table.name)
            else:
                view.set(window_key(self._row, start), change(self._at(start)))
        return self

    def delete(self) -> None:
        """Delete the value of every window that holds the event."""
        current = self._unit()
        view = current.view(self._table.name)
        for start in self._window.starts(current.timestamp_ms):
            view.delete(window_key(self._row, start))

    def __iadd__(self, other: Any) -> WindowSet[V]:
        return self._operate(operator.add, other)

    def __isub__(self, other: Any) -> WindowSet[V]:
        return self._operate(operator.sub, other)

    def __imul__(self, other: Any) -> WindowSet[V]:
        return self._operate(operator.mul, other)

    def __ior__(self, other: Any) -> WindowSet[V]:
        return self._operate(operator.or_, other)

    def __iand__(self, other: Any) -> WindowSet[V]:
        return self._operate(operator.and_, other)

    def _operate(self, operation: Callable[[Any, Any], Any], other: Any) -> WindowSet[V]:
        return self.apply(lambda value: cast("V", operation(value, other)))

    def _unit(self) -> Any:
        return in_unit(f"using table {self._table.name!r}")

    def _at(self, start: int) -> V:
        current = self._unit()
        name = self._table.name
        value: object = DELETED
        if not self._window.is_expired(start, current.stream_time_ms(name)):
            value = current.view(name).get(window_key(self._row, start))
        if value is not DELETED:
            return cast("V", value)
        if self._table.default is None:
            raise KeyError(self._key)
        return self._table.default()
