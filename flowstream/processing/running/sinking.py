"""Topics that yielded values go to, sorted by what has to be done about the event's key. Pure.

Chosen when an instance is made: where a key's bytes go on as they are nothing is asked per event.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flowstream.processing.agents.agent import keeps_bytes
from flowstream.processing.agents.sinks import Sink, sink_topics
from flowstream.processing.events.topic import Topic
from flowstream.processing.streams.branches import Branch
from flowstream.processing.values.codecs import Codec

Pick = Callable[[Any], Topic[Any, Any] | None]
"""The topic that wants a value, if there is one."""


def straight(sinks: Sequence[Sink], keys: Codec[Any]) -> list[Topic[Any, Any]]:
    """Topics that get every value, under the bytes of its event's key."""
    return [topic for topic in _topics(sinks) if _is_straight(keys, topic)]


def picked(sinks: Sequence[Sink], keys: Codec[Any]) -> list[Pick]:
    """The others: some of the values, or each with its key encoded anew, or with headers."""
    branches: list[Pick] = [sink.pick for sink in sinks if isinstance(sink, Branch)]
    return branches + [_always(topic) for topic in _topics(sinks) if not _is_straight(keys, topic)]


def _is_straight(keys: Codec[Any], topic: Topic[Any, Any]) -> bool:
    return topic.prepare is None and keeps_bytes(keys, topic)


def _topics(sinks: Sequence[Sink]) -> list[Topic[Any, Any]]:
    return [topic for s in sinks if not isinstance(s, Branch) for topic in sink_topics(s)]


def _always(topic: Topic[Any, Any]) -> Pick:
    return lambda value: topic
