"""Agents on what comes due in tables, and the topics whose event time says what is due.

Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowstream.processing.agents.agent import Agent
from flowstream.processing.agents.sinks import sink_topics
from flowstream.processing.app import App
from flowstream.processing.duties.inputs import Inputs, between_joins
from flowstream.processing.errors import AppError
from flowstream.processing.running.plan import InnerReader, Reader, Stage
from flowstream.processing.tables.inner import InnerSource


def refuse_reshaped(app: App) -> None:
    """What goes by the order of events, or re-keys them, has a topic before it."""
    for agent in app.agents.values():
        if agent.inner is not None and (agent.group is not None or len(agent.inner_sources) > 1):
            raise AppError(
                f"agent {agent.name!r} re-keys, joins, dedupes or has windows over"
                f" {agent.inner!r}: yield to a topic, and have them in an agent on that topic"
            )


def due_readers(app: App, inputs: Inputs, partitions: Mapping[str, int]) -> tuple[InnerReader, ...]:
    """Agents on inner sources, in the order of their declaration; one per source."""
    found: dict[str, InnerReader] = {}
    ends = end_topics(app, inputs)
    for agent in app.agents.values():
        sources = agent.inner_sources
        for source in sources:
            if source.name in found:
                other = found[source.name].reader.agent.name
                raise AppError(
                    f"agents {other!r} and {agent.name!r} both read {source!r}: let one of them"
                    " read it and send on what the other needs"
                )
            if source.table not in partitions:
                raise AppError(f"agent {agent.name!r} reads {source!r} of another app")
            reader = Reader(agent, source.name)
            topics = _times(app, inputs, agent, source, ends)
            count = partitions[source.table]
            found[source.name] = InnerReader(reader, source, count, topics)
    return tuple(found.values())


def end_topics(app: App, inputs: Inputs) -> frozenset[str]:
    """The topics that come to no table that agents write: read by outboxes alone, and by tables of
    topics of which no agent is told what changes. They may be of quite another time.
    """
    told = {
        name
        for agent in app.agents.values()
        for source in agent.inner_sources
        for name in (source.table, source.judges, *source.watched)
    }
    counting = {reader.topic for reader in inputs.readers if not reader.agent.is_end}
    counting |= {table.fed_by or "" for table in app.tables.values() if table.name in told}
    return frozenset(inputs.sources).difference(counting)


def _times(
    app: App,
    inputs: Inputs,
    agent: Agent[Any],
    source: InnerSource[Any, Any],
    ends: frozenset[str],
) -> tuple[str, ...]:
    """The topics whose event time counts for what comes due in a source.

    For what an agent's own operators keep: those that it reads. For other tables nobody says
    who writes them: all, but for those that end elsewhere, and those that get what the agent on
    this source gives, whose time comes after it.
    """
    if agent.inner is None:
        stages = (Stage.WHOLE, Stage.GROUPED, Stage.RIGHT)
        own = [r.topic for r in inputs.readers if r.agent is agent and r.stage in stages]
        return tuple(dict.fromkeys([*own, *source.fed_by]))
    # What passes between the parts of a join has been counted where it came from.
    after = {*_behind(agent, inputs), *between_joins(app), *ends}
    return tuple(topic for topic in inputs.sources if topic not in after)


def _behind(agent: Agent[Any], inputs: Inputs) -> set[str]:
    """The topics that an agent's results end up in, by way of sinks and re-keying."""
    behind: set[str] = set()
    waiting = [topic.name for sink in agent.sinks for topic in sink_topics(sink)]
    while waiting:
        name = waiting.pop()
        if name in behind:
            continue
        behind.add(name)
        for reader in inputs.readers:
            if reader.topic == name:
                sinks = [t.name for s in reader.agent.sinks for t in sink_topics(s)]
                waiting += [reader.forwards_to] if reader.forwards_to else sinks
    return behind
