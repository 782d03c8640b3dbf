"""The plan of a run, as values: who reads which topic, which tables are where, what is created.

Pure; `planning` makes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from flowstream.processing.agents.agent import Agent
from flowstream.processing.errors import PartitionMismatch, TopicMissing
from flowstream.processing.events.topic import Topic
from flowstream.processing.tables.inner import InnerSource
from flowstream.processing.tables.replicated import GlobalTable, TableOf
from flowstream.processing.tables.table import Table
from flowstream.processing.units.outputs import MAX_MESSAGE_BYTES
from flowstream.processing.units.prefix import PrefixTask
from flowstream.processing.units.task import Task, TaskId
from flowstream.processing.values.codecs import Codec
from flowstream.state.changelog import changelog_configs

COMPACTED = changelog_configs()
KEPT = {"retention.ms": "-1"}
"""For topics of our own whose records carry their events' times: retention goes by these, and would
delete what comes from an old event before anyone has read it (G3, S11).
"""
LETTERS = KEPT | {"max.message.bytes": str(MAX_MESSAGE_BYTES + (128 << 10))}
"""For dead letters: the largest record of a topic as brokers make it, and why it is here (S11)."""


class Stage(Enum):
    """The part of an agent that an instance plays."""

    WHOLE = "whole"
    FORWARD = "forward"
    """Everything before `group_by`: reads the agent's topic, writes the repartition topic."""
    RIGHT = "right"
    """The right side of a join: reads the other topic."""
    GROUPED = "grouped"
    """Everything after `group_by`: reads the repartition topic."""


@dataclass(frozen=True, slots=True)
class Reader:
    """An agent (or one stage of it) on one topic."""

    agent: Agent[Any]
    topic: str
    stage: Stage = Stage.WHOLE
    forwards_to: str = ""
    source: Topic[Any, Any] | None = None
    """How its records are read; None for sources inside the app."""

    @property
    def side(self) -> str:
        """The side that it reads, where the agent joins."""
        if self.agent.joins is None:
            return ""
        return "right" if self.stage is Stage.RIGHT else "left"

    @property
    def keys(self) -> Codec[Any]:
        """The keys of what its instances see: those of the topic, where the agent re-keys nothing;
        several topics may have different ones.
        """
        if self.stage is Stage.WHOLE and self.source is not None and self.agent.group is None:
            return self.source.key_codec
        return self.agent.key_codec


@dataclass(frozen=True, slots=True)
class InnerReader:
    """An agent on what comes due in a table, in the tasks of that table."""

    reader: Reader
    source: InnerSource[Any, Any]
    partitions: int
    topics: tuple[str, ...] = ()
    """Whose event time decides what is due: where its rows come from."""


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
    inner: tuple[InnerReader, ...] = ()
    purged: tuple[str, ...] = ()
    """Topics of our own that are emptied behind the app."""
    foreign: tuple[ForeignPlan, ...] = ()
    ends: frozenset[str] = frozenset()
    """Topics that come to no table that agents write."""
    matched: frozenset[str] = frozenset()
    """Topics that are read because a pattern matches, and for no other reason; all that one
    matches where the app waits as a whole, and reads none.
    """
    waiting: tuple[str, ...] = ()
    """What agents wait for whose patterns match nothing, a line each."""
    held_by: str = ""
    """Why the app waits as a whole: what has no place until a topic is there that matches."""

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
        bounds = [r.source.disorder_ms for r in self.readers_of(topic) if r.source is not None]
        return max(bounds, default=0)

    @property
    def tells_time(self) -> bool:
        """Whether anything goes by event time."""
        by_time = [i for i in self.inner if not i.source.by_wall_clock and not i.source.at_once]
        return bool(by_time) or any(
            each.table.window is not None and each.table.window.closes for each in self.tables
        )

    def marked(self, topic: str) -> list[str]:
        """The source partitions that mark their watermarks in a topic (see `marks`)."""
        return [
            f"{reader.topic}/{number}"
            for reader in self.readers
            if reader.forwards_to == topic and topic in self.purged and self.tells_time
            for number in range(self.sources[reader.topic])
        ]

    @property
    def bootstraps(self) -> Mapping[str, frozenset[str]]:
        """Of each topic whose events look rows up as they are now: the topics that feed these
        tables. What feeds a table waits for nothing, as it might for itself. Nor do events for rows
        as they were: they wait for the event time of both topics, and a table that is ahead of it
        keeps every version of its rows until then.
        """
        found: dict[str, set[str]] = {}
        for reader in self.readers:
            waiting = reader.agent.waiting
            for table in reader.agent.lookups if reader.stage is not Stage.FORWARD else ():
                is_as_of = waiting is not None and table is waiting.joined_with
                feed = None if is_as_of or isinstance(table, GlobalTable) else table.fed_by
                if feed is not None and feed in self.sources:
                    found.setdefault(reader.topic, set()).add(feed)
        feeds = frozenset[str]().union(*found.values())
        return {topic: frozenset(first) for topic, first in found.items() if topic not in feeds}

    def task_of(self, id: TaskId) -> Task:
        """A task of the kind that its agents need."""
        concurrent = any(
            reader.agent.concurrency > 1 and self.sources[reader.topic] == id.partitions
            for reader in self.readers
        )
        return PrefixTask(id) if concurrent else Task(id)

    def readers_of(self, topic: str) -> list[Reader]:
        """Agents that read a topic, in the order of their declaration."""
        return [reader for reader in self.readers if reader.topic == topic]


def foreign_plan(
    table: TableOf[Any, Any], counts: set[int], existing: Mapping[str, int]
) -> ForeignPlan:
    """Where another app's table is; an error with the remedy when it cannot be read as declared."""
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
