"""Walking a table: all of its rows, a range, or those whose keys begin alike; in key order.

Pure. Mixed into every kind of table; the table says which view and which keys.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import ItemsView, Iterable, Iterator, Mapping, MutableMapping, ValuesView
from typing import Any, Protocol, Self, TypeVar, cast

from flowstream.processing.errors import AppError
from flowstream.processing.tables.drawing import Drawn
from flowstream.processing.tables.rows import RowKeys

K = TypeVar("K")
V = TypeVar("V")


class Scanned(Protocol):
    """The view that a table reads."""

    def scan(
        self, start: bytes = b"", stop: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, object]]:
        """(row key, value) in the order of the rows."""


class Scans(Drawn, MutableMapping[K, V]):
    """What every table can do with its rows in order. Rows are as they were when a walk began."""

    name: str
    row_keys: RowKeys[K]

    @abstractmethod
    def _view(self) -> Scanned:
        """The rows that the running unit sees."""

    def _walk(
        self, start: bytes = b"", stop: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[K, V]]:
        decode = self.row_keys.decode
        for row, value in self._view().scan(start, stop, reverse=reverse):
            yield decode(row), cast("V", value)

    def __iter__(self) -> Iterator[K]:
        return (key for key, _ in self._walk())

    def __len__(self) -> int:
        return sum(1 for _ in self._view().scan())

    def items(self) -> ItemsView[K, V]:
        """(key, value) of every row; one walk."""
        return _Items(self)

    def values(self) -> ValuesView[V]:
        """The value of every row; one walk."""
        return _Values(self)

    def _drawn_rows(self) -> Iterator[tuple[K, V]]:
        return self._walk()

    def copy(self) -> dict[K, V]:
        """The rows as a dict of their own."""
        return dict(self.items())

    def __or__(self, other: Mapping[K, V]) -> dict[K, V]:
        return self.copy() | dict(other)

    def __ror__(self, other: Mapping[K, V]) -> dict[K, V]:
        return dict(other) | self.copy()

    def __ior__(self, other: Mapping[K, V] | Iterable[tuple[K, V]]) -> Self:
        self.update(other)
        return self

    def range(
        self, start: K | None = None, stop: K | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[K, V]]:
        """(key, value) with start <= key < stop in key order; None: from the first, to the last.

        Keys of `str` and `bytes` are always in order, others when the table is `ordered=True`.
        """
        begin = self._begin()
        low = b"" if start is None else begin(start)
        high = None if stop is None else begin(stop)
        return self._walk(low, high, reverse=reverse)

    def prefix(self, leading: Any, *, reverse: bool = False) -> Iterator[tuple[K, V]]:
        """(key, value) of all keys that begin so, in key order: the first letters of a `str` or
        bytes, or a tuple of the first fields.
        """
        low = self._begin()(leading)
        return self._walk(low, self.row_keys.stop(low), reverse=reverse)

    def _begin(self) -> Any:
        begin = self.row_keys.begin
        if begin is None:
            raise AppError(
                f"the rows of table {self.name!r} are not in the order of its keys: declare it with"
                " ordered=True (a table that has rows already starts over, see `flowstream reset`)"
            )
        return begin


class _Items(ItemsView[K, V]):
    def __init__(self, table: Scans[K, V]) -> None:
        super().__init__(table)
        self._table = table

    def __iter__(self) -> Iterator[tuple[K, V]]:
        return self._table._walk()


class _Values(ValuesView[V]):
    def __init__(self, table: Scans[Any, V]) -> None:
        super().__init__(table)
        self._table = table

    def __iter__(self) -> Iterator[V]:
        return (value for _, value in self._table._walk())
