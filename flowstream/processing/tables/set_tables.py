"""Tables whose values are sets, one row per member: changing a member writes that member alone.

Pure. A member's row is its key's bytes, an end, the member's bytes; the row's value is empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableMapping, MutableSet
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast, overload

from flowstream.processing.errors import AppError
from flowstream.processing.events.topic import Topic
from flowstream.processing.instead import missing
from flowstream.processing.tables.drawing import Drawn
from flowstream.processing.tables.rows import RowKeys, row_keys
from flowstream.processing.tables.set_managers import SetChange, SetManager
from flowstream.processing.tables.table import Table
from flowstream.processing.values.codecs import Codec, refusal
from flowstream.processing.values.durations import Seconds
from flowstream.processing.values.round_trips import check_kept, row_key_codec
from flowstream.state.keys import ordered_keys
from flowstream.state.overlay import DELETED

K = TypeVar("K")
M = TypeVar("M")
D = TypeVar("D")
T = TypeVar("T")

MANAGER_SUFFIX = "-setmanager"
_END = b"\0\x01"
_ZERO = b"\0\xff"
"""A zero byte within a key: the end sorts before it, and before nothing else of a longer key."""


class MemberRows(Table[Any, bytes]):
    """The rows below a SetTable: a mapping from (key, member) to nothing."""

    def __init__(
        self,
        name: str,
        *,
        key_type: Any,
        value_type: Any,
        partitions: int | None,
        ttl: Seconds | None,
    ) -> None:
        super().__init__(
            name, key_type=key_type, value_type=bytes, default=None, partitions=partitions, ttl=ttl
        )
        check_kept(value_type, f"table {name!r}")
        self.member_type = value_type
        self.row_keys = _member_keys(_keys(name, key_type), _keys(name, value_type))
        self._key = self.row_keys.encode
        self._member_codec: Codec[Any] = row_key_codec(value_type)

    def unusable(self, key: object, error: Exception) -> TypeError | ValueError:
        """The error for a key or a member that did not encode."""
        owner, member = cast("tuple[Any, Any]", key)
        try:
            self.key_codec.encode(owner)
        except (TypeError, ValueError) as wrong:
            return super().unusable(owner, wrong)
        what = f"a member of table {self.name!r}"
        return refusal(self._member_codec, member, error, what, "value_type")


def _keys(table: str, kind: Any) -> RowKeys[Any]:
    return row_keys(table, kind, row_key_codec(kind), ordered=ordered_keys(kind) is not None)


def _member_keys(keys: RowKeys[Any], members: RowKeys[Any]) -> RowKeys[Any]:
    def begin(leading: tuple[Any, ...]) -> bytes:
        key = keys.encode(leading[0]).replace(b"\0", _ZERO) + _END
        return key + members.encode(leading[1]) if len(leading) == 2 else key

    def decode(row: bytes) -> tuple[Any, Any]:
        end = row.find(_END)
        if end < 0:
            raise ValueError(f"not a row of a set: {row!r:.100}")
        return keys.decode(row[:end].replace(_ZERO, b"\0")), members.decode(row[end + 2 :])

    return RowKeys(begin, decode, begin)


class SetTable(Drawn, MutableMapping[K, "MemberSet[M]"]):
    """A sharded, durable mapping from keys to sets. `table[key]` is the key's set, perhaps empty:
    `add`, `discard`, `update` and the others change it in the running unit.

    A key is in the table while its set has members. Iterating and `len` walk the members' rows.
    """

    def __init__(self, rows: MemberRows) -> None:
        self.rows = rows
        self._manager: SetManager[K, M] | None = None
        self.manager_topic_suffix = MANAGER_SUFFIX
        """How the topic of its changes ends, unless that has a name of its own."""

    if not TYPE_CHECKING:  # checkers know what is there

        def __getattr__(self, name: str) -> Any:
            raise missing("SetTable", name, f"{type(self).__name__!r} object")

    Manager = SetManager

    @property
    def start_manager(self) -> bool:
        """Whether it takes changes from anywhere."""
        return self._manager is not None

    @property
    def manager_topic_name(self) -> str | None:
        """The topic of these changes, None where there is no manager."""
        return None if self._manager is None else self._manager.topic.name

    @property
    def manager(self) -> SetManager[K, M]:
        """Changes sets from outside of their events; AppError without start_manager=True."""
        if self._manager is None:
            raise AppError(
                f"table {self.name!r} has no manager: app.SetTable({self.name!r}, partitions=N,"
                " start_manager=True)"
            )
        return self._manager

    @property
    def changes(self) -> NoReturn:
        """None: a set changes member by member."""
        raise AppError(
            f"table {self.name!r} holds sets, whose changes are not told: have the agent that"
            " changes it yield them, or keep the sets in app.Table(..., value_type=frozenset[...])"
        )

    def have_manager(self, topic: Topic[K, SetChange]) -> None:
        """Take requests of this topic."""
        self._manager = SetManager(self, topic)

    def __repr__(self) -> str:
        return f"SetTable({self.name!r})"

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other

    @property
    def name(self) -> str:
        """The table's name."""
        return self.rows.name

    def __getitem__(self, key: K) -> MemberSet[M]:
        return MemberSet(self.rows, key)

    def __setitem__(self, key: K, value: Iterable[M]) -> None:
        found = self[key]
        if isinstance(value, MemberSet) and value.is_of(self.rows, key):
            return  # `table[key] |= other` has changed the set already and hands it back
        wanted = set(value)
        found &= wanted
        found |= wanted

    def __delitem__(self, key: K) -> None:
        if key not in self:
            raise KeyError(key)
        self[key].clear()

    def __contains__(self, key: object) -> bool:
        try:
            return any(True for _ in self.rows.prefix((key,)))
        except (TypeError, ValueError):
            return False

    def _drawn_rows(self) -> Iterator[tuple[K, set[M]]]:
        return ((key, self[key].copy()) for key in self)

    def __iter__(self) -> Iterator[K]:
        """Each key that has members, once."""
        last: Any = DELETED
        for key, _ in self.rows:
            if last is DELETED or key != last:
                last = key
                yield key

    def __len__(self) -> int:
        return sum(1 for _ in self)

    @overload
    def get(self, key: K, default: None = None, /) -> MemberSet[M] | None: ...
    @overload
    def get(self, key: K, default: D, /) -> MemberSet[M] | D: ...
    def get(self, key: K, default: Any = None, /) -> Any:
        """The key's set if it has members, else the argument."""
        found = self[key]
        return found if found else default

    def setdefault(self, key: K, default: Iterable[M] | None = None, /) -> MemberSet[M]:
        """The key's set, made of `default` if it had no members."""
        found = self[key]
        if default is not None and not found:
            found.update(default)
        return found

    def pop(self, key: K, *default: Any) -> Any:
        """Remove a key and give its members as a set, or the argument when it has none."""
        found = self[key].copy()
        if not found:
            if default:
                return default[0]
            raise KeyError(key)
        self[key].clear()
        return found

    def popitem(self) -> tuple[K, Any]:
        """Remove some key and give it with its members."""
        for key in self:
            return key, self.pop(key)
        raise KeyError(f"table {self.name!r} is empty")

    def clear(self) -> None:
        """Delete every member of every key of this partition."""
        self.rows.clear()


class MemberSet(MutableSet[M]):
    """The set of one key, as the running unit sees and changes it."""

    __slots__ = ("_key", "_rows")

    def __init__(self, rows: MemberRows, key: Any) -> None:
        self._rows = rows
        self._key = key

    def __repr__(self) -> str:
        return f"MemberSet({self._rows.name!r}, {self._key!r})"

    @classmethod
    def _from_iterable(cls, it: Iterable[T]) -> MutableSet[T]:
        return set(it)

    def is_of(self, rows: MemberRows, key: object) -> bool:
        """Whether this is that table's set of that key."""
        return self._rows is rows and bool(self._key == key)

    def __contains__(self, member: object) -> bool:
        return (self._key, member) in self._rows

    def __iter__(self) -> Iterator[M]:
        """The members as they were when the walk began, in the order of their rows."""
        return (cast("M", pair[1]) for pair, _ in self._rows.prefix((self._key,)))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __bool__(self) -> bool:
        return any(True for _ in self)

    def add(self, value: M) -> None:
        """Add a member: one row, if it is new (with a time to live, its time begins anew)."""
        pair = (self._key, value)
        if self._rows.ttl_ms is not None or pair not in self._rows:
            self._rows[pair] = b""

    def discard(self, value: M) -> None:
        """Remove a member if it is one."""
        self._rows.pop((self._key, value), None)

    def clear(self) -> None:
        """Remove every member."""
        for member in list(self):
            self.discard(member)

    def copy(self) -> set[M]:
        """The members as a set of their own."""
        return set(self)

    def update(self, *others: Iterable[M]) -> None:
        """Add all members of the others."""
        for other in others:
            for member in list(other):
                self.add(member)

    def difference_update(self, *others: Iterable[M]) -> None:
        """Remove all members of the others."""
        for other in others:
            for member in list(other):
                self.discard(member)

    def intersection_update(self, *others: Iterable[M]) -> None:
        """Keep only what is in all others."""
        for other in others:
            self &= set(other)

    def symmetric_difference_update(self, other: Iterable[M]) -> None:
        """Keep what is in one of the two, not in both."""
        self ^= set(other)

    def union(self, *others: Iterable[M]) -> set[M]:
        """Members of this or any of the others, as a set of their own."""
        return self.copy().union(*others)

    def intersection(self, *others: Iterable[M]) -> set[M]:
        """Members of this and all of the others, as a set of their own."""
        return self.copy().intersection(*others)

    def difference(self, *others: Iterable[M]) -> set[M]:
        """Members of this and none of the others, as a set of their own."""
        return self.copy().difference(*others)

    def symmetric_difference(self, other: Iterable[M]) -> set[M]:
        """Members of one of the two and not of both, as a set of their own."""
        return self.copy().symmetric_difference(other)

    def issubset(self, other: Iterable[M]) -> bool:
        """Whether all members are in the other."""
        return self.copy().issubset(other)

    def issuperset(self, other: Iterable[M]) -> bool:
        """Whether this has all members of the other."""
        return self.copy().issuperset(other)
