"""Joins of tables by a foreign key: each row of the left one says which row of the right is its.

The two are partitioned by other keys, so they talk (KIP-213): whoever has a left row subscribes to
its right key, in a topic that is partitioned as the right table; whoever has that answers with the
right row, at once and whenever it changes, to the partition of the left row. A subscription has a
version: an answer to one that is over is stale, and dropped. Four agents do that; the results are
due rows beside the left table, told exactly once as those of any join.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any, Protocol, TypeVar

import msgspec

from flowstream.processing.agents.agent import NOT_OURS, Agent
from flowstream.processing.errors import AppError
from flowstream.processing.events.topic import Send, Topic
from flowstream.processing.streams.stream import Stream
from flowstream.processing.tables.inner import BesideRows, Fired, Keeper, Kept
from flowstream.processing.tables.table import Table
from flowstream.processing.tables.table_changes import Changes, SideBySide
from flowstream.processing.time.dues import PREFIX
from flowstream.processing.values.codecs import codec_of, readable, refusal
from flowstream.processing.values.joined import LEFT_HEADER, RIGHT_HEADER
from flowstream.state.overlay import DELETED
from flowstream.state.table_view import TableView

K = TypeVar("K")

NEXT = b"next"
_KEPT = {"retention.ms": "-1"}
"""Answers carry the times of old events, too: retention would delete them unread."""


class Subscription(msgspec.Struct, frozen=True):
    """What the partition of a left row tells the one of a right key."""

    partition: int
    row: bytes
    version: int
    is_wanted: bool
    """False: it is over."""


class Answer(msgspec.Struct, frozen=True):
    """The right row, None when there is none, as a subscriber asked for it."""

    version: int
    right: bytes | None


class Link(msgspec.Struct, frozen=True):
    """What the partition of a left row knows of its right key."""

    key: bytes
    version: int
    is_answered: bool = False
    right: bytes | None = None


class Joins(Protocol):
    """What a join needs of the app that declares it."""

    id: str
    foreign_joins: list[ForeignJoined]

    @abstractmethod
    def add_agent(self, agent: Agent[Any]) -> None:
        """Enter an agent."""

    @property
    @abstractmethod
    def _send(self) -> Send:
        """How records are sent outside of agents."""


class ForeignJoined(SideBySide[Any]):
    """Two tables side by side, by a foreign key; see `App.join`."""

    def __init__(
        self,
        name: str,
        left: Table[Any, Any],
        right: Table[Any, Any],
        on: Callable[[Any], Any],
        how: str,
    ) -> None:
        if how not in ("inner", "left"):
            raise AppError(
                f"join {name!r}: with on= how is 'inner' or 'left', not {how!r}: a right row that"
                " no left one names is in no result"
            )
        super().__init__(name, left, right)
        self._on, self._is_left = on, how == "left"
        self._links: Table[bytes, Any] = left.beside(f"{name}-links")
        self._links.value_codec = codec_of(Link)
        self._versions: Table[bytes, Any] = left.beside(f"{name}-versions")
        self._subscribers: Table[bytes, Any] = right.beside(f"{name}-subscribers")
        for table in (self._versions, self._subscribers):
            table.value_codec = codec_of(int)
        self._links.keeper = BesideRows("links", left, self._link_kept, before=b"")
        self._subscribers.keeper = Subscribers(left, right)
        self.topics: tuple[Topic[Any, Any], ...] = ()

    @property
    def hidden(self) -> tuple[Table[Any, Any], ...]:
        """Tables nobody declared; those beside the left one first."""
        return (*super().hidden, self._links, self._versions)

    def _link_kept(self, link: Link) -> Iterable[Kept]:
        told = readable(self._right.key_codec, link.key)
        found = {"key": told, "version": link.version, "is_answered": link.is_answered}
        yield Kept(found | {"right": readable(self._right.value_codec, link.right)})

    @property
    def beside_right(self) -> tuple[Table[Any, Any], ...]:
        """Those beside the right one."""
        return (self._subscribers,)

    @property
    def watched(self) -> tuple[str, ...]:
        """The left table, and what is known of its rows' right keys."""
        return (self._left.name, self._links.name)

    def declare(self, app: Joins) -> None:
        """Enter the agents, and the topics between them, in an app."""
        base = f"{app.id}-{self.name.removesuffix('.joined')}"
        asked: Topic[Any, Subscription] = Topic(
            f"{base}-subscriptions", key_type=bytes, value_type=Subscription, partitions=None,
            config=_KEPT, send=app._send,
        )  # fmt: skip
        told: Topic[Any, Answer] = Topic(
            f"{base}-answers", key_type=bytes, value_type=Answer, partitions=None, config=_KEPT,
            send=app._send,
        )  # fmt: skip
        self.topics = (asked, told)
        left = Changes(self._left, f"{self.name}-left")
        right = Changes(self._right, f"{self.name}-right", also=self.beside_right)
        self.sides = (left, right)
        for source, body, what in (
            (left, self._subscribing(asked), "left"),
            (asked, self._answering(told), "subscriptions"),
            (right, self._telling(told), "right"),
            (told, self._answered(), "answers"),
        ):
            named = f"{self.name.removesuffix('.joined')}.{what}"
            agent = Agent(body, source, name=named, sinks=(), on_error="stop")
            agent.passing_over = NOT_OURS
            app.add_agent(agent)
        app.foreign_joins.append(self)

    def place(self, left: int, right: int) -> None:
        """Say how many partitions both tables have."""
        of_left, of_right = self.sides
        for table in (*self.hidden, *of_left.hidden):
            table.partitions = left
        for table in of_right.hidden:
            table.partitions = right
        asked, told = self.topics
        asked.partitions, told.partitions = right, left

    # -- what the four agents do ----------------------------------------------------------------

    def key_of(self, value: Any) -> bytes | None:
        """The right key that a left row names, None when it names none."""
        key = None if value is None else self._on(value)
        if key is None:
            return None
        try:
            return self._right.key_codec.encode(key)
        except (TypeError, ValueError) as error:
            what = f"join {self.name!r}: what on= gives as a key of table {self._right.name!r}"
            raise refusal(self._right.key_codec, key, error, what, "key_type") from None

    def _subscribing(self, asked: Topic[Any, Subscription]) -> Body:
        async def subscribe(changes: Stream[Any]) -> None:
            async for event in changes.events():
                row, key = self._left.row_keys.encode(event.key), self.key_of(event.value)
                link = self._links.get(row)
                if link is not None and link.key == key:
                    continue
                if link is not None:
                    over = Subscription(event.partition, row, link.version, is_wanted=False)
                    await asked.send(key=link.key, value=over)
                if key is None:
                    self._links.pop(row, None)
                    continue
                version = self._versions.get(NEXT, 0) + 1
                self._versions[NEXT] = version
                self._links[row] = Link(key, version)
                wanted = Subscription(event.partition, row, version, is_wanted=True)
                await asked.send(key=key, value=wanted)

        return subscribe

    def _answering(self, told: Topic[Any, Answer]) -> Body:
        async def answer(stream: Stream[Any]) -> None:
            async for key, asked in stream.items():
                place = place_of(key, asked.partition, asked.row)
                known = self._subscribers.get(place)
                if not asked.is_wanted:
                    if known is not None and known <= asked.version:
                        self._subscribers.pop(place)
                    continue
                self._subscribers[place] = asked.version
                right = self._right.get(self._right.key_codec.decode(key))
                await self._tell(told, place, asked.version, right)

        return answer

    def _telling(self, told: Topic[Any, Answer]) -> Body:
        async def tell(changes: Stream[Any]) -> None:
            async for key, right in changes.items():
                start = place_of(self._right.key_codec.encode(key))
                for place, version in self._subscribers.prefix(start):
                    await self._tell(told, place, version, right)

        return tell

    async def _tell(self, told: Topic[Any, Answer], place: bytes, version: int, right: Any) -> None:
        partition, row = subscriber_at(place)
        data = None if right is None else self._right.value_codec.encode(right)
        await told.send(key=row, value=Answer(version, data), partition=partition)

    def _answered(self) -> Body:
        async def note(stream: Stream[Any]) -> None:
            async for row, answer in stream.items():
                link = self._links.get(row)
                if link is None or link.version != answer.version:
                    continue
                # A subscriber that comes just when the right row changes is answered twice alike.
                known = Link(link.key, link.version, True, answer.right)
                if known != link:
                    self._links[row] = known

        return note

    # -- what is told ---------------------------------------------------------------------------

    def fired(
        self, row: bytes, due_ms: int, views: Mapping[str, TableView], partition: int
    ) -> Fired:
        """Both sides as they are now; silent while the answer is on its way."""
        left = views[self._left.name].get(row.removeprefix(PREFIX))
        link: Any = views[self._links.name].get(row.removeprefix(PREFIX))
        key = None if left is DELETED else self.key_of(left)
        known = key is not None and link is not DELETED and link.key == key and link.is_answered
        right = link.right if known else None
        is_there = left is not DELETED and (self._is_left or right is not None)
        data = None if left is DELETED else self._left.value_codec.encode(left)
        sides = ((LEFT_HEADER, data), (RIGHT_HEADER, right))
        waits = key is not None and not known
        return self.change(row, due_ms, views, partition, sides, is_there=is_there, waits=waits)


class Subscribers(Keeper):
    """The rows of those who want to know of a right key: shown by it, each with the left key."""

    kind = "subscribers"
    begin = None

    def __init__(self, left: Table[Any, Any], right: Table[Any, Any]) -> None:
        self.key_codec = right.key_codec
        self._left = left

    def key_of(self, row: bytes) -> bytes:
        """The right key (see `place_of`)."""
        return row[4 : 4 + int.from_bytes(row[:4], "big")]

    def kept(self, row: bytes, value: Any) -> Iterable[Kept]:
        """Who it is, and which subscription of it."""
        partition, name = subscriber_at(row)
        left = readable(self._left.key_codec, self._left.topic_key(name))
        yield Kept({"left": left, "partition": partition, "version": value})


Body = Callable[[Stream[Any]], Coroutine[Any, Any, None]]


def place_of(key: bytes, partition: int | None = None, row: bytes = b"") -> bytes:
    """The row of a subscriber to a right key; what all of them begin with, without a partition.

    >>> place_of(b"ab", 3, b"row")
    b'\\x00\\x00\\x00\\x02ab\\x00\\x00\\x00\\x03row'
    """
    start = len(key).to_bytes(4, "big") + key
    return start if partition is None else start + partition.to_bytes(4, "big") + row


def subscriber_at(place: bytes) -> tuple[int, bytes]:
    """The partition and the row of a subscriber.

    >>> subscriber_at(place_of(b"ab", 3, b"row"))
    (3, b'row')
    """
    start = 4 + int.from_bytes(place[:4], "big")
    return int.from_bytes(place[start : start + 4], "big"), place[start + 4 :]
