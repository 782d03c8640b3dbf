"""Sinks: where the values go that an agent yields.

Declarations. Knows of an agent that it has a topic (`Askable`), and nothing more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from flowstream.processing.agents.asking import Askable
from flowstream.processing.agents.channels import Channel
from flowstream.processing.declaring import described
from flowstream.processing.errors import AppError
from flowstream.processing.events.current import current_event
from flowstream.processing.events.topic import Topic
from flowstream.processing.streams.branches import Branch

Sink = Topic[Any, Any] | Askable | Branch | Channel[Any] | Callable[[Any], Any]
"""Where yielded values go: a topic, an agent's topic, one of several topics, a channel, or a
function (called before the commit).
"""


def sink_topics(sink: Sink) -> list[Topic[Any, Any]]:
    """The topics that a sink may send to; none for a function."""
    if isinstance(sink, Topic):
        return [sink]
    if isinstance(sink, Askable):
        return [sink.source_topic]
    return sink.topics if isinstance(sink, Branch) else []


def check_sinks(sinks: object) -> tuple[Sink, ...]:
    """Refuse what yielded values cannot go to."""
    is_one = isinstance(sinks, str | Topic | Askable | Branch | Channel)
    if is_one or not isinstance(sinks, Iterable):
        raise AppError(f"sink takes a list, not {described(sinks)}: `sink=[topic]`")
    found = tuple(ChannelSink(each) if is_channel(each) else each for each in sinks)
    for sink in found:
        if not (isinstance(sink, Topic | Askable | Branch) or callable(sink)):
            raise AppError(
                f"a sink is a topic, an agent or a function, not {described(sink)}: declare a"
                f" topic with app.topic(...) and write `sink=[topic]`"
            )
    return found


class ChannelSink:
    """Puts what is yielded into a channel, with the key of the event it came from."""

    def __init__(self, target: Any) -> None:
        self.channel: Channel[Any] = target if isinstance(target, Channel) else target.channel

    async def __call__(self, value: Any) -> None:
        current = current_event()
        await self.channel.put(value, key=None if current is None else current.key)


def is_channel(sink: object) -> bool:
    """Whether a sink is a channel, or an agent that reads one."""
    return isinstance(sink, Channel) or isinstance(getattr(sink, "channel", None), Channel)
