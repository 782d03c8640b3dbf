"""Changes of tables as sources: keys that changed since they were last told, as they are now.

Declarations and the pure rules of one row. A change is a row of a table beside, written by the unit
that changed the key and deleted by the one that was told: told exactly once, several changes of one
key perhaps as one.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, cast

from flowstream.processing.errors import AppError
from flowstream.processing.tables.inner import BesideRows, Fired, Kept, OwnRows
from flowstream.processing.time.digits import digits, leading
from flowstream.processing.time.dues import PREFIX
from flowstream.processing.values.codecs import BYTES, Codec
from flowstream.processing.values.joined import LEFT_HEADER, RIGHT_HEADER, joined_shape
from flowstream.state.overlay import DELETED
from flowstream.state.table_view import TableView

if TYPE_CHECKING:
    from flowstream.processing.tables.table import Table

K = TypeVar("K")
V = TypeVar("V")

TableJoin = Literal["inner", "left", "outer"]
_COUNTER = itertools.count()
WAITS = "join-waits"
"""The header of a change that cannot be told yet."""


class ChangedRows(OwnRows[K, Any]):
    """Rows beside a table that stand for changes: each is due at once, by order of event time."""

    def _keep_changes_of(self, table: Table[K, Any], name: str) -> None:
        """Have a table beside it for them."""
        rows = table.beside(name)
        rows.keeper = BesideRows("changes", table, changed_at)
        self._keep_in(rows)

    @property
    def at_once(self) -> bool:
        """Due as soon as it is written."""
        return True

    @property
    def by_value(self) -> bool:
        """A row's value is the event time of the change."""
        return True

    def due_ms(self, row: bytes, value: Any, watermark_ms: int | None) -> int | None:
        """In the order of event time."""
        del row, watermark_ms
        return leading(value)


class Changes(ChangedRows[K], Generic[K, V]):
    """The keys of a table that changed; see `Table.changes`. `also`: more tables of its reader."""

    def __init__(
        self, table: Table[K, V], name: str, *, also: tuple[Table[Any, Any], ...] = ()
    ) -> None:
        self.name = f"{name}.changes"
        self.key_codec = table.key_codec
        self.value_codec = dataclasses.replace(table.value_codec, nullable=True)
        self.partitions = table.partitions
        self._of = table
        self._keep_changes_of(table, f"{name}-changes")
        self._also = also

    @property
    def hidden(self) -> tuple[Table[Any, Any], ...]:
        """The table nobody declared, and others."""
        return (self._rows, *self._also)

    @property
    def watched(self) -> tuple[str, ...]:
        """Tables whose changed keys are entered."""
        return (self._of.name,)

    def fired(
        self, row: bytes, due_ms: int, views: Mapping[str, TableView], partition: int
    ) -> Fired:
        """The key as it is now; no value when it is gone."""
        key = row.removeprefix(PREFIX)
        value = views[self._of.name].get(key)
        data = None if value is DELETED else self.value_codec.encode(value)
        return Fired(
            self.name, partition, due_ms, self._of.topic_key(key), data, row, due_ms,
            mark=cast("bytes", views[self.table].get(row)),
        )  # fmt: skip

    def settle(self, fired: Fired, views: Mapping[str, TableView], now_ms: int) -> None:
        """Told, unless the key changed again meanwhile."""
        del now_ms
        view = views[self.table]
        if view.get(fired.row) == fired.mark:
            view.delete(fired.row)


def change_row(at_ms: int) -> bytes:
    """The row of a change at an event time; a number tells it from others of the same time."""
    return b"%b %d" % (digits(at_ms), next(_COUNTER))


def changed_at(row: bytes) -> Iterable[Kept]:
    """What a row of a change says, for people: when."""
    return (Kept(None, at_ms=leading(row)),)


class SideBySide(ChangedRows[K]):
    """Rows of two tables side by side: told whenever one side of a key changed, as `Joined`, or
    None once it has no result any more. What was never told is not taken back.
    """

    def __init__(self, name: str, left: Table[K, Any], right: Table[Any, Any]) -> None:
        self.name = f"{name}.joined"
        self.key_codec = left.key_codec
        self.value_codec: Codec[Any] = dataclasses.replace(BYTES, nullable=True)
        self.partitions = left.partitions
        self._left, self._right = left, right
        self._keep_changes_of(left, f"{name}-changes")
        self._told = left.beside(f"{name}-told")
        self._told.keeper = BesideRows("told", left, lambda _: (Kept(None),))

    @property
    def both(self) -> tuple[Table[Any, Any], Table[Any, Any]]:
        """The two tables."""
        return self._left, self._right

    @property
    def hidden(self) -> tuple[Table[Any, Any], ...]:
        """Tables nobody declared."""
        return (self._rows, self._told)

    @property
    def shape(self) -> Callable[[Any, Any], Any]:
        """Both sides, decoded anew each time: an agent may change what it gets, and try again."""
        return joined_shape(self._left.value_codec, self._right.value_codec)

    def change(
        self,
        row: bytes,
        due_ms: int,
        views: Mapping[str, TableView],
        partition: int,
        sides: tuple[tuple[str, bytes | None], ...],
        *,
        is_there: bool,
        waits: bool = False,
    ) -> Fired:
        """The record of a change; silent when there is nothing to tell or to take back, and when
        it `waits` for another change, which will tell it.
        """
        key = self._left.topic_key(row.removeprefix(PREFIX))
        was_there = views[self._told.name].get(row) is not DELETED
        return Fired(
            self.name, partition, due_ms, key, b"" if is_there and not waits else None, row, due_ms,
            headers=(*sides, (WAITS, None)) if waits else sides,
            is_silent=waits or not (is_there or was_there),
            mark=cast("bytes", views[self.table].get(row)),
        )  # fmt: skip

    def settle(self, fired: Fired, views: Mapping[str, TableView], now_ms: int) -> None:
        """Told, unless the key changed again meanwhile; and what may have to be taken back."""
        del now_ms
        view, memory = views[self.table], views[self._told.name]
        if fired.value is not None:
            memory.set(fired.row, b"")
        elif memory.get(fired.row) is not DELETED and (WAITS, None) not in fired.headers:
            memory.delete(fired.row)
        if view.get(fired.row) == fired.mark:
            view.delete(fired.row)


class JoinedTables(SideBySide[K]):
    """Two tables with one key, side by side; see `App.join`."""

    def __init__(
        self, name: str, left: Table[K, Any], right: Table[K, Any], how: TableJoin
    ) -> None:
        if how not in ("inner", "left", "outer"):
            raise AppError(f"join {name!r}: how= is 'inner', 'left' or 'outer', not {how!r}")
        if left is right:
            raise AppError(f"join {name!r} is of a table with itself")
        if left.is_ordered is not right.is_ordered:
            raise AppError(f"join {name!r}: both tables must be ordered=True, or none")
        super().__init__(name, left, right)
        self._how = how

    @property
    def watched(self) -> tuple[str, ...]:
        """Both tables."""
        return (self._left.name, self._right.name)

    def fired(
        self, row: bytes, due_ms: int, views: Mapping[str, TableView], partition: int
    ) -> Fired:
        """Both sides as they are now."""
        key = row.removeprefix(PREFIX)
        left, right = (self._side(table, key, views) for table in (self._left, self._right))
        needed = {"inner": (left, right), "left": (left,), "outer": ()}[self._how]
        is_there = (left, right) != (None, None) and None not in needed
        sides = ((LEFT_HEADER, left), (RIGHT_HEADER, right))
        return self.change(row, due_ms, views, partition, sides, is_there=is_there)

    def _side(
        self, table: Table[K, Any], row: bytes, views: Mapping[str, TableView]
    ) -> bytes | None:
        value = views[table.name].get(row)
        return None if value is DELETED else table.value_codec.encode(value)
