"""Tables as agents use them: mappings over the running task's partition, and windows on them.

Finds the partition through the running agent instance; knows no store, changelog or cluster.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast, overload

from flowstream.processing.declaring import (
    check_callable,
    check_changelog_config,
    check_key_index,
    described,
)
from flowstream.processing.errors import AppError
from flowstream.processing.events.current import CURRENT, in_unit
from flowstream.processing.instead import missing, telling
from flowstream.processing.tables.inner import Keeper
from flowstream.processing.tables.lateness import Late, check_late, closing_spans
from flowstream.processing.tables.rows import Migrate, mended, row_keys
from flowstream.processing.tables.scanning import Scans
from flowstream.processing.tables.table_changes import Changes
from flowstream.processing.tables.windowed_tables import WindowedTable
from flowstream.processing.time.shapes import Window as Shape
from flowstream.processing.time.windows import Window
from flowstream.processing.values.codecs import DECODE_ERRORS, Codec, refusal
from flowstream.processing.values.durations import Seconds, milliseconds
from flowstream.processing.values.round_trips import check_kept, kept_codec, row_key_codec
from flowstream.state.expiring import ExpiringCodec, split
from flowstream.state.overlay import DELETED
from flowstream.state.table import ValueCodec
from flowstream.state.table_view import TableView

Recovered = Callable[[], Any]
K = TypeVar("K")
V = TypeVar("V")
D = TypeVar("D")


class Table(Scans[K, V]):
    """A sharded, durable mapping: an agent sees the partition of the event it processes.

    A missing key reads as `default()` when the table has a default (it is not stored until it is
    assigned). A mutable value is a copy: a change in place counts when it is assigned back.
    Iterating and `len` walk the partition's rows; `range` and `prefix` walk some of them in order.
    """

    changelog_topic_name = ""
    """The topic of its changes, once an app has it."""

    changelog_told: Callable[[Any], Any] | None = None
    """What is told of each record that a store takes over from the changelog."""

    written_as: bytes | None = None
    """Of which windows its rows are, where they are of any."""

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
        help: str = "",
        extra_topic_configs: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.help = help
        self.recover_callbacks: list[Recovered] = []
        self.changelog_config = check_changelog_config(extra_topic_configs, f"table {name!r}")
        """What its changelog is made with beside our own settings."""
        self.partitions = partitions
        self.default = default
        self._changes: Changes[K, V] | None = None
        self.fed_by: str | None = None
        """The topic that this is the table of, if it is one's (see `App.table`)."""
        self.beside_of: Table[Any, Any] | None = None
        """The table that this one is beside, with as many partitions as it turns out to have."""
        self.versions: Table[bytes, Any] | None = None
        """What the rows were before, where a join needs it (see `lookups`)."""
        self.joined_as_of: dict[str, int] = {}
        """Tables of events that wait for the rows of their time, with the grace of each in ms."""
        self.comes_due = False
        """Whether rows of it come due, so that it has rows of our own, too (see `dues`)."""
        self.timer_codecs: tuple[Codec[Any], Codec[Any]] | None = None
        """Those of key and value where the rows are timers."""
        self.keeper: Keeper | None = None
        """Who keeps its rows, where nobody declared them, and says what they mean."""
        self.window: Window | None = None
        self.late: Late = "drop"
        self.open_rows: Table[bytes, bytes] | None = None
        """Which windows have not closed yet, where closed ones are kept (see ClosedWindows)."""
        self.ends_with_closing = False
        """Whether a window is gone once it is told that it closed."""
        for kind in (key_type, value_type):
            check_kept(kind, f"table {name!r}")
        self.key_codec: Codec[K] = row_key_codec(key_type)
        self.value_codec: Codec[V] = kept_codec(value_type)
        self.row_keys = row_keys(name, key_type, self.key_codec, ordered=ordered)
        self.ttl_ms = None if ttl is None else milliseconds(ttl)
        if self.ttl_ms is not None and self.ttl_ms <= 0:
            raise AppError(f"table {name!r}: ttl must be at least one millisecond")
        self.is_ordered = ordered
        if migrate is not None:
            check_callable(migrate, f"table {name!r}: migrate")
        self._migrate = migrate
        self.when_windowed: Callable[[WindowedTable[K, V]], None] | None = None
        """Has a function told of the windows that close, where `on_window_close=` wants that."""
        self.event_field: str | None = None
        """The field of the values of events that is their time, where the windows go by one."""
        self._key = self.row_keys.encode
        self._what = f"using table {name!r}"

    if not TYPE_CHECKING:  # checkers know what is there

        def __getattr__(self, name: str) -> Any:
            raise missing("Table", name, f"{type(self).__name__!r} object")

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

    def topic_key(self, row: bytes) -> bytes:
        """A row's key as topics have it: by this a key is placed."""
        return self.key_codec.encode(self.row_keys.decode(row)) if self.is_ordered else row

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

    def of_before(self, key: object, data: bytes) -> Any:
        """A value that the key's row had once, of its bytes; as `mend` where they do not decode."""
        try:
            return self.value_codec.decode(data)
        except DECODE_ERRORS as error:
            return mended(self.name, key, data, error, self._migrate)

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
        try:
            view = current.views[self.name]
        except KeyError:
            view = current.view(self.name)
        try:
            row = self._key(key)
        except (TypeError, ValueError) as error:
            raise self.unusable(key, error) from None
        value = view.get(row)
        if value is DELETED:
            if self.default is None:
                raise KeyError(key)
            return self.default()
        return cast("V", value)

    def __setitem__(self, key: K, value: V) -> None:
        current = CURRENT.get()
        if current is None or current.record is None:
            current = in_unit(self._what)
        try:
            view = current.views[self.name]
        except KeyError:
            view = current.view(self.name)
        try:
            row = self._key(key)
        except (TypeError, ValueError) as error:
            raise self.unusable(key, error) from None
        view.set(row, value)

    def _row(self, key: K) -> bytes:
        """The key's bytes; TypeError or ValueError naming the table."""
        try:
            return self._key(key)
        except (TypeError, ValueError) as error:
            raise self.unusable(key, error) from None

    def unusable(self, key: object, error: Exception) -> TypeError | ValueError:
        """The error for a key that did not encode."""
        return refusal(self.key_codec, key, error, f"a key of table {self.name!r}", "key_type")

    def __delitem__(self, key: K) -> None:
        view, row = self._view(), self._row(key)
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
        value = self._view().get(self._row(key))
        return default if value is DELETED else value

    def setdefault(self, key: K, default: V = None, /) -> V:  # type: ignore[assignment]
        """The stored value, or `default` after storing it."""
        value = self._view().get(self._row(key))
        if value is not DELETED:
            return cast("V", value)
        self[key] = default
        return default

    def pop(self, key: K, *default: Any) -> Any:
        """Remove a key and give its value, or the argument when there is none."""
        view, row = self._view(), self._row(key)
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

    def on_recover(self, function: Recovered) -> Recovered:
        """Call a function, plain or `async def`, whenever an assignment's tables are ready: before
        that, no event of theirs is processed.
        """
        check_callable(function, f"table {self.name!r}: on_recover")
        self.recover_callbacks.append(function)
        return function

    def beside(self, name: str) -> Table[bytes, bytes]:
        """A table of plain rows with as many partitions, for what must be kept beside this one."""
        rows: Table[bytes, bytes] = Table(
            name, key_type=bytes, value_type=bytes, default=None, partitions=self.partitions
        )
        rows.beside_of = self
        return rows

    @property
    def changes(self) -> Changes[K, V]:
        """The keys that changed, with what they are now (None: gone), for an agent to read:
        `@app.agent(table.changes)`. Every change is told, those of one key in quick succession
        perhaps as one.
        """
        if self.window is not None:
            raise AppError(f"table {self.name!r} has windows: give them grace=, and read `closed`")
        if self._changes is None:
            self._changes = Changes(self, self.name)
        return self._changes

    @telling("Table.tumbling")
    def tumbling(
        self,
        size: Seconds,
        expires: Seconds | None = None,
        *,
        grace: Seconds | None = None,
        late: Late = "drop",
        key_index: bool = True,
    ) -> WindowedTable[K, V]:
        """Windows of `size` seconds (or a timedelta, as all spans here), one after the other.
        `expires`: how long to keep one after its end. `key_index` is how it always is: the windows
        that are kept can be walked.

        With `grace` a window closes once the watermark is that far past its end: its value is
        final (see `WindowedTable.closed`) and what comes later is `late`: dropped and counted,
        a "dead_letter", or an "update" that closes the window once more (needs `expires`); what
        comes before it was told is told with it.
        """
        check_key_index(key_index)
        return self._windowed(size, size, expires, grace, late)

    @telling("Table.hopping")
    def hopping(
        self,
        size: Seconds,
        step: Seconds,
        expires: Seconds | None = None,
        *,
        grace: Seconds | None = None,
        late: Late = "drop",
        key_index: bool = True,
    ) -> WindowedTable[K, V]:
        """Windows of `size` that start every `step` seconds: an event is in size/step of them. The
        rest is as with `tumbling`.
        """
        check_key_index(key_index)
        return self._windowed(size, step, expires, grace, late)

    @telling("Table.using_window")
    def using_window(
        self,
        window: Shape,
        *,
        grace: Seconds | None = None,
        late: Late = "drop",
        key_index: bool = True,
    ) -> WindowedTable[K, V]:
        """The windows of a `TumblingWindow` or `HoppingWindow`; the rest is as with `tumbling`."""
        check_key_index(key_index)
        if not isinstance(window, Shape):
            raise AppError(
                f"table {self.name!r}: a window is a TumblingWindow(60) or a HoppingWindow(60, 5),"
                f" not {described(window)}"
            )
        return self._windowed(window.size, window.step, window.expires, grace, late)

    def _windowed(
        self,
        size: Seconds,
        step: Seconds,
        expires: Seconds | None,
        grace: Seconds | None,
        late: Late,
    ) -> WindowedTable[K, V]:
        if self.window is not None:
            raise AppError(f"table {self.name!r} has windows already")
        if self.ttl_ms is not None or self.is_ordered:
            raise AppError(
                f"table {self.name!r}: windows have expires= instead of ttl=, and are not ordered="
            )
        if self.when_windowed is not None:
            expires, grace = closing_spans(self.name, expires, grace)
        kept = None if expires is None else milliseconds(expires)
        closing = None if grace is None else milliseconds(grace)
        try:
            window = Window(milliseconds(size), milliseconds(step), kept, closing)
        except ValueError as error:
            raise AppError(f"table {self.name!r}: {error} (spans are in seconds)") from None
        check_late(self, window, late)
        self.window, self.written_as = window, window.written_as
        self.late = late
        self._key = self._refuse
        windowed = WindowedTable(self, window)
        if self.when_windowed is not None:
            self.when_windowed(windowed)
        return windowed
