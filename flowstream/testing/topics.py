"""Topics of an app under test as lists.

Shell: reads what is committed when it is asked, from where it stopped reading before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from flowstream.processing.app import App
from flowstream.processing.duties.matching import matched, patterns_of
from flowstream.processing.events.current import Headers
from flowstream.processing.events.dead_letters import PREFIX
from flowstream.processing.events.topic import RecordMetadata, Topic
from flowstream.processing.operating import redriving
from flowstream.transport.reader import PartitionReader
from flowstream.transport.types import NewTopic, TopicPartition

if TYPE_CHECKING:
    from flowstream.testing.context import AppContext

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Received(Generic[K, V]):
    """A committed record, decoded. `timestamp` is in seconds."""

    key: K
    value: V
    timestamp: float
    headers: tuple[tuple[str, bytes | None], ...]
    partition: int
    offset: int


class TopicBox(Sequence[Received[K, V]]):
    """What is committed of a topic: partition by partition as it was read, in order of offsets."""

    def __init__(
        self,
        context: AppContext,
        topic: Topic[K, V],
        *,
        is_declared: bool = True,
        is_matched: bool = False,
    ) -> None:
        self._context = context
        self._topic = topic
        self._is_declared = is_declared
        self._is_matched = is_matched
        """Whether an agent reads it by a pattern: nobody else would make it."""
        self._found: list[Received[K, V]] = []
        self._readers: dict[int, PartitionReader] = {}
        self._taken = 0

    def send(
        self,
        value: V | None = None,
        *,
        key: K | None = None,
        timestamp: float | None = None,
        partition: int | None = None,
        headers: Headers = (),
        settle: bool = True,
    ) -> RecordMetadata:
        """Put a record in, and wait until it is processed unless `settle` is false."""
        outgoing = self._topic.outgoing(key, value, partition, timestamp, headers)
        sender = self._context.app._sender
        if self._is_matched:
            usual = self._context.app.settings.topic_partitions or -1
            self._context._on_loop(sender.declare(NewTopic(self._topic.name, usual)))
        sent = self._context._on_loop(sender.send(outgoing))
        if settle:
            self._context.settle()
        return sent

    @property
    def values(self) -> list[V]:
        """The values."""
        return [record.value for record in self._read()]

    @property
    def items(self) -> list[tuple[K, V]]:
        """Keys with values."""
        return [(record.key, record.value) for record in self._read()]

    def take(self) -> list[Received[K, V]]:
        """What has come since the last time."""
        found = self._read()[self._taken :]
        self._taken += len(found)
        return found

    def __len__(self) -> int:
        return len(self._read())

    @overload
    def __getitem__(self, index: int) -> Received[K, V]: ...
    @overload
    def __getitem__(self, index: slice) -> list[Received[K, V]]: ...
    def __getitem__(self, index: int | slice) -> Received[K, V] | list[Received[K, V]]:
        return self._read()[index]

    def __iter__(self) -> Iterator[Received[K, V]]:
        return iter(list(self._read()))

    def __eq__(self, other: object) -> bool:
        return list(self._read()) == other if isinstance(other, list) else self is other

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{self._topic.name}: {self._read()!r}>"

    def _read(self) -> list[Received[K, V]]:
        logs = self._context.broker.node.cores.logs
        if not self._is_declared and self._topic.name not in logs.partitions:
            known = ", ".join(sorted(map(repr, logs.partitions)))
            raise LookupError(
                f"there is no topic {self._topic.name!r}: the app declares none of that name, and"
                f" these are there: {known}"
            )
        for number in range(logs.partitions.get(self._topic.name, 0)):
            log = logs.by_name[(self._topic.name, number)]  # type: ignore[index]
            reader = self._readers.get(number)
            if reader is None:
                tp = TopicPartition(self._topic.name, number)
                reader = self._readers[number] = PartitionReader(self._context.cluster, tp, 0)
            while reader.position < log.last_stable:
                self._context._running().run(self._read_some(reader, number))
        return self._found

    async def _read_some(self, reader: PartitionReader, number: int) -> None:
        keys, values = self._topic.key_codec, self._topic.value_codec
        for record in await reader.read(0):
            key: Any = None if record.key is None else keys.decode(record.key)
            value: Any = None if record.value is None else values.decode(record.value)
            self._found.append(
                Received(
                    key,
                    value,
                    record.timestamp / 1000,
                    tuple(record.headers),
                    number,
                    record.offset,
                )
            )


def undeclared(context: AppContext, name: str, value_type: Any = Any) -> Topic[Any, Any]:
    """A topic that the app does not declare: keys are bytes, values any JSON unless told."""
    send = context.app._sender.send
    return Topic(name, key_type=bytes, value_type=value_type, partitions=None, config={}, send=send)


def by_pattern(app: App, name: str) -> Topic[Any, Any] | None:
    """A topic that an agent reads because a pattern matches, as the first of them reads it."""
    if name not in matched(app, [name]):
        return None
    return next(each for each in patterns_of(app) if each.matches(name)).named(name)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that an agent could not process. `key` and `value` are its bytes."""

    key: bytes | None
    value: bytes | None
    topic: str
    agent: str
    error: str
    cause: str
    headers: tuple[tuple[str, bytes | None], ...]


class DeadLetters(Sequence[DeadLetter]):
    """The dead letters of an app, also those that were sent back."""

    def __init__(self, context: AppContext) -> None:
        self._context = context
        self._box: TopicBox[Any, Any] = TopicBox(
            context, undeclared(context, context.app.dead_letters, bytes)
        )

    def __len__(self) -> int:
        return len(self._box)

    @overload
    def __getitem__(self, index: int) -> DeadLetter: ...
    @overload
    def __getitem__(self, index: slice) -> list[DeadLetter]: ...
    def __getitem__(self, index: int | slice) -> DeadLetter | list[DeadLetter]:
        return [_letter(record) for record in self._box][index]

    def __repr__(self) -> str:
        return f"<dead letters: {list(self)!r}>"

    def redrive(self, *, even_if_newer: bool = False) -> int:
        """Send back those that were not yet, each to the agent that failed on it, as `flowstream
        dlq redrive` does, and wait until they are processed. Gives how many. `even_if_newer`: also
        into a compacted topic that has a newer record of the key, which is refused without.
        """
        return self._context.run(self._redrive(even_if_newer=even_if_newer))

    async def _redrive(self, *, even_if_newer: bool) -> int:
        app = self._context.app
        async with redriving.DeadLetters(
            self._context.cluster, app.id, app.dead_letters, app.agents
        ) as dead:
            waiting = await dead.pending()
            await dead.redrive(waiting, even_if_newer=even_if_newer)
        return len(waiting)


def _letter(record: Received[Any, Any]) -> DeadLetter:
    told = {
        name.removeprefix(PREFIX): (value or b"").decode()
        for name, value in record.headers
        if name.startswith(PREFIX)
    }
    own = tuple(pair for pair in record.headers if not pair[0].startswith(PREFIX))
    return DeadLetter(
        record.key, record.value, told["topic"], told["agent"], told["error"], told["cause"], own
    )
