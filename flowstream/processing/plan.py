"""The plan of a run: who reads which topic, what must be created, whether partitions fit.

Pure: declarations and the cluster's topics in, a plan or an error with the remedy out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from flowstream.processing.agent import Agent, sink_topic
from flowstream.processing.app import App
from flowstream.processing.declaring import check_topic_name
from flowstream.processing.errors import AppError, PartitionMismatch, TopicMissing
from flowstream.processing.inner import InnerSource
from flowstream.processing.tables import Table
from flowstream.processing.task import TaskId
from flowstream.state.changelog import changelog_configs

COMPACTED = changelog_configs()
KEPT = {"retention.ms": "-1"}
"""For topics of our own whose records carry their events' times: retention goes by these, and would
delete what comes from an old event before anyone has read it (G3, S11).
"""


class Stage(Enum):
    """The part of an agent that an instance plays."""

    WHOLE = "whole"
    FORWARD = "forward"
    """Everything before `group_by`: reads the agent's topic, writes the repartition topic."""
    GROUPED = "grouped"
    """Everything after `group_by`: reads the repartition topic."""


@dataclass(frozen=True, slots=True)
class Reader:
    """An agent (or one stage of it) on one topic."""

    agent: Agent[Any]
    topic: str
    stage: Stage = Stage.WHOLE
    forwards_to: str = ""


@dataclass(frozen=True, slots=True)
class InnerReader:
    """An agent on what comes due in a table, in the tasks of that table."""

    reader: Reader
    source: InnerSource[Any, Any]
    partitions: int


@dataclass(frozen=True, slots=True)
class ToCreate:
    """A topic that is missing and may be created. Partitions -1: the broker's default."""

    name: str
    partitions: int
    config: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TablePlan:
    """A table and its place."""

    table: Table[Any, Any]
    partitions: int
    changelog: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What a worker runs."""

    readers: tuple[Reader, ...]
    sources: Mapping[str, int]
    tables: tuple[TablePlan, ...]
    create: tuple[ToCreate, ...]
    outputs: tuple[str, ...]
    inner: tuple[InnerReader, ...] = ()

    @property
    def first_task(self) -> TaskId:
        """The task that exactly one worker of the app has."""
        return TaskId(min(self.sources.values()), 0)

    @property
    def due_sources(self) -> list[InnerSource[Any, Any]]:
        """Everything whose rows come due, read by an agent or not."""
        return [inner.source for inner in self.inner]

    def disorder_ms(self, topic: str) -> int:
        """How far behind its newest event a topic may bring others, as the app declares it."""
        bounds = [reader.agent.disorder_ms for reader in self.readers_of(topic)]
        return max(bounds, default=0)

    def readers_of(self, topic: str) -> list[Reader]:
        """Agents that read a topic, in the order of their declaration."""
        return [reader for reader in self.readers if reader.topic == topic]


def make_plan(app: App, existing: Mapping[str, int]) -> Plan:
    """The plan of an app on a cluster with these topics; agents must have been probed."""
    create: dict[str, ToCreate] = {}
    sources: dict[str, int] = {}
    readers: list[Reader] = []
    for agent in app.agents.values():
        if agent.inner is not None:
            continue
        topic = agent.source_topic.name
        count = _source(app, agent, existing, create)
        sources[topic] = count
        if agent.group is None:
            readers.append(Reader(agent, topic))
            continue
        through = check_topic_name(
            app.repartition(agent.repartition_name),
            f"repartition topic of agent {agent.name!r} (group_by's name)",
        )
        sources[through] = existing.get(through) or agent.group.partitions or count
        if through not in existing:
            create[through] = ToCreate(through, sources[through], KEPT)
        readers.append(Reader(agent, topic, Stage.FORWARD, through))
        readers.append(Reader(agent, through, Stage.GROUPED))
    bodies = {reader.topic for reader in readers if reader.stage is not Stage.FORWARD}
    counts = {sources[topic] for topic in bodies}
    tables = tuple(_table(app, table, counts, existing, create) for table in _tables(app))
    outputs = _outputs(app, existing, create)
    inner = _inner(app, {plan.table.name: plan.partitions for plan in tables})
    return Plan(tuple(readers), sources, tables, tuple(create.values()), outputs, inner)


def _tables(app: App) -> list[Table[Any, Any]]:
    """The app's tables, and those of timers, of agents on inner sources and of windows."""
    found = dict(app.tables)
    inner = [a.inner or a.windows for a in app.agents.values()]
    sources = [*app.timers.values(), *(source for source in inner if source is not None)]
    for source in sources:
        for table in source.hidden:
            if found.setdefault(table.name, table) is not table:
                raise AppError(
                    f"table {table.name!r} has the name of one that {source!r} needs: rename it"
                )
    return list(found.values())


def _inner(app: App, partitions: Mapping[str, int]) -> tuple[InnerReader, ...]:
    """Agents on inner sources, in the order of their declaration; one per source."""
    found: dict[str, InnerReader] = {}
    for agent in app.agents.values():
        source = agent.inner or agent.windows
        if source is None:
            continue
        if agent.inner is not None and agent.windows is not None:
            raise AppError(
                f"agent {agent.name!r} has windows over {agent.inner!r}: yield to a topic, and have"
                " them in an agent on that topic"
            )
        if source.name in found:
            other = found[source.name].reader.agent.name
            raise AppError(
                f"agents {other!r} and {agent.name!r} both read {source!r}: let one of them read it"
                " and send on what the other needs"
            )
        if agent.inner is not None and agent.group is not None:
            raise AppError(
                f"agent {agent.name!r} re-keys {source!r}: yield to a topic, and group_by in an"
                " agent on that topic"
            )
        if source.table not in partitions:
            raise AppError(f"agent {agent.name!r} reads {source!r} of another app")
        reader = Reader(agent, source.name)
        found[source.name] = InnerReader(reader, source, partitions[source.table])
    return tuple(found.values())


def undeclared_inputs(app: App, existing: Mapping[str, int]) -> list[str]:
    """Missing input topics whose number of partitions the app leaves to the cluster."""
    names = dict.fromkeys(
        agent.source_topic.name for agent in app.agents.values() if agent.inner is None
    )
    return [
        name
        for name in names
        if name not in existing and (name not in app.topics or app.topics[name].partitions is None)
    ]


def _source(
    app: App, agent: Agent[Any], existing: Mapping[str, int], create: dict[str, ToCreate]
) -> int:
    name = agent.source_topic.name
    declared = app.topics[name].partitions if name in app.topics else agent.source_topic.partitions
    if name in existing:
        if declared is not None and declared != existing[name]:
            raise PartitionMismatch(
                f"topic {name!r} has {existing[name]} partitions but is declared with {declared}:"
                f" declare partitions={existing[name]}, or create the topic anew"
            )
        return existing[name]
    if declared is None:
        raise TopicMissing(
            f"input topic {name!r} of agent {agent.name!r} does not exist: create it with"
            f" `flowstream topics create {name} --partitions N`, or declare"
            f" app.topic({name!r}, partitions=N) to have it created"
        )
    create[name] = ToCreate(name, declared, (app.topics.get(name) or agent.source_topic).config)
    return declared


def _table(
    app: App,
    table: Table[Any, Any],
    counts: set[int],
    existing: Mapping[str, int],
    create: dict[str, ToCreate],
) -> TablePlan:
    changelog = app.changelog(table.name)
    partitions = table.partitions
    if partitions is None:
        if len(counts) != 1:
            raise PartitionMismatch(
                f"table {table.name!r} must say partitions=N: the app's topics have"
                f" {', '.join(map(str, sorted(counts))) or 'no'} partitions"
            )
        (partitions,) = counts
    elif partitions not in counts:
        raise PartitionMismatch(
            f"table {table.name!r} is declared with {partitions} partitions but no agent reads a"
            f" topic with as many: they have {', '.join(map(str, sorted(counts)))}"
        )
    if existing.get(changelog, partitions) != partitions:
        raise PartitionMismatch(
            f"table {table.name!r} was built with {existing[changelog]} partitions (its changelog"
            f" {changelog!r}) and its input has {partitions} now: rows would be looked for in the"
            " wrong partition. Copy the input into a topic with the old number of partitions, or"
            " start a new app id"
        )
    if changelog not in existing:
        create[changelog] = ToCreate(changelog, partitions, COMPACTED)
    return TablePlan(table, partitions, changelog)


def _outputs(app: App, existing: Mapping[str, int], create: dict[str, ToCreate]) -> tuple[str, ...]:
    names = dict.fromkeys(app.topics)
    for agent in app.agents.values():
        names.update(dict.fromkeys(t.name for t in map(sink_topic, agent.sinks) if t is not None))
        if agent.group is not None:
            names[app.repartition(agent.repartition_name)] = None
        if agent.on_error == "dead_letter":
            names[app.dead_letters] = None
    if any(table.late == "dead_letter" for table in _tables(app)):
        names[app.dead_letters] = None
    for name in names:
        if name not in existing and name not in create:
            declared = app.topics.get(name)
            partitions = -1 if declared is None else declared.partitions or -1
            ours = KEPT if name == app.dead_letters else {}
            config = ours if declared is None else declared.config
            create[name] = ToCreate(name, partitions, config)
    return tuple(names)
