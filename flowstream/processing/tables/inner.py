"""Sources inside the app: rows of a table that come due, as an agent's stream.

Pure declarations. An inner source says which rows are due when, what an agent sees of one, and what
the unit that deals with it does to the table.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from flowstream.processing.time.dues import PREFIX, DuePartition
from flowstream.processing.values.codecs import Codec
from flowstream.state.table import TablePartition
from flowstream.state.table_view import TableView

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Fired:
    """A row that came due, in the shape of a record. `offset` -1: it comes from no log. A silent
    one is no event for the agent: it only has to be settled.
    """

    topic: str
    partition: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    row: bytes
    due_ms: int
    offset: int = -1
    headers: tuple[tuple[str, bytes | None], ...] = ()
    is_silent: bool = False
    mark: bytes | None = None
    """What the row held: whoever settles it leaves one that its own unit has written since."""


class InnerSource(Generic[K, V]):
    """What an agent may read instead of a topic. Fired once per row, in the order of the instants;
    what an agent does with it, and that it is done, commits together.
    """

    name: str
    key_codec: Codec[Any]
    value_codec: Codec[Any]
    partitions: int | None = None

    @property
    @abstractmethod
    def table(self) -> str:
        """The table whose rows come due."""

    def have_reader(self) -> None:
        """An agent reads this: what that needs is kept from here on."""

    @property
    def hidden(self) -> tuple[Any, ...]:
        """Tables of this source that nobody declared."""
        return ()

    @property
    def judges(self) -> str:
        """The table in which what comes after a row was due is late."""
        return self.table

    @property
    def span_ms(self) -> int:
        """Of what is due at the same instant, shorter spans go first: they may fill longer ones."""
        return 0

    @property
    def fed_by(self) -> tuple[str, ...]:
        """Topics besides its agent's whose event time counts here."""
        return ()

    @property
    def by_value(self) -> bool:
        """Whether a row's value says when it is due; else its name does."""
        return False

    @property
    def by_wall_clock(self) -> bool:
        """Whether instants are the worker's clock's; else they are event time."""
        return False

    @property
    def at_once(self) -> bool:
        """Whether everything is due as soon as it is written; instants only give the order."""
        return False

    @property
    def watched(self) -> tuple[str, ...]:
        """Tables each changed key of which becomes a row, with the event time of the change."""
        return ()

    @property
    def shape(self) -> Callable[[Any, Any], V] | None:
        """(record, decoded value) to what the agent sees; None: the value."""
        return None

    @abstractmethod
    def due_ms(self, row: bytes, value: Any, watermark_ms: int | None) -> int | None:
        """When a row is due that was written at this watermark (None: in an earlier life)."""

    def agenda(self, partition: TablePartition) -> DuePartition:
        """What follows the rows of one partition."""
        return DuePartition(partition, self.due_ms, by_value=self.by_value)

    def then_ms(self, fired: Fired, value: Any) -> int | None:
        """When a row is due next that has just been dealt with and was not written since."""
        del fired, value
        return None

    @abstractmethod
    def fired(
        self, row: bytes, due_ms: int, views: Mapping[str, TableView], partition: int
    ) -> Fired | None:
        """The record of a row that came due; None when there is nothing to tell any more."""

    @abstractmethod
    def settle(self, fired: Fired, views: Mapping[str, TableView], now_ms: int) -> None:
        """Write what makes it done, in the unit that dealt with it."""

    def armed(self, partition: int, present: Iterable[bytes]) -> Mapping[bytes, int]:
        """Rows that are due although they are not there yet."""
        del partition, present
        return {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"


class OwnRows(InnerSource[K, V]):
    """A source whose rows are those of one table that nobody declared."""

    _rows: Any = None
    """The table, once it is known whose source this is."""

    def _keep_in(self, rows: Any) -> None:
        """Learn which table."""
        rows.comes_due = True
        self._rows = rows

    @property
    def table(self) -> str:
        """The table's name."""
        assert self._rows is not None, f"{self!r} belongs to nobody yet"
        return str(self._rows.name)

    @property
    def hidden(self) -> tuple[Any, ...]:
        """The table."""
        assert self._rows is not None, f"{self!r} belongs to nobody yet"
        return (self._rows,)


class Kept(NamedTuple):
    """Something that a row keeps of its key, for people to read."""

    value: Any
    span_ms: tuple[int, int] | None = None
    """Start and end, exclusive, of the window that it is of."""
    at_ms: int | None = None


class Keeper:
    """Who keeps the rows of a table that nobody declared, and shows them by key (see `showing`)."""

    kind = ""
    """What its table is, in a word or two."""
    begin: bytes | None = PREFIX
    """What stands before a key in its row; None when that differs."""
    key_codec: Codec[Any]

    def key_of(self, row: bytes) -> bytes | None:
        """The key of a row; None for a row that is no key's."""
        return row.removeprefix(PREFIX) if row.startswith(PREFIX) else None

    def kept(self, row: bytes, value: Any) -> Iterable[Kept]:
        """What a row keeps."""
        del row
        return (Kept(value),)


class KeyedRows(Keeper, OwnRows[K, V]):
    """A source whose rows keep something of each key."""

    def _keep_in(self, rows: Any) -> None:
        """Learn which table."""
        super()._keep_in(rows)
        rows.keeper = self


class BesideRows(Keeper):
    """Rows that stand beside those of a table, shown by its keys: `kept_as` says what one keeps,
    `before` what stands before a row's name.
    """

    def __init__(
        self, kind: str, of: Any, kept_as: Callable[[Any], Iterable[Kept]], before: bytes = PREFIX
    ) -> None:
        self.kind = kind
        self.key_codec = of.key_codec
        # Where the table is ordered its rows are not named by the keys as topics have them.
        self.begin = None if of.is_ordered else before
        self._before, self._topic_key, self._kept_as = before, of.topic_key, kept_as

    def key_of(self, row: bytes) -> bytes | None:
        """See `Keeper.key_of`."""
        before = self._before
        return self._topic_key(row[len(before) :]) if row.startswith(before) else None

    def kept(self, row: bytes, value: Any) -> Iterable[Kept]:
        """See `Keeper.kept`."""
        del row
        return self._kept_as(value)
