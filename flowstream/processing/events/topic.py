"""Topics as an app declares them: a name, types and how to create it when it is missing.

Declarations. Knows codecs; must not know a cluster: sending is handed to the running agent's
unit, or to the app's plain producer outside of agents.
"""

from __future__ import annotations

import copy
import dataclasses
import re
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Never, NoReturn, TypeVar, cast

from flowstream.processing.declaring import (
    COMPACT,
    POLICY,
    RETENTION,
    check_config,
    check_partitions,
    check_topic_name,
)
from flowstream.processing.errors import AppError
from flowstream.processing.events.current import Headers, in_unit, is_inside_agent
from flowstream.processing.events.event_time import EventTime, event_time_of
from flowstream.processing.instead import missing
from flowstream.processing.values.codecs import Codec, encode_any_key, refusal
from flowstream.processing.values.fields import alternatives
from flowstream.processing.values.serializers import Codec as Serialization
from flowstream.processing.values.serializers import typed

if TYPE_CHECKING:
    from flowstream.processing.events.schemas import Prepare, Schema

K = TypeVar("K")
V = TypeVar("V")

Serializer = str | Serialization
DERIVED = ("name", "key_type", "value_type", "key_serializer", "value_serializer")
"""What `Topic.derive` may change."""
RECORDED_S = 9.2e15
"""As far from 1970 as a record's 64 bits of milliseconds go."""
OF_ANOTHER = ("partitions", "config")
"""What it may change of a topic of another name."""


class RecordMetadata(NamedTuple):
    """Where a record went; `offset` is None while it waits for its unit's commit."""

    topic: str
    partition: int
    offset: int | None


Acknowledged = Callable[[Any], Any]
"""Called with an `asyncio.Future` of a record's metadata, once that is known: it may be `async`."""


class Outgoing(NamedTuple):
    """An encoded record on its way to the plain producer."""

    topic: str
    partition: int | None
    key: bytes | None
    value: bytes | None
    timestamp_ms: int | None
    headers: tuple[tuple[str, bytes | None], ...]
    callback: Acknowledged | None = None


Send = Callable[[Outgoing], Coroutine[Any, Any, RecordMetadata]]
Declare = Callable[["Topic[Any, Any]"], Coroutine[Any, Any, None]]
"""Makes a topic that is missing."""
Enter = Callable[["Topic[Any, Any]"], None]
"""Has the app know a topic that is derived from one of its own."""


class Topic(Generic[K, V]):
    """A topic of an app, made by `App.topic`."""

    pattern: re.Pattern[str] | None = None
    """What the names of several match; None: it is the one of its name (see `TopicPattern`)."""

    def __init__(
        self,
        name: str,
        *,
        key_type: type[K],
        value_type: type[V],
        partitions: int | None,
        config: Mapping[str, str],
        send: Send,
        declare: Declare | None = None,
        enter: Enter | None = None,
        timestamp: str | EventTime | None = None,
        disorder_ms: int = 0,
        key_serializer: Serializer | None = None,
        value_serializer: Serializer | None = None,
        prepare: Prepare | None = None,
    ) -> None:
        self.prepare = prepare
        """What makes the headers of what is sent, if its schema does."""
        self.name = self._checked(name)
        check_partitions(partitions, f"topic {name!r}")
        self.key_type = key_type
        self.value_type = value_type
        self.partitions = partitions
        self.replicas: int | None = None
        """Copies that it is created with; None: as the app's `replication_factor` says."""
        self.config = check_config(config, f"topic {name!r}")
        self.key_serializer, self.value_serializer = key_serializer, value_serializer
        self.key_codec: Codec[K] = typed(key_type, key_serializer)
        self.value_codec: Codec[V] = typed(value_type, value_serializer)
        self.timestamp = timestamp
        self.event_ms = event_time_of(timestamp, value_type, f"topic {name!r}")
        self._time_by: str | None = None
        """The field of its time, where a table says it."""
        self.disorder_ms = disorder_ms
        self._send = send
        self._enter = enter
        self._declare = declare
        self._is_declared = False

    def _checked(self, name: str) -> str:
        return check_topic_name(name, "app.topic")

    if not TYPE_CHECKING:  # checkers know what is there

        def __getattr__(self, name: str) -> Any:
            raise missing("Topic", name, f"{type(self).__name__!r} object")

    def __repr__(self) -> str:
        return f"Topic({self.name!r})"

    def __aiter__(self) -> NoReturn:
        raise AppError(
            f"topic {self.name!r} is read by an agent: `@app.agent(topic)` above a function, and"
            " `async for value in stream` in it. From outside of one, any Kafka client reads it"
        )

    def take_time_of(self, field: str, what: str) -> None:
        """Have the event time in a field of the values, as `what` wants it. AppError when the topic
        says otherwise.
        """
        said = self.timestamp or self._time_by
        if said not in (None, field):
            raise AppError(
                f"{what} goes by the field {field!r}, and {self!r} has its event time by"
                f" {said!r}: a topic has one event time, so leave one of the two out"
            )
        self._time_by = field
        self.event_ms = event_time_of(field, self.value_type, what)

    def with_tombstones(self) -> Topic[K, V | None]:
        """The same topic, read by who takes records without a value as they are."""
        copied: Topic[K, Any] = copy.copy(self)
        copied.value_codec = dataclasses.replace(self.value_codec, nullable=True)
        return copied

    def derive(self, **changes: Any) -> Topic[Any, Any]:
        """The same topic with other types or serializers (`key_type`, `value_type`,
        `key_serializer`, `value_serializer`, or a `schema` that has them), or one of another `name`
        (or `prefix` and `suffix`) as this one, which the app knows as one of its own: that may have
        its own `partitions` and `config`, or `retention`, `compacting` and `deleting`.
        """
        from flowstream.processing.events.deriving import derived

        changes = derived(self.name, self.config, changes)
        topic: Topic[Any, Any] = Topic(
            send=self._send, declare=self._declare, enter=self._enter,
            timestamp=self.timestamp, disorder_ms=self.disorder_ms,
            **{**{name: getattr(self, name) for name in (*DERIVED, *OF_ANOTHER, "prepare")},
               **changes},
        )  # fmt: skip
        topic.replicas = self.replicas
        if self.value_codec.nullable and "value_type" not in changes:
            topic = topic.with_tombstones()
        if "name" in changes and self._enter is not None:
            self._enter(topic)
        return topic

    derive_topic = derive

    def get_topic_name(self) -> str:
        """The topic's name."""
        return self.name

    @property
    def topics(self) -> list[str]:
        """Its name alone: a topic is one."""
        return [self.name]

    @property
    def acks(self) -> bool:
        """A record is there when all in-sync replicas have it, always."""
        return True

    @property
    def retention(self) -> float | None:
        """For how many seconds records are kept, where the declaration says it; -1: for ever."""
        said = self.config.get(RETENTION)
        return None if said is None else (-1 if said == "-1" else int(said) / 1000)

    @property
    def compacting(self) -> bool | None:
        """Whether the newest record of each key is kept, where the declaration says it."""
        return None if POLICY not in self.config else COMPACT in self.config[POLICY]

    @property
    def deleting(self) -> bool | None:
        """Whether records go when they are too old, where the declaration says it."""
        return None if POLICY not in self.config else "delete" in self.config[POLICY]

    async def declare(self) -> None:
        """Create the topic if it is missing, at once, as a worker does at its start: with the
        partitions that it, or else the app, says (else the broker's default), and its `config`.
        """
        if self._declare is None:
            raise AppError(f"{self!r} is not an app's: declare it with app.topic({self.name!r})")
        await self._declare(self)
        self._is_declared = True

    async def maybe_declare(self) -> None:
        """As `declare`, unless this topic was declared so before."""
        if not self._is_declared:
            await self.declare()

    def send(
        self,
        *given: Never,
        key: K | None = None,
        value: V | None = None,
        partition: int | None = None,
        timestamp: float | None = None,
        headers: Headers = (),
        key_serializer: Serializer | None = None,
        value_serializer: Serializer | None = None,
        schema: Schema | None = None,
        callback: Acknowledged | None = None,
        force: bool = False,
    ) -> Coroutine[Any, Any, RecordMetadata]:
        """Send a record: await it. Inside an agent it joins the event's unit, at once, and commits
        with it: also where the await was forgotten.

        Outside an agent this is a plain idempotent send that returns once it is acknowledged.
        A task that an agent starts is inside it, too: NotInAgent once the event is over in which it
        was started.
        `timestamp` is in seconds; inside an agent it defaults to the event's. A `value` of None
        is a tombstone. A serializer stands in for the topic's own, a `schema` for its types, too.
        `force` is how it always is outside of agents: at once. Inside it is refused; so is
        `callback`, which gets a future of what this gives, once the record is acknowledged.
        """
        if force or callback is not None:
            self._check_outside("force=True" if force else "callback=")
        if given:
            raise TypeError(
                f"topic {self.name!r} takes a record by name: await topic.send(value=..., key=...)"
            )
        if key_serializer is not None or value_serializer is not None or schema is not None:
            of = self if schema is None else self.derive(schema=schema)
            other = of.derive(
                key_serializer=key_serializer or of.key_serializer,
                value_serializer=value_serializer or of.value_serializer,
            )
            return other.send(
                key=key, value=value, partition=partition, timestamp=timestamp, headers=headers,
                callback=callback,
            )  # fmt: skip
        if is_inside_agent():
            # Never a plain send from here: it would stay whatever becomes of the event (S9).
            return sent_with_the_event(
                self.send_soon(
                    key=key, value=value, partition=partition, timestamp=timestamp, headers=headers
                )
            )
        record = self.outgoing(key, value, partition, timestamp, headers)
        sending: Any = self._send(record._replace(callback=callback))
        # Python names a coroutine that nobody awaits by this.
        sending.__qualname__ = f"send to topic {self.name!r} (nothing is sent before the await)"
        return cast("Coroutine[Any, Any, RecordMetadata]", sending)

    def _check_outside(self, what: str) -> None:
        if is_inside_agent():
            raise AppError(
                f"topic {self.name!r}: what an agent sends belongs to its event, and is there once"
                f" that is committed: {what} cannot be; leave it out"
            )

    def send_soon(
        self,
        *,
        key: K | None = None,
        value: V | None = None,
        partition: int | None = None,
        timestamp: float | None = None,
        headers: Headers = (),
    ) -> RecordMetadata:
        """As `send` inside an agent, for plain functions that it calls. NotInAgent elsewhere:
        nobody could wait for the record to be stored.
        """
        current = in_unit(f"sending to topic {self.name!r}")
        at = self._at_ms(timestamp)
        if self.prepare is not None:
            headers = self.prepare(key, value, headers)
        topic, placed = current.emit(self, key, value, partition, at, headers)
        return RecordMetadata(topic, placed, None)

    def outgoing(
        self,
        key: object,
        value: object,
        partition: int | None,
        timestamp: float | None,
        headers: Headers,
    ) -> Outgoing:
        """A record for the plain producer."""
        if partition is not None and partition < 0:
            raise ValueError(
                f"topic {self.name!r} has no partition {partition}: None leaves it open"
            )
        at = self._at_ms(timestamp)
        if self.prepare is not None:
            headers = self.prepare(key, value, headers)
        raw, data = self.encode_key(key), self.encode_value(value)
        return Outgoing(self.name, partition, raw, data, at, header_pairs(headers))

    def _at_ms(self, timestamp: float | None) -> int | None:
        """A record's timestamp as it travels. ValueError for one that no record can have."""
        if timestamp is None:
            return None
        # The other way round NaN would pass.
        if not abs(timestamp) <= RECORDED_S:
            raise ValueError(
                f"timestamp={timestamp!r} of a record for topic {self.name!r} is no count of"
                " seconds since 1970"
            )
        return round(timestamp * 1000)

    def encode_key(self, key: object) -> bytes | None:
        """The key's bytes; a topic without a key type takes text, numbers and bytes."""
        if key is None:
            return None
        if self.key_serializer is None:
            if isinstance(key, bytes):
                return key
            if self.key_type is bytes:
                return encode_any_key(key)
        try:
            return self.key_codec.encode(cast("Any", key))
        except (TypeError, ValueError) as error:
            what = f"a key of topic {self.name!r}"
            raise refusal(self.key_codec, key, error, what, "key_type") from None

    def encode_yielded(self, value: object) -> bytes | None:
        """The bytes of what an agent yields. A tombstone where none is expected is a TypeError: it
        would be the end of the key, or an event that fails where it is read.
        """
        if value is None and not self._takes_none:
            raise TypeError(
                f"the agent yielded None to topic {self.name!r}, whose values are"
                f" {self.value_codec.name}: that is a tombstone there. If it is meant, declare the"
                " topic with value_type=... | None, or compacting=True; else yield nothing"
            )
        return self.encode_value(value)

    @property
    def _takes_none(self) -> bool:
        """Whether no value is a value: by its type, or because its keys end so."""
        arms = alternatives(self.value_type)
        is_any = any(kind in arms for kind in (Any, object, type(None)))
        return is_any or self.value_codec.nullable or COMPACT in self.config.get(POLICY, "")

    def encode_value(self, value: object) -> bytes | None:
        """The value's bytes; None is a tombstone."""
        if value is None:
            return None
        try:
            return self.value_codec.encode(cast("Any", value))
        except (TypeError, ValueError) as error:
            what = f"a value of topic {self.name!r}"
            raise refusal(self.value_codec, value, error, what, "value_type") from None


async def sent_with_the_event(where: RecordMetadata) -> RecordMetadata:
    """What joined its unit already."""
    return where


def header_pairs(headers: Headers) -> tuple[tuple[str, bytes | None], ...]:
    """Headers as pairs, in order. TypeError for what no record can carry."""
    pairs = tuple(headers.items()) if isinstance(headers, Mapping) else tuple(headers)
    for pair in pairs:
        name, value = pair
        if type(name) is not str or not (value is None or type(value) is bytes):
            raise TypeError(f"a header is a name (str) with bytes or None, not {pair!r:.100}")
    return pairs
