"""Making the plan of a run: who reads which topic, what must be created, whether partitions fit.

Pure: declarations and the cluster's topics in, a plan or an error with the remedy out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from flowstream.processing.agents.agent import Agent, sink_topics
from flowstream.processing.app import App
from flowstream.processing.declaring import check_topic_name
from flowstream.processing.errors import AppError, PartitionMismatch, TopicMissing
from flowstream.processing.events.topic import Topic
from flowstream.processing.running.plan import (
    COMPACTED,
    KEPT,
    InnerReader,
    Plan,
    Reader,
    Stage,
    TablePlan,
    ToCreate,
    foreign_plan,
)
from flowstream.processing.tables.crontabs import Crontab
from flowstream.processing.tables.inner import InnerSource
from flowstream.processing.tables.table import Table
from flowstream.processing.tables.table_changes import JoinedTables


def make_plan(app: App, existing: Mapping[str, int]) -> Plan:
    """The plan of an app on a cluster with these topics; agents must have been probed."""
    return Planner(app, existing).plan()


def undeclared_inputs(app: App, existing: Mapping[str, int]) -> list[str]:
    """Missing input topics whose number of partitions the app leaves to the cluster."""
    between = set(between_joins(app))
    names = dict.fromkeys(topic.name for agent in app.agents.values() for topic in inputs(agent))
    return [
        name
        for name in names
        if name not in existing
        and name not in between
        and (name not in app.topics or app.topics[name].partitions is None)
    ]


def inputs(agent: Agent[Any]) -> Iterator[Topic[Any, Any]]:
    """The topics that an agent reads, those between its own parts aside."""
    yield from agent.topics
    if agent.joins is not None:
        yield agent.joins.right


def between_joins(app: App) -> list[str]:
    """The topics between the parts of joins by a foreign key."""
    return [topic.name for join in app.foreign_joins for topic in join.topics]


def all_tables(app: App) -> dict[str, Table[Any, Any]]:
    """Every table that has a changelog: the app's, and those that its streams and timers keep;
    agents must have been probed.
    """
    found = dict(app.tables)
    hidden = [source.hidden for agent in app.agents.values() for source in agent.inner_sources]
    for tables in (*hidden, *(timers.hidden for timers in app.timers.values())):
        found.update((table.name, table) for table in tables)
    return found


class Planner:
    """One plan in the making."""

    def __init__(self, app: App, existing: Mapping[str, int]) -> None:
        self._app = app
        self._existing = existing
        self._create: dict[str, ToCreate] = {}
        self._sources: dict[str, int] = {}
        self._readers: list[Reader] = []
        self._bodies: dict[str, int] = {}
        """How many partitions the topic has that an agent's body reads."""

    def plan(self) -> Plan:
        """The plan, or an error with the remedy."""
        between = between_joins(self._app)
        for agent in self._app.agents.values():
            if agent.inner is None and agent.source_topic.name not in between:
                self._read(agent)
        self._refuse_shared()
        bodies = {r.topic for r in self._readers if r.stage is not Stage.FORWARD}
        counts = {self._sources[topic] for topic in bodies}
        self._place_tables(counts)
        self._place_joins(counts)
        tables = tuple(self._table(table, counts) for table in self._tables())
        outputs = self._outputs()
        inner = self._inner({plan.table.name: plan.partitions for plan in tables})
        purged = tuple(
            self._app.repartition(agent.repartition_name)
            for agent in self._app.agents.values()
            if agent.group is not None and agent.group.topic is None
        ) + tuple(between)
        foreign = tuple(
            foreign_plan(table, counts, self._existing)
            for table in self._app.foreign_tables.values()
        )
        created = tuple(self._create.values())
        return Plan(
            tuple(self._readers), self._sources, tables, created, outputs, inner, purged, foreign
        )  # fmt: skip

    # -- topics that are read -------------------------------------------------------------------

    def _read(self, agent: Agent[Any]) -> None:
        counts = {topic.name: self._source(agent, topic) for topic in agent.topics}
        (first, count) = next(iter(counts.items()))
        types = {topic.value_codec.name for topic in agent.topics}
        if len(types) > 1 and (agent.inner_sources or agent.group is not None):
            raise AppError(
                f"agent {agent.name!r} keeps or sends on the values of topics with different types"
                f" ({', '.join(sorted(types))}): declare them with one value_type"
            )
        between = self._between(agent, count)
        for topic in agent.topics:
            if between is None:
                self._readers.append(Reader(agent, topic.name, source=topic))
            else:
                reader = Reader(agent, topic.name, Stage.FORWARD, between, source=topic)
                self._readers.append(reader)
        if between is not None:
            self._readers.append(Reader(agent, between, Stage.GROUPED, source=agent.source_topic))
        body = between or first
        self._bodies[agent.name] = self._sources[body]
        if agent.inner_sources and between is None and len(set(counts.values())) > 1:
            raise PartitionMismatch(
                f"agent {agent.name!r} keeps state over topics with different numbers of partitions"
                f" ({', '.join(f'{name}: {n}' for name, n in counts.items())}): equal keys would"
                " not meet. Re-key the stream with group_by first"
            )
        self._join(agent, body)

    def _between(self, agent: Agent[Any], count: int) -> str | None:
        """The topic between the parts of an agent that re-keys."""
        group = agent.group
        if group is None:
            return None
        if group.topic is not None:
            self._source(agent, group.topic)
            return group.topic.name
        name = check_topic_name(
            self._app.repartition(agent.repartition_name),
            f"repartition topic of agent {agent.name!r} (group_by's name)",
        )
        if name in self._sources:
            raise AppError(
                f"agent {agent.name!r} re-keys through {name!r}, as another agent does: each would"
                " get the other's events. Give one of them another name="
            )
        self._sources[name] = self._existing.get(name) or group.partitions or count
        if name not in self._existing:
            self._create[name] = ToCreate(name, self._sources[name], KEPT)
        return name

    def _join(self, agent: Agent[Any], left: str) -> None:
        """The right topic of an agent's join; it must be partitioned as the left one is."""
        if agent.joins is None:
            return
        right = agent.joins.right
        here, there = self._sources[left], self._source(agent, right)
        self._readers.append(Reader(agent, right.name, Stage.RIGHT, source=right))
        if here != there:
            raise PartitionMismatch(
                f"agent {agent.name!r} joins {left!r} ({here} partitions) with {right.name!r}"
                f" ({there}): equal keys would never meet. Re-key the stream with"
                f" group_by(..., partitions={there}), under a new name= if its topic is there"
                " already"
            )

    def _source(self, agent: Agent[Any], topic: Topic[Any, Any]) -> int:
        """The number of partitions of a topic that is read."""
        name, app = topic.name, self._app
        known = app.topics.get(name, topic)
        declared = known.partitions
        found = self._existing.get(name)
        if found is not None and declared is not None and declared != found:
            raise PartitionMismatch(
                f"topic {name!r} has {found} partition{'s' * (found != 1)} but is declared with"
                f" {declared}: declare partitions={found}, or another topic (deleting this one to"
                " create it anew loses what is in it)"
            )
        if found is None and declared is None:
            raise TopicMissing(
                f"input topic {name!r} of agent {agent.name!r} does not exist: create it with"
                f" `flowstream topics create {name} --partitions N`, or declare"
                f" app.topic({name!r}, partitions=N) to have it created"
            )
        if found is None and declared is not None:
            self._create[name] = ToCreate(name, declared, known.config)
        self._sources[name] = count = found or declared or 0
        return count

    # -- tables and what comes due in them ------------------------------------------------------

    def _tables(self) -> list[Table[Any, Any]]:
        """The app's tables, and those of timers, of agents on inner sources and of windows."""
        found = dict(self._app.tables)
        for agent in self._app.agents.values():
            for source in agent.inner_sources:
                for table in source.hidden:
                    if source is not agent.inner and table.partitions is None:
                        # Nobody could say it: what an agent's operators keep is where its body is.
                        table.partitions = self._bodies[agent.name]
                    self._enter(found, source, table)
        for timers in self._app.timers.values():
            if all(agent.inner is not timers for agent in self._app.agents.values()):
                raise AppError(f"{timers!r} would never fire: write an agent, @app.agent(timers)")
            for table in timers.hidden:
                self._enter(found, timers, table)
        return list(found.values())

    def _place_tables(self, counts: set[int]) -> None:
        """Tables that nobody can say it of: crontabs are where every app has a partition 0, the
        table of a topic is partitioned as it is.
        """
        for table in self._app.tables.values():
            if table.partitions is None and table.fed_by in self._sources:
                table.partitions = self._sources[table.fed_by]
                if table.versions is not None:
                    table.versions.partitions = table.partitions
        for agent in self._app.agents.values():
            if isinstance(agent.inner, Crontab) and counts:
                for table in agent.inner.hidden:
                    table.partitions = min(counts)

    def _place_joins(self, counts: set[int]) -> None:
        """Joins of tables: by one key both have as many partitions; by a foreign key the topics
        between them have as many as the table that reads them.
        """
        for agent in self._app.agents.values():
            if isinstance(agent.inner, JoinedTables):
                left, right = (self._partitions_of(table, counts) for table in agent.inner.both)
                for table in agent.inner.hidden:
                    table.partitions = left
                if left != right:
                    raise PartitionMismatch(
                        f"{agent.inner!r} joins {agent.inner.both[0].name!r} ({left} partitions)"
                        f" with {agent.inner.both[1].name!r} ({right}): equal keys would never"
                        " meet. Re-key the stream that fills one of them with group_by(...,"
                        f" partitions={left}), or join with on=, which brings them together"
                    )
        read = {agent.inner for agent in self._app.agents.values()}
        for join in self._app.foreign_joins:
            if join not in read:
                raise AppError(f"nobody reads {join!r}: write @app.agent(app.join(...))")
            join.place(*(self._partitions_of(table, counts) for table in join.both))
            for agent in self._app.agents.values():
                if agent.inner is None and agent.source_topic in join.topics:
                    self._read(agent)

    def _partitions_of(self, table: Table[Any, Any], counts: set[int]) -> int:
        """How many partitions a table of the app has."""
        return table.partitions or self._table(table, counts).partitions

    def _enter(
        self,
        found: dict[str, Table[Any, Any]],
        source: InnerSource[Any, Any],
        table: Table[Any, Any],
    ) -> None:
        if found.setdefault(table.name, table) is not table:
            raise AppError(
                f"table {table.name!r} has the name of one that {source!r} needs: rename it"
            )

    def _table(self, table: Table[Any, Any], counts: set[int]) -> TablePlan:
        changelog = self._app.changelog(table.name)
        partitions = table.partitions
        if partitions is None and table.beside_of is not None:
            partitions = table.beside_of.partitions
        if partitions is None:
            if len(counts) != 1:
                raise PartitionMismatch(
                    f"table {table.name!r} must say partitions=N: the app's topics have"
                    f" {', '.join(map(str, sorted(counts))) or 'no'} partitions"
                )
            (partitions,) = counts
        elif partitions not in counts:
            raise PartitionMismatch(
                f"table {table.name!r} is declared with {partitions} partitions but no agent reads"
                f" a topic with as many: they have {', '.join(map(str, sorted(counts)))}"
            )
        before = self._existing.get(changelog, partitions)
        if before != partitions:
            raise PartitionMismatch(
                f"table {table.name!r} was built with {before} partitions (its changelog"
                f" {changelog!r}) and its input has {partitions} now: rows would be looked for in"
                " the wrong partition. Copy the input into a topic with the old number of"
                " partitions, or start a new app id"
            )
        if changelog not in self._existing:
            config = {**COMPACTED, **table.changelog_config}
            self._create[changelog] = ToCreate(changelog, partitions, config)
        return TablePlan(table, partitions, changelog)

    def _inner(self, partitions: Mapping[str, int]) -> tuple[InnerReader, ...]:
        """Agents on inner sources, in the order of their declaration; one per source."""
        found: dict[str, InnerReader] = {}
        for agent in self._app.agents.values():
            sources = agent.inner_sources
            if agent.inner is not None and (agent.group is not None or len(sources) > 1):
                raise AppError(
                    f"agent {agent.name!r} re-keys, joins or has windows over {agent.inner!r}:"
                    " yield to a topic, and have them in an agent on that topic"
                )
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
                topics = self._times(agent, source)
                count = partitions[source.table]
                found[source.name] = InnerReader(reader, source, count, topics)
        return tuple(found.values())

    def _times(self, agent: Agent[Any], source: InnerSource[Any, Any]) -> tuple[str, ...]:
        """The topics whose event time counts for what comes due in a source.

        For what an agent's own operators keep: those that it reads. For other tables nobody says
        who writes them: all, but for those that get what the agent on this source gives, whose
        time comes after it.
        """
        if agent.inner is None:
            stages = (Stage.WHOLE, Stage.GROUPED, Stage.RIGHT)
            own = [r.topic for r in self._readers if r.agent is agent and r.stage in stages]
            return tuple(dict.fromkeys([*own, *source.fed_by]))
        # What passes between the parts of a join has been counted where it came from.
        after = {*self._behind(agent), *between_joins(self._app)}
        return tuple(topic for topic in self._sources if topic not in after)

    def _behind(self, agent: Agent[Any]) -> set[str]:
        """The topics that an agent's results end up in, by way of sinks and re-keying."""
        behind: set[str] = set()
        waiting = [topic.name for sink in agent.sinks for topic in sink_topics(sink)]
        while waiting:
            name = waiting.pop()
            if name in behind:
                continue
            behind.add(name)
            for reader in self._readers:
                if reader.topic == name:
                    sinks = [t.name for s in reader.agent.sinks for t in sink_topics(s)]
                    waiting += [reader.forwards_to] if reader.forwards_to else sinks
        return behind

    def _refuse_shared(self) -> None:
        """Agents on one topic go in lockstep, which instances side by side cannot."""
        for topic in self._sources:
            agents = [reader.agent for reader in self._readers if reader.topic == topic]
            for agent in agents if len(agents) > 1 else ():
                if agent.concurrency > 1:
                    other = next(each.name for each in agents if each is not agent)
                    raise AppError(
                        f"agent {agent.name!r} has concurrency={agent.concurrency} and agent"
                        f" {other!r} reads {topic!r}, too: send the events on to a topic of its"
                        " own, and have it read that"
                    )

    # -- topics that are written ----------------------------------------------------------------

    def _outputs(self) -> tuple[str, ...]:
        app = self._app
        names = dict.fromkeys([*app.topics, *between_joins(app)])
        if app.replies in self._existing:
            names[app.replies] = None
        for agent in app.agents.values():
            names.update((topic.name, None) for sink in agent.sinks for topic in sink_topics(sink))
            names.update((r.forwards_to, None) for r in self._readers if r.forwards_to)
            if "dead_letter" in (agent.policy.action, agent.policy.then) or agent.parking:
                names[app.dead_letters] = None
        if any(table.late == "dead_letter" for table in self._tables()):
            names[app.dead_letters] = None
        for name in names:
            if name not in self._existing and name not in self._create:
                declared = app.topics.get(name)
                partitions = -1 if declared is None else declared.partitions or -1
                ours = KEPT if name == app.dead_letters else {}
                config = ours if declared is None else declared.config
                self._create[name] = ToCreate(name, partitions, config)
        return tuple(names)
