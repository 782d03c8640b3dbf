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
from flowstream.processing.errors import PartitionMismatch, TopicMissing
from flowstream.processing.replicated import TableOf
from flowstream.processing.tables import Table
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
class ForeignPlan:
    """Another app's table and its place."""

    table: TableOf[Any, Any]
    partitions: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What a worker runs."""

    readers: tuple[Reader, ...]
    sources: Mapping[str, int]
    tables: tuple[TablePlan, ...]
    create: tuple[ToCreate, ...]
    outputs: tuple[str, ...]
    foreign: tuple[ForeignPlan, ...] = ()

    def readers_of(self, topic: str) -> list[Reader]:
        """Agents that read a topic, in the order of their declaration."""
        return [reader for reader in self.readers if reader.topic == topic]


def make_plan(app: App, existing: Mapping[str, int]) -> Plan:
    """The plan of an app on a cluster with these topics; agents must have been probed."""
    create: dict[str, ToCreate] = {}
    sources: dict[str, int] = {}
    readers: list[Reader] = []
    for agent in app.agents.values():
        count = _source(app, agent, existing, create)
        sources[agent.topic.name] = count
        if agent.group is None:
            readers.append(Reader(agent, agent.topic.name))
            continue
        through = app.repartition(agent.repartition_name)
        sources[through] = existing.get(through) or agent.group.partitions or count
        if through not in existing:
            create[through] = ToCreate(through, sources[through], KEPT)
        readers.append(Reader(agent, agent.topic.name, Stage.FORWARD, through))
        readers.append(Reader(agent, through, Stage.GROUPED))
    bodies = {reader.topic for reader in readers if reader.stage is not Stage.FORWARD}
    counts = {sources[topic] for topic in bodies}
    tables = tuple(_table(app, table, counts, existing, create) for table in app.tables.values())
    foreign = tuple(_foreign(table, counts, existing) for table in app.foreign_tables.values())
    outputs = _outputs(app, existing, create)
    return Plan(tuple(readers), sources, tables, tuple(create.values()), outputs, foreign)


def undeclared_inputs(app: App, existing: Mapping[str, int]) -> list[str]:
    """Missing input topics whose number of partitions the app leaves to the cluster."""
    names = dict.fromkeys(agent.topic.name for agent in app.agents.values())
    return [
        name
        for name in names
        if name not in existing and (name not in app.topics or app.topics[name].partitions is None)
    ]


def _source(
    app: App, agent: Agent[Any], existing: Mapping[str, int], create: dict[str, ToCreate]
) -> int:
    name = agent.topic.name
    declared = app.topics[name].partitions if name in app.topics else agent.topic.partitions
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
    create[name] = ToCreate(name, declared, app.topics[name].config)
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


def _foreign(
    table: TableOf[Any, Any], counts: set[int], existing: Mapping[str, int]
) -> ForeignPlan:
    found = existing.get(table.changelog)
    if found is None:
        raise TopicMissing(
            f"app {table.app!r} has no table {table.table_name!r} on this cluster (its changelog"
            f" {table.changelog!r} does not exist): start that app once before this one"
        )
    if table.partitions is not None and (table.partitions != found or found not in counts):
        raise PartitionMismatch(
            f"table {table.table_name!r} of app {table.app!r} has {found} partitions, it is"
            f" declared with {table.partitions}, and the topics of this app's agents have"
            f" {', '.join(map(str, sorted(counts)))}: partitions= is for tables and topics that"
            " have as many; without it every worker reads the whole table"
        )
    return ForeignPlan(table, found)


def _outputs(app: App, existing: Mapping[str, int], create: dict[str, ToCreate]) -> tuple[str, ...]:
    names = dict.fromkeys(app.topics)
    for agent in app.agents.values():
        names.update(dict.fromkeys(t.name for t in map(sink_topic, agent.sinks) if t is not None))
        if agent.group is not None:
            names[app.repartition(agent.repartition_name)] = None
        if agent.on_error == "dead_letter":
            names[app.dead_letters] = None
    for name in names:
        if name not in existing and name not in create:
            declared = app.topics.get(name)
            partitions = -1 if declared is None else declared.partitions or -1
            ours = KEPT if name == app.dead_letters else {}
            config = ours if declared is None else declared.config
            create[name] = ToCreate(name, partitions, config)
    return tuple(names)
