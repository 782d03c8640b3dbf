"""A topic with more partitions than a slice has: its logs are made before it is, in slices, and
nobody sees them before all are there (X4).

So the topic comes to be, or grows, in one write as any other. Whoever wants to create, grow or
delete a topic of its name meanwhile waits for it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence

from flowstream.broker.coordination import free_names, prepare_logs
from flowstream.broker.cores import INTERNAL_TOPICS, Cores
from flowstream.broker.effects import Effect, WhenDurable
from flowstream.broker.metadata.image import ResourceType
from flowstream.broker.metadata.names import folded
from flowstream.broker.metadata.records import (
    ConfigRecord,
    MetadataRecord,
    PartitionRecord,
    TopicRecord,
)
from flowstream.broker.types import Instant

Then = Callable[[Instant], list[Effect]]


def wait_for(cores: Cores, topics: Iterable[str], then: Then) -> bool:
    """Whether one of `topics` is being prepared; `then` is called when it no longer is."""
    if not cores.changing:
        return False
    for name in map(folded, topics):
        if name in cores.changing:
            cores.changing[name].append(then)
            return True
    return False


def large(cores: Cores, records: Sequence[MetadataRecord], most: int) -> list[PartitionRecord]:
    """The partitions that `records` make, when they are more than `most`. Internal topics are made
    in the turn that needs them, by whoever it is.
    """
    made = [each for each in records if isinstance(each, PartitionRecord)]
    if len(made) <= most:
        return []
    names = _names(cores, records)
    return [each for each in made if names[each.topic_id] not in INTERNAL_TOPICS]


class Preparation:
    """`go_on` until `then`, which writes the records."""

    def __init__(
        self,
        cores: Cores,
        records: Sequence[MetadataRecord],
        made: Sequence[PartitionRecord],
        size: int,
        then: Then,
    ) -> None:
        """`made`: the partitions of `records` whose logs are made here, `size` at a time."""
        self._cores = cores
        self._then = then
        self._topics = names = _names(cores, records)
        self._settings = {name: dict(cores.image.topic_configs(name)) for name in names.values()}
        for each in records:
            if isinstance(each, ConfigRecord) and each.resource_type == ResourceType.TOPIC:
                self._settings[each.resource_name][each.name] = each.value or ""
        by_topic: dict[bytes, list[PartitionRecord]] = {}
        for record in made:
            by_topic.setdefault(record.topic_id, []).append(record)
        self._left = deque(
            part[at : at + size] for part in by_topic.values() for at in range(0, len(part), size)
        )
        self._changing = [folded(names[topic_id]) for topic_id in by_topic]
        cores.changing.update((name, []) for name in self._changing)

    def go_on(self, now: Instant) -> list[Effect]:
        """Make some more logs; the rest when they are durable."""
        if self._cores.is_ending:
            return []
        if self._left:
            part = self._left.popleft()
            topic = self._topics[part[0].topic_id]
            effects = prepare_logs(self._cores, topic, part, self._settings[topic], now)
            return [*effects, WhenDurable(self.go_on)]
        effects = self._then(now)
        return [*effects, *free_names(self._cores, self._changing, now)]


def _names(cores: Cores, records: Iterable[MetadataRecord]) -> dict[bytes, str]:
    """The names of the topics that `records` are about."""
    names = {each.topic_id: each.name for each in records if isinstance(each, TopicRecord)}
    for each in records:
        if isinstance(each, PartitionRecord) and each.topic_id not in names:
            names[each.topic_id] = cores.image.topics_by_id[each.topic_id].name
    return names
