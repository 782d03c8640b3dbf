"""What an app declares about tables that come from elsewhere: from a topic, or from two tables."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Coroutine, Iterable
from itertools import islice
from typing import Any, Literal, TypeVar, overload

from flowstream.processing import declaring
from flowstream.processing.agents.agent import Agent
from flowstream.processing.agents.foreign_joins import ForeignJoined
from flowstream.processing.agents.policies import OnError
from flowstream.processing.declarations.timing import Timing
from flowstream.processing.errors import AppError
from flowstream.processing.events.current import in_unit
from flowstream.processing.events.topic import Outgoing, RecordMetadata, Topic
from flowstream.processing.events.topic_patterns import refuse_pattern
from flowstream.processing.instead import telling
from flowstream.processing.streams.lookups import VERSIONS, Version, waiting_since, with_version
from flowstream.processing.streams.stream import Stream
from flowstream.processing.tables.inner import BesideRows, Keeper, Kept
from flowstream.processing.tables.table import Table
from flowstream.processing.tables.table_changes import JoinedTables, TableJoin
from flowstream.processing.time.digits import DIGITS, digits, leading
from flowstream.processing.time.watermarks import FOREVER
from flowstream.processing.values.codecs import readable
from flowstream.processing.values.durations import Seconds, positive

K = TypeVar("K")
V = TypeVar("V")


class GoneKeys(Keeper):
    """The keys of a table with versions that are deleted, and when that is forgotten."""

    kind = "gone"
    begin = None

    def __init__(self, of: Table[Any, Any]) -> None:
        self.key_codec = of.key_codec

    def key_of(self, row: bytes) -> bytes | None:
        """See `Keeper.key_of`."""
        return row[DIGITS:] if row[:DIGITS].isdigit() else None

    def kept(self, row: bytes, value: Any) -> Iterable[Kept]:
        """When it is forgotten."""
        del value
        return (Kept(None, at_ms=leading(row)),)


class Relating(Timing):
    """The part of an app that makes tables of topics, and joins tables."""

    id: str

    def __init__(self) -> None:
        super().__init__()
        self.foreign_joins: list[ForeignJoined] = []

    @abstractmethod
    async def _send(self, record: Outgoing) -> RecordMetadata:
        """Send outside of agents."""

    @abstractmethod
    def changelog(self, table: str) -> str:
        """The name of a table's changelog topic."""

    def _declare(self, table: Table[Any, Any]) -> None:
        self.check_table_name(table.name)
        table.changelog_topic_name = self.changelog(table.name)
        self.tables[table.name] = table

    @telling("App.table")
    def table(
        self,
        topic: Topic[K, V],
        *,
        name: str | None = None,
        history: Seconds | None = None,
        on_error: OnError = "stop",
    ) -> Table[K, V]:
        """A table of a topic's newest value per key; a record without a value deletes its key.

        `history`: how far back its rows stay known as they were, for joins as of event time
        (`stream.join(table, as_of=True)`). `on_error` is about records that do not decode or have
        no key: one that is passed over leaves the row of its key as it was.

        >>> from flowstream import App
        >>> app = App("shop")
        >>> customers = app.table(app.topic("customers", key_type=str, value_type=dict))
        """
        refuse_pattern(topic, "app.table")
        named = name or topic.name
        table: Table[K, V] = Table(
            named, key_type=topic.key_type, value_type=topic.value_type, default=None,
            partitions=None,
        )  # fmt: skip
        self._declare(table)
        table.fed_by = topic.name
        follow = follower(table)
        if history is not None:
            versions: Table[Any, Any] = table.beside(f"{named}-versions")
            versions.value_codec = VERSIONS
            versions.keeper = BesideRows("versions", table, versions_kept(table), before=b"")
            table.versions = versions
            gone = table.beside(f"{named}-gone")
            gone.keeper = GoneKeys(table)
            for rows in (versions, gone):
                self._declare(rows)
            follow = versioning(
                table, versions, gone, positive(f"table {named!r}: history", history)
            )
        source = topic.with_tombstones()
        agent = Agent(follow, source, name=f"{named}.table", sinks=(), on_error=on_error)
        agent.passing_over = PASSING_OVER
        agent.is_end = True
        self.add_agent(agent)
        return table

    @overload
    def join(
        self, left: Table[K, Any], right: Table[K, Any], *, how: TableJoin = ...,
        name: str | None = ...,
    ) -> JoinedTables[K]: ...  # fmt: skip
    @overload
    def join(
        self, left: Table[Any, V], right: Table[Any, Any], *, on: Callable[[V], Any],
        how: Literal["inner", "left"] = ..., name: str | None = ...,
    ) -> ForeignJoined: ...  # fmt: skip
    @telling("App.join")
    def join(
        self,
        left: Table[Any, Any],
        right: Table[Any, Any],
        *,
        on: Callable[[Any], Any] | None = None,
        how: Any = "inner",
        name: str | None = None,
    ) -> JoinedTables[Any] | ForeignJoined:
        """Two tables side by side, for an agent to read: `Joined(left, right)` whenever one side of
        a key changed, None once the key has no result any more.

        Both have the same keys; or `on` says which key of the right table a row of the left one
        names (None: none). Then the result has the left table's keys, how is "inner" or "left",
        the two may have other numbers of partitions, and a right row is found where its key's
        bytes place it (murmur2, as Java's clients do). Rows from before the join was declared are
        told when they change.

        >>> from flowstream import App
        >>> app = App("shop")
        >>> prices, stock = app.Table("prices", default=int), app.Table("stock", default=int)
        >>> @app.agent(app.join(prices, stock))
        ... async def offer(stream):
        ...     async for item, joined in stream.items():
        ...         print(item, "gone" if joined is None else joined.left)
        """
        for table in (left, right):
            if getattr(table, "window", None) is not None:
                raise AppError(f"table {table.name!r} has windows, which have no single value")
            if not isinstance(table, Table):
                raise AppError(
                    f"app.join takes two tables, not {declaring.described(table)}: a topic becomes"
                    " one by app.table(topic); of anything else, have an agent fill one"
                )
        named = name or f"{left.name}-{right.name}"
        if on is None:
            return JoinedTables(named, left, right, how)
        found = ForeignJoined(named, left, right, on, how)
        found.declare(self)
        return found


PASSING_OVER = "app.table(..., on_error='skip' or 'dead_letter') passes over such records"
SWEEP_EVERY = 64
"""Events of a table with a history between two looks for keys to forget."""
Follower = Callable[[Stream[Any]], Coroutine[Any, Any, None]]


def follower(table: Table[Any, Any]) -> Follower:
    """An agent that keeps a table as its topic says."""

    async def follow(stream: Stream[Any]) -> None:
        async for event in stream.events():
            if event.key is None:
                raise ValueError(f"a record of table {table.name!r} needs a key: {PASSING_OVER}")
            put(table, event.key, event.value)

    return follow


def versioning(
    table: Table[Any, Any],
    versions: Table[Any, Any],
    gone: Table[bytes, bytes],
    history_ms: int,
) -> Follower:
    """The same, and what the rows were: a record that comes late changes the past alone. Keys that
    are deleted are remembered for as long as the history goes back; and while the events that are
    joined with the rows are behind, for as long as one of them may ask.
    """
    encode_key, encode = table.key_codec.encode, table.value_codec.encode

    async def follow(stream: Stream[Any]) -> None:
        count, now_ms = 0, 0
        async for event in stream.events():
            if event.key is None:
                raise ValueError(f"a record of table {table.name!r} needs a key: {PASSING_OVER}")
            row, at_ms = encode_key(event.key), round(event.timestamp * 1000)
            data = None if event.value is None else encode(event.value)
            before = versions.get(row, ())
            newest = max([at_ms, *(at for at, _ in before)])
            oldest = newest - history_ms
            if sum(at <= oldest for at, _ in before) > 1:  # else nothing goes
                oldest = min(oldest, needed_ms(table, row))
            versions[row] = with_version(before, at_ms, data, oldest)
            if at_ms == newest:
                put(table, event.key, event.value)
                if data is None:
                    gone[over_at(at_ms + history_ms) + row] = b""
            now_ms = max(now_ms, at_ms)
            if count % SWEEP_EVERY == 0:
                forget(table, versions, gone, now_ms, history_ms)
            count += 1

    return follow


def versions_kept(table: Table[Any, Any]) -> Callable[[tuple[Version, ...]], Iterable[Kept]]:
    """What a row of versions says, for people: each value, and from when on."""
    codec = table.value_codec
    return lambda versions: [Kept(readable(codec, data), at_ms=at) for at, data in versions]


def needed_ms(table: Table[Any, Any], row: bytes) -> int:
    """The least event time at which an event may still want to know a row: one that comes, or one
    that waits, be it only for its agent.
    """
    unit, found = in_unit("following a table's topic"), FOREVER
    for name, grace_ms in table.joined_as_of.items():
        found = min(found, unit.watermark(name) - grace_ms, waiting_since(unit.view(name), row))
    return found


def over_at(at_ms: int) -> bytes:
    """What the rows of keys that are forgotten at an instant begin with."""
    return digits(max(at_ms, 0))


def forget(
    table: Table[Any, Any], versions: Table[Any, Any], gone: Table[bytes, bytes], now_ms: int,
    history_ms: int,
) -> None:  # fmt: skip
    """Delete the versions of keys whose deletion nobody can look behind any more."""
    for mark, _ in list(islice(gone.range(stop=over_at(now_ms)), 2 * SWEEP_EVERY)):
        at_ms, row = leading(mark) - history_ms, mark[DIGITS:]
        if needed_ms(table, row) < at_ms:
            continue
        del gone[mark]
        kept = versions.get(row)
        if kept is not None and kept[-1] == (at_ms, None):
            del versions[row]


def put(table: Table[Any, Any], key: Any, value: Any) -> None:
    """The newest value of a key; None deletes it."""
    if value is None:
        table.pop(key, None)
    else:
        table[key] = value
