"""The topics that an app declares. A part of `App`; declares only."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, TypeVar, Unpack, overload

from flowstream.processing.declarations.faust_options import TOPIC, FaustTopic, topic_replicas
from flowstream.processing.declarations.tables import DeclaresTables
from flowstream.processing.declaring import check_config
from flowstream.processing.errors import AppError
from flowstream.processing.events.deriving import kept
from flowstream.processing.events.event_time import EventTime
from flowstream.processing.events.schemas import Schema, schema_of
from flowstream.processing.events.topic import Serializer, Topic
from flowstream.processing.events.topic_patterns import TopicPattern, kind_of
from flowstream.processing.instead import telling
from flowstream.processing.tables.set_managers import SetChange
from flowstream.processing.values.durations import Seconds, not_negative

K = TypeVar("K")
V = TypeVar("V")


class TopicOptions(FaustTopic, total=False):
    """What a topic may say beside its types; see `App.topic`."""

    partitions: int | None
    config: Mapping[str, str] | None
    timestamp: str | EventTime | None
    out_of_orderness: Seconds
    key_serializer: Serializer | None
    value_serializer: Serializer | None
    schema: Schema | None
    allow_empty: bool | None
    retention: Seconds | None
    compacting: bool | None
    deleting: bool | None
    pattern: str | re.Pattern[str] | None


class DeclaresTopics(DeclaresTables):
    """The part of an app that declares topics."""

    @abstractmethod
    async def _make_topic(self, topic: Topic[Any, Any]) -> None:
        """Create a topic if it is missing."""

    def __init__(self) -> None:
        super().__init__()
        self.topics: dict[str, Topic[Any, Any]] = {}
        self.patterns: list[TopicPattern[Any, Any]] = []

    @overload
    def topic(
        self,
        name: str = ...,
        *,
        key_type: type[K],
        value_type: type[V],
        **options: Unpack[TopicOptions],
    ) -> Topic[K, V]: ...
    @overload
    def topic(
        self, name: str = ..., *, value_type: type[V], **options: Unpack[TopicOptions]
    ) -> Topic[Any, V]: ...
    @overload
    def topic(
        self, name: str = ..., *, key_type: type[K], **options: Unpack[TopicOptions]
    ) -> Topic[K, Any]: ...
    @overload
    def topic(self, name: str = ..., **options: Unpack[TopicOptions]) -> Topic[Any, Any]: ...
    @telling("App.topic", also=TOPIC)
    def topic(
        self,
        name: str | None = None,
        *,
        key_type: Any = None, value_type: Any = None,
        partitions: int | None = None, config: Mapping[str, str] | None = None,
        timestamp: str | EventTime | None = None, out_of_orderness: Seconds = 0.0,
        key_serializer: Serializer | None = None, value_serializer: Serializer | None = None,
        schema: Schema | None = None, allow_empty: bool | None = None,
        retention: Seconds | None = None, compacting: bool | None = None,
        deleting: bool | None = None,
        pattern: str | re.Pattern[str] | None = None,
        **as_faust: Unpack[FaustTopic],
    ) -> Topic[Any, Any]:  # fmt: skip
        """Declare a topic. With `partitions` (and `config`) it is created when it is missing;
        so it is with the app's `topic_partitions`.

        `key_type` defaults to bytes as they are, `value_type` to any JSON. The types may be
        pydantic models, msgspec Structs, dataclasses, dict, list, str, bytes, int, float, bool.
        Event time is the record's timestamp, or what the field or function `timestamp` says of
        the value; events may come up to `out_of_orderness` later than one that is newer.

        A serializer (`"json|gzip"`, see `flowstream.codecs`) makes bytes otherwise than the type
        does; a `schema` holds types and serializers. `allow_empty`: records without a value are
        events, as they are where no type is given. `retention` (seconds), `compacting` and
        `deleting` stand for `config`.

        With a `pattern` for a name it is every topic whose whole name matches that regular
        expression, also those that come later: to be read, not to be sent to.
        """
        name, make = kind_of(
            name, pattern, partitions=partitions, config=config, retention=retention,
            compacting=compacting, deleting=deleting, **as_faust,
        )  # fmt: skip
        own = {} if config is None else check_config(config, f"topic {name!r}")
        said, settings = schema_of(schema, f"topic {name!r}"), self.settings
        key_type, keys = key_type or said.key_type, key_serializer or said.key_serializer
        values = value_serializer or said.value_serializer
        value_type = value_type or said.value_type
        if key_type is None:
            keys = keys or settings.key_serializer
            key_type = bytes if keys is None else Any
        if value_type is None:
            values, value_type = values or settings.value_serializer, Any
        topic = make(
            key_type=key_type, value_type=value_type, partitions=partitions,
            config={**kept(name, retention, compacting, deleting), **own},
            send=self._send, declare=self._make_topic, enter=self._enter_topic,
            timestamp=timestamp,
            disorder_ms=not_negative(f"topic {name!r}: out_of_orderness", out_of_orderness),
            key_serializer=keys, value_serializer=values, prepare=said.prepare,
        )  # fmt: skip
        # Of no type None is a value like any other: `agent.cast()` sends it.
        if (said.allow_empty or value_type is Any) if allow_empty is None else allow_empty:
            topic = topic.with_tombstones()
        topic.replicas = topic_replicas(name, partitions, settings, as_faust)
        self._enter_topic(topic)
        return topic

    def topic_of_changes(self, name: str, key_type: Any, partitions: int) -> Topic[Any, SetChange]:
        """Declare the topic of a table's manager."""
        return self.topic(name, key_type=key_type, value_type=SetChange, partitions=partitions)

    def _enter_topic(self, topic: Topic[Any, Any]) -> None:
        if isinstance(topic, TopicPattern):
            self.patterns.append(topic)
            return
        name, partitions = topic.name, topic.partitions
        known = self.topics.setdefault(name, topic)
        if known.timestamp != topic.timestamp:
            raise AppError(
                f"topic {name!r} is declared with two kinds of event time: declare it once, or with"
                " the same timestamp="
            )
        if known.partitions is None and partitions is not None:
            known.partitions = partitions
        elif partitions is not None and known.partitions != partitions:
            raise AppError(
                f"topic {name!r} is declared with {known.partitions} and {partitions} partitions"
            )
        if known.config and topic.config and known.config != topic.config:
            raise AppError(
                f"topic {name!r} is declared with two configurations, {known.config} and"
                f" {topic.config}: say it once, or the same"
            )
        known.config = known.config or topic.config
        if known.replicas and topic.replicas and known.replicas != topic.replicas:
            raise AppError(
                f"topic {name!r} is declared with {known.replicas} and {topic.replicas} replicas"
            )
        known.replicas = known.replicas or topic.replicas
