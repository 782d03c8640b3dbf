"""The topics that an app's agents read: how many partitions each has, who reads it as what.

Pure: declarations and the cluster's topics in, readers or an error with the remedy out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from flowstream.processing.agents.agent import Agent
from flowstream.processing.app import App
from flowstream.processing.declaring import check_topic_name
from flowstream.processing.duties.matching import others
from flowstream.processing.errors import AppError, PartitionMismatch, TopicMissing
from flowstream.processing.events.topic import Topic
from flowstream.processing.events.topic_patterns import TopicPattern
from flowstream.processing.running.plan import KEPT, Reader, Stage, ToCreate

LEFT_OUT = ", or have a pattern that leaves out those that do not fit"


def inputs(agent: Agent[Any]) -> Iterator[Topic[Any, Any]]:
    """The topics that an agent reads, those between its own parts aside."""
    yield from agent.topics
    if agent.joins is not None:
        yield agent.joins.right


def undeclared_inputs(app: App, existing: Mapping[str, int]) -> list[str]:
    """Missing input topics whose number of partitions the app leaves to the cluster."""
    if app.settings.topic_partitions is not None:
        return []
    between = set(between_joins(app))
    read = [topic for agent in app.agents.values() for topic in inputs(agent)]
    names = dict.fromkeys(topic.name for topic in read if topic.pattern is None)
    return [
        name
        for name in names
        if name not in existing
        and name not in between
        and (name not in app.topics or app.topics[name].partitions is None)
    ]


def between_joins(app: App) -> list[str]:
    """The topics between the parts of joins by a foreign key."""
    return [topic.name for join in app.foreign_joins for topic in join.topics]


class Inputs:
    """Who reads what, as agents are entered one by one."""

    def __init__(self, app: App, existing: Mapping[str, int]) -> None:
        self._app = app
        self._existing = existing
        self.create: dict[str, ToCreate] = {}
        """Topics that are missing and may be created."""
        self.sources: dict[str, int] = {}
        """How many partitions each topic has that is read."""
        self.readers: list[Reader] = []
        self.bodies: dict[str, int] = {}
        """How many partitions the topic has that an agent's body reads."""
        self.waiting: list[Agent[Any]] = []
        """Agents whose patterns match nothing."""
        self.found: set[str] = set()
        """Topics that patterns match, also where somebody reads them by their names."""
        self._named: set[str] = set()

    @property
    def matched(self) -> frozenset[str]:
        """Topics that are read because a pattern matches, and for no other reason."""
        return frozenset(self.found - self._named)

    @property
    def counts(self) -> set[int]:
        """The numbers of partitions of the topics that agents' bodies read."""
        bodies = {r.topic for r in self.readers if r.stage is not Stage.FORWARD}
        return {self.sources[topic] for topic in bodies or self.sources}

    def read(self, agent: Agent[Any]) -> None:
        """Enter an agent that reads topics."""
        topics = self._topics(agent)
        if not topics:
            self.waiting.append(agent)
            if not self._is_between(agent):
                return
        counts = {topic.name: self._source(agent, topic) for topic in topics}
        (first, count) = next(iter(counts.items()), ("", 0))
        types = {topic.value_codec.name for topic in topics}
        if len(types) > 1 and (agent.inner_sources or agent.group is not None):
            raise AppError(
                f"agent {agent.name!r} keeps or sends on the values of topics with different types"
                f" ({', '.join(sorted(types))}): declare them with one value_type"
            )
        between = self._between(agent, count)
        for topic in topics:
            if between is None:
                self.readers.append(Reader(agent, topic.name, source=topic))
            else:
                reader = Reader(agent, topic.name, Stage.FORWARD, between, source=topic)
                self.readers.append(reader)
        if between is not None:
            self.readers.append(Reader(agent, between, Stage.GROUPED, source=agent.source_topic))
        body = between or first
        self.bodies[agent.name] = self.sources[body]
        if agent.inner_sources and between is None and len(set(counts.values())) > 1:
            raise PartitionMismatch(
                f"agent {agent.name!r} keeps state over topics with different numbers of partitions"
                f" ({', '.join(f'{name}: {n}' for name, n in counts.items())}): equal keys would"
                " not meet. Re-key the stream with group_by first"
                f"{LEFT_OUT if agent.by_pattern else ''}"
            )
        self._join(agent, body)

    def _topics(self, agent: Agent[Any]) -> list[Topic[Any, Any]]:
        """The topics that an agent reads: those that it names, and those that its patterns match.
        What it may read that the app has still to create is there, too.
        """
        topics = [topic for topic in agent.topics if topic.pattern is None]
        names = {topic.name for topic in topics}
        self._named |= names
        for pattern in agent.topics:
            if not isinstance(pattern, TopicPattern):
                continue
            if agent.waiting is not None:
                raise AppError(
                    f"agent {agent.name!r} reads {pattern!r}, and what waits for a table as of its"
                    " time is of one topic: have an agent send the events on to one, and join there"
                )
            found = [name for name in self._others if pattern.matches(name)]
            for name in found:
                known = self._app.topics.get(name)
                if known is not None and known.timestamp != pattern.timestamp:
                    raise AppError(
                        f"topic {name!r} is declared with another event time than {pattern!r},"
                        " which matches it: declare both with the same timestamp="
                    )
            self.found.update(found)
            topics += [pattern.named(name) for name in found if name not in names]
            names.update(found)
        return topics

    @cached_property
    def _others(self) -> list[str]:
        """The topics that patterns may match."""
        usual = self._app.settings.topic_partitions
        coming = [name for name, topic in self._app.topics.items() if topic.partitions or usual]
        return others(self._app, {*self._existing, *coming})

    def _is_between(self, agent: Agent[Any]) -> bool:
        """Whether an agent that re-keys may have something of before to read, behind topics that
        are gone.
        """
        if agent.group is None:
            return False
        if agent.group.topic is not None:
            return agent.group.topic.name in self._existing
        return self._app.repartition(agent.repartition_name) in self._existing

    def lead(self) -> None:
        """Enter the topic of an app that reads none: crontabs, and what one worker alone does, are
        where its partition is. Nothing is ever in it. Crontabs stay there when the app comes to
        read others: their times were kept with its offset.
        """
        name = self._app.leader
        self.sources[name] = self._existing.get(name, 1)
        if name not in self._existing:
            self.create[name] = ToCreate(name, 1, {})

    def _between(self, agent: Agent[Any], count: int) -> str | None:
        """The topic between the parts of an agent that re-keys."""
        group = agent.group
        if group is None:
            return None
        if group.topic is not None:
            self._named.add(group.topic.name)
            self._source(agent, group.topic)
            return group.topic.name
        name = check_topic_name(
            self._app.repartition(agent.repartition_name),
            f"repartition topic of agent {agent.name!r} (group_by's name)",
        )
        if name in self.sources:
            raise AppError(
                f"agent {agent.name!r} re-keys through {name!r}, as another agent does: each would"
                " get the other's events. Give one of them another name="
            )
        self.sources[name] = self._existing.get(name) or group.partitions or count
        if name not in self._existing:
            self.create[name] = ToCreate(name, self.sources[name], KEPT)
        return name

    def _join(self, agent: Agent[Any], left: str) -> None:
        """The right topic of an agent's join; it must be partitioned as the left one is."""
        if agent.joins is None:
            return
        right = agent.joins.right
        self._named.add(right.name)
        here, there = self.sources[left], self._source(agent, right)
        self.readers.append(Reader(agent, right.name, Stage.RIGHT, source=right))
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
        if topic.pattern is not None:
            raise AppError(
                f"agent {agent.name!r} joins with, or goes through, {topic!r}: that is one topic,"
                " by its name"
            )
        known = app.topics.get(name, topic)
        declared = known.partitions
        found = self._existing.get(name)
        wanted = declared or app.settings.topic_partitions
        if found is not None and declared is not None and declared != found:
            raise PartitionMismatch(
                f"topic {name!r} has {found} partition{'s' * (found != 1)} but is declared with"
                f" {declared}: declare partitions={found}, or another topic (deleting this one to"
                " create it anew loses what is in it)"
            )
        if found is None and wanted is None:
            raise TopicMissing(
                f"input topic {name!r} of agent {agent.name!r} does not exist: create it with"
                f" `flowstream topics create {name} --partitions N`, or declare"
                f" app.topic({name!r}, partitions=N), or App(topic_partitions=N), to have it made"
            )
        if found is None and wanted is not None:
            self.create[name] = ToCreate(name, wanted, known.config)
        self.sources[name] = count = found or wanted or 0
        return count

    def refuse_shared(self) -> None:
        """Agents on one topic go in lockstep, which instances side by side cannot."""
        for topic in self.sources:
            agents = [reader.agent for reader in self.readers if reader.topic == topic]
            for agent in agents if len(agents) > 1 else ():
                if agent.concurrency > 1:
                    other = next(each.name for each in agents if each is not agent)
                    raise AppError(
                        f"agent {agent.name!r} has concurrency={agent.concurrency} and agent"
                        f" {other!r} reads {topic!r}, too: send the events on to a topic of its"
                        " own, and have it read that"
                    )
