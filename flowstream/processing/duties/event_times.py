"""Which topics have their event time in a field of their values because a table's windows go by it.

Pure: declarations in, the same with event times out, or an error with the remedy.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flowstream.processing.app import App
from flowstream.processing.declarations.outboxes import Outbox
from flowstream.processing.errors import AppError
from flowstream.processing.events.topic import Topic
from flowstream.processing.values.fields import alternatives, fields_of


def settle_event_times(app: App) -> None:
    """Give topics the event time that windowed tables say (`relative_to_field`); agents must have
    been probed.
    """
    said: dict[str, tuple[str, str]] = {}
    for table in app.tables.values():
        if table.event_field is not None:
            _settle(app, table.event_field, f"table {table.name!r}", said)


def _settle(app: App, field: str, what: str, said: dict[str, tuple[str, str]]) -> None:
    """Have the topics of a field go by it, unless another one was `said` of them, and by whom."""
    topics = [topic for topic in _read(app) if _has(topic.value_type, field)]
    models = list(dict.fromkeys(topic.value_codec.name for topic in topics))
    if len(models) != 1:
        found = f"values of {' and '.join(models)} have it" if models else "no topic's values do"
        raise AppError(
            f"{what} goes by the field {field!r}, and of what the app's agents read {found}: say"
            f" app.topic(..., timestamp={field!r}) of the topic that is meant, and leave"
            " relative_to_field out"
        )
    names = {topic.name for topic in topics}
    for agent in app.agents.values():
        if isinstance(agent, Outbox) and agent.source_topic.name in names:
            raise AppError(
                f"{what} goes by the field {field!r} of what outbox {agent.name!r} reads, and an"
                " outbox cannot: have an agent send them on to a topic for the outbox"
            )
    for topic in topics:
        other, by = said.setdefault(topic.name, (field, what))
        if other != field:
            raise AppError(
                f"{what} goes by the field {field!r} and {by} by {other!r}, both over topic"
                f" {topic.name!r}: an event has one time, for all that goes by time. Send them"
                " on to a topic with the other one (timestamp=), and fill one of the tables there"
            )
        topic.take_time_of(field, what)


def _read(app: App) -> Iterator[Topic[Any, Any]]:
    """The topics that agents read, as each of them reads it."""
    for agent in app.agents.values():
        if not isinstance(agent, Outbox):
            yield from agent.topics
            if agent.joins is not None:
                yield agent.joins.right


def _has(kind: Any, field: str) -> bool:
    """Whether all that is known of a type says that its values have a field."""
    arms = [arm for arm in alternatives(kind) if arm is not type(None)]
    return bool(arms) and all(field in (fields_of(arm) or ()) for arm in arms)
