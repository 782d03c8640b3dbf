"""Tables that a worker reads beyond its own partitions: global ones, and other apps'.

Pure. A key's partition is where a topic with as many partitions would have it; the task of that
partition writes it, everyone else reads what is committed, a moment later.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, ItemsView, Iterator, Mapping, ValuesView
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, overload

from flowstream.processing.errors import AppError, PartitionMismatch
from flowstream.processing.tables.rows import Migrate
from flowstream.processing.tables.table import Table
from flowstream.state.changelog import changelog_topic
from flowstream.state.memory import MemoryStore
from flowstream.state.overlay import DELETED, Absent
from flowstream.state.table import TablePartition
from flowstream.state.table_view import TableView
from flowstream.state.witness import Witness
from flowstream.wire.hashing import partition_for_key

K = TypeVar("K")
V = TypeVar("V")
D = TypeVar("D")

CACHED_PLACES = 100_000


class Replica:
    """One partition of a table as this worker holds it. While a task here owns it, the task's
    commits keep the store current; else the changelog's tail does.
    """

    __slots__ = ("_part", "is_owned")

    def __init__(self, part: TablePartition) -> None:
        self._part = part
        self.is_owned = False

    def value(self, key: bytes) -> object:
        """The committed value, or DELETED. A mutable one is a copy."""
        part = self._part
        if self.is_owned:
            row = part.store.get(key)
            return DELETED if row is None else part.decoded(key, row)
        found: Any = part.read(key)
        if found is DELETED or part.codec.immutable:
            return found
        return part.decoded(key, found)

    def scan(
        self, start: bytes, stop: bytes | None, *, reverse: bool
    ) -> Iterator[tuple[bytes, object]]:
        """(key, committed value) in key order."""
        for key, row in self._part.store.scan(start, stop, reverse=reverse):
            yield key, self._part.decoded(key, row)

    def replicate(self, rows: Mapping[bytes, bytes | None], changelog_offset: int) -> None:
        """What the changelog's tail brought."""
        self._part.replicate(rows, changelog_offset)

    def forget(self) -> None:
        """Objects that were read may be old now."""
        self._part.drop()


class Replicas:
    """One table's partitions on this worker; those it does not hold are None.

    `is_copartitioned`: a task reads its own number alone. `is_strict`: a key is in the partition
    where it belongs and nowhere else.
    """

    def __init__(
        self,
        table: Table[Any, Any],
        changelog: str,
        partitions: int,
        *,
        is_copartitioned: bool = False,
        is_strict: bool = True,
    ) -> None:
        self.table = table
        self.changelog = changelog
        self.partitions = partitions
        self.is_copartitioned = is_copartitioned
        self.is_strict = is_strict
        self.held: list[Replica | None] = [None] * partitions
        self._places: dict[bytes, int] = {}

    def place(self, row: bytes) -> int:
        """The partition where a row's key belongs: by the key's bytes in a topic."""
        found = self._places.get(row)
        if found is None:
            if len(self._places) >= CACHED_PLACES:
                self._places.clear()
            key = self.table.topic_key(row)
            found = self._places[row] = partition_for_key(key, self.partitions)
        return found

    def value(self, row: bytes, place: int) -> object:
        """What is committed of a key, looked for in one partition and, unless strict, elsewhere."""
        value = self._at(place).value(row)
        if value is DELETED and not self.is_strict and not self.is_copartitioned:
            for number in range(self.partitions):
                if number != place and (value := self._at(number).value(row)) is not DELETED:
                    break
        return value

    def is_seen_by(self, partitions: int) -> bool:
        """Whether tasks of topics with so many partitions can read it."""
        return not self.is_copartitioned or partitions == self.partitions

    def _at(self, number: int) -> Replica:
        replica = self.held[number]
        assert replica is not None, f"partition {number} of {self.table.name} is not held"
        return replica


class ReplicatedView(TableView):
    """A unit's view of a whole table: its task's partition, if it has one, and the replicas.

    `number` is the task's, for tables of which a task reads its own number alone.
    """

    __slots__ = ("_only", "_replicas")

    def __init__(
        self, replicas: Replicas, own: TablePartition | None = None, number: int | None = None
    ) -> None:
        table = replicas.table
        super().__init__(own or TablePartition(table.name, -1, MemoryStore(), table.row_codec))
        self._replicas = replicas
        self._only = number if replicas.is_copartitioned else None

    def get(self, key: bytes) -> object | Absent:
        """The value as this unit sees it: its own task's writes, of others what is committed."""
        place = self._replicas.place(key) if self._only is None else self._only
        if place == self.partition.number:
            return super().get(key)
        return self._replicas.value(key, place)

    def set(self, key: bytes, value: object) -> None:
        """Write a key of the task's own partition."""
        self._check(key)
        super().set(key, value)

    def delete(self, key: bytes) -> None:
        """Delete a key of the task's own partition."""
        self._check(key)
        super().delete(key)

    def _check(self, key: bytes) -> None:
        name, own = self.partition.name, self.partition.number
        place = self._replicas.place(key)
        if own < 0:
            raise PartitionMismatch(
                f"table {name!r} is written by agents of topics with {self._replicas.partitions}"
                " partitions; this agent can only read it"
            )
        if place != own:
            raise PartitionMismatch(
                f"key {key!r:.80} of global table {name!r} belongs to partition {place}, and this"
                f" event is in partition {own}: a key has one writer. Re-key the stream with"
                " group_by, and write the key of the event"
            )

    def scan(
        self, start: bytes = b"", stop: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, object]]:
        """(key, value) of every partition, in key order."""
        walks = [super().scan(start, stop, reverse=reverse)]
        for number, replica in enumerate(self._replicas.held):
            wanted = self._only is None or number == self._only
            if replica is not None and wanted and number != self.partition.number:
                walks.append(replica.scan(start, stop, reverse=reverse))
        return heapq.merge(*walks, key=itemgetter(0), reverse=reverse)


class ReplicatedWitness(Witness, ReplicatedView):
    """The same for a unit that is open beside others."""


class GlobalTable(Table[K, V]):
    """A table that every worker holds whole: read any key, write the keys of the event's partition.

    Another partition's rows are read as they are committed, a moment later.
    """

    def clear(self) -> NoReturn:
        """Refused: no unit may write every partition."""
        raise AppError(f"global table {self.name!r} has many writers: delete its keys one by one")

    def _windowed(self, *span: object) -> NoReturn:
        del span
        raise AppError(f"global table {self.name!r} cannot have windows")


class TableOf(Mapping[K, V]):
    """Another app's table, to read. With `partitions` an agent sees the partition of its event,
    else every key. Rows are read as they are committed, a moment later.
    """

    def __init__(
        self, app: str, name: str, *, key_type: type[K], value_type: type[V],
        default: Callable[[], V] | None, partitions: int | None, ordered: bool,
        migrate: Migrate | None,
    ) -> None:  # fmt: skip
        self.app = app
        self.table_name = name
        self.partitions = partitions
        self.rows: Table[K, V] = Table(
            f"{app}@{name}", key_type=key_type, value_type=value_type, default=default,
            partitions=partitions, ordered=ordered, migrate=migrate,
        )  # fmt: skip

    def __repr__(self) -> str:
        return f"TableOf({self.app!r}, {self.table_name!r})"

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other

    @property
    def changelog(self) -> str:
        """The topic that the other app writes."""
        return changelog_topic(self.app, self.table_name)

    def __getitem__(self, key: K) -> V:
        return self.rows[key]

    if not TYPE_CHECKING:  # for type checkers there is simply nothing to assign to

        def __setitem__(self, key: object, value: object) -> NoReturn:
            raise TypeError(
                f"table {self.table_name!r} is app {self.app!r}'s, and only read here: send to a"
                " topic that an agent of that app reads, which writes it"
            )

        def __delitem__(self, key: object) -> NoReturn:
            self[key] = None

    def __contains__(self, key: object) -> bool:
        return key in self.rows

    def __iter__(self) -> Iterator[K]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def get(self, key: K, default: None = None, /) -> V | None: ...
    @overload
    def get(self, key: K, default: V, /) -> V: ...
    @overload
    def get(self, key: K, default: D, /) -> V | D: ...
    def get(self, key: K, default: Any = None, /) -> Any:
        """The stored value or the argument."""
        return self.rows.get(key, default)

    def items(self) -> ItemsView[K, V]:
        """(key, value) of every row; one walk."""
        return self.rows.items()

    def values(self) -> ValuesView[V]:
        """The value of every row; one walk."""
        return self.rows.values()

    def range(
        self, start: K | None = None, stop: K | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[K, V]]:
        """(key, value) with start <= key < stop in key order, for keys of str and bytes."""
        return self.rows.range(start, stop, reverse=reverse)

    def prefix(self, leading: Any, *, reverse: bool = False) -> Iterator[tuple[K, V]]:
        """(key, value) of all keys that begin so, in key order."""
        return self.rows.prefix(leading, reverse=reverse)
