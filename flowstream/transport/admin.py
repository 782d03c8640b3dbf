"""Questions about a cluster and its topics: names, partitions, configurations, offsets.

Groups are in `groups`. Every answer is from now; nothing is cached.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from flowstream.clock import monotonic_ms
from flowstream.transport.cluster import Cluster, Leader, backoffs
from flowstream.transport.errors import (
    ConnectionLost,
    RequestRefused,
    TopicExists,
    UnknownTopic,
)
from flowstream.transport.groups import Groups
from flowstream.transport.reader import PartitionReader
from flowstream.transport.types import LogRecord, NewTopic, TopicDescription, TopicPartition
from flowstream.wire.api import ApiKey
from flowstream.wire.error_codes import ErrorCode, retriable
from flowstream.wire.messages.create_topics import (
    CreatableTopic,
    CreatableTopicConfig,
    CreateTopicsRequest,
)
from flowstream.wire.messages.delete_topics import DeleteTopicsRequest, DeleteTopicState
from flowstream.wire.messages.describe_configs import (
    DescribeConfigsRequest,
    DescribeConfigsResource,
)
from flowstream.wire.messages.list_offsets import (
    ListOffsetsPartition,
    ListOffsetsRequest,
    ListOffsetsTopic,
)

LATEST = -1
EARLIEST = -2
AUTO_CREATE_TIMEOUT_MS = 2_000
FIRST_BYTES = 64 << 10
FIRST_WAIT_MS = 100
_TOPIC = 2
_DEFAULTS = (4, 5)  # config sources: static broker setting, default


class Admin(Groups):
    """Administration of topics, offsets and groups over one cluster."""

    def __init__(self, cluster: Cluster, *, timeout_ms: int = 30_000) -> None:
        super().__init__(cluster, timeout_ms=timeout_ms)

    async def topics(
        self, names: Iterable[str] | None = None, *, configs: bool = False
    ) -> dict[str, TopicDescription]:
        """The topics by name, all when None; those that do not exist are left out. `configs` are
        the settings that differ from the defaults.
        """
        wanted = None if names is None else list(names)
        if wanted is not None and not wanted:
            return {}
        found: dict[str, TopicDescription] = {}
        for topic in (await self._cluster.metadata(wanted)).topics:
            if topic.error_code in (
                ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
                ErrorCode.INVALID_TOPIC_EXCEPTION,
            ):
                continue
            if topic.error_code and not retriable(topic.error_code):
                raise RequestRefused(f"metadata of topic {topic.name!r}", topic.error_code)
            name = topic.name or ""
            found[name] = TopicDescription(
                name, topic.topic_id, len(topic.partitions), topic.is_internal
            )
        if configs and found:
            settings = await self._configs(sorted(found))
            found = {n: replace(topic, configs=settings.get(n, {})) for n, topic in found.items()}
        return found

    async def topic_settings(self, names: Iterable[str], key: str) -> dict[str, str]:
        """The value in force of one setting, by topic. A topic is left out when it does not exist
        or the cluster does not let us see its settings.
        """
        request = _describing(sorted(names), (key,))
        if not request.resources:
            return {}
        answer = await self._any(ApiKey.DESCRIBE_CONFIGS, lambda _: request)
        return {
            result.resource_name: config.value
            for result in answer.results
            for config in result.configs
            if config.name == key and config.value is not None
        }

    async def create_topics(
        self, topics: Sequence[NewTopic], *, validate_only: bool = False
    ) -> None:
        """Create topics and wait until they have leaders. TopicExists when one is there already
        (the others are created). With `validate_only` the cluster only says whether it would.
        """
        if not topics:
            return
        request = CreateTopicsRequest(
            topics=tuple(_creatable(topic) for topic in topics),
            timeout_ms=self._timeout_ms,
            validate_only=validate_only,
        )
        answer = await self._any(ApiKey.CREATE_TOPICS, lambda _: request, min_version=4)
        existing = []
        for result in answer.topics:
            if result.error_code == ErrorCode.TOPIC_ALREADY_EXISTS:
                existing.append(result.name)
            elif result.error_code:
                raise RequestRefused(
                    f"creating topic {result.name!r}", result.error_code, result.error_message
                )
        created = [topic.name for topic in topics if topic.name not in existing]
        if not validate_only:
            await self._await_leaders(created)
        if existing:
            raise TopicExists(f"topics exist already: {', '.join(existing)}")

    async def auto_create(self, names: Sequence[str]) -> None:
        """Have the cluster create missing topics with its own defaults, if it does such a thing:
        whether it did shows in `topics`. Kafka creates a moment after it answered.
        """
        deadline = monotonic_ms() + AUTO_CREATE_TIMEOUT_MS
        pauses = backoffs()
        missing = set(names)
        while missing and monotonic_ms() < deadline:
            await self._cluster.metadata(sorted(missing), create=True)
            missing -= (await self.topics(missing)).keys()
            if missing:
                await asyncio.sleep(next(pauses))
        await self._await_leaders([name for name in names if name not in missing])

    async def delete_topics(self, names: Sequence[str]) -> None:
        """Delete topics with their records; UnknownTopic when one does not exist."""

        def build(version: int) -> DeleteTopicsRequest:
            if version >= 6:
                return DeleteTopicsRequest(
                    topics=tuple(DeleteTopicState(name=name) for name in names),
                    timeout_ms=self._timeout_ms,
                )
            return DeleteTopicsRequest(topic_names=tuple(names), timeout_ms=self._timeout_ms)

        answer = await self._any(ApiKey.DELETE_TOPICS, build)
        for result in answer.responses:
            if result.error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION:
                raise UnknownTopic(f"the cluster has no topic {result.name!r}")
            if result.error_code:
                raise RequestRefused(f"deleting topic {result.name!r}", result.error_code)

    async def end_offsets(
        self, partitions: Iterable[TopicPartition], *, committed: bool = False
    ) -> dict[TopicPartition, int]:
        """High watermarks; with `committed`, last stable offsets."""
        return await self._offsets(partitions, LATEST, isolation=int(committed))

    async def beginning_offsets(
        self, partitions: Iterable[TopicPartition]
    ) -> dict[TopicPartition, int]:
        """First offsets that can be read."""
        return await self._offsets(partitions, EARLIEST, isolation=0)

    async def first_record(self, tp: TopicPartition, start: int, end: int) -> LogRecord | None:
        """The first committed record of a partition from `start` to before `end`, if there is one:
        offsets may be markers and aborted records. Raises OffsetOutOfRange.
        """
        reader = PartitionReader(self._cluster, tp, start, max_bytes=FIRST_BYTES)
        while reader.position < end:
            for record in await reader.read(FIRST_WAIT_MS):
                return record if record.offset < end else None
        return None

    async def _offsets(
        self, partitions: Iterable[TopicPartition], timestamp: int, *, isolation: int
    ) -> dict[TopicPartition, int]:
        """ListOffsets at each leader, again while leaders move."""
        waiting = set(partitions)
        found: dict[TopicPartition, int] = {}
        deadline = monotonic_ms() + self._timeout_ms
        pauses = backoffs()
        while True:
            by_node: dict[int, list[TopicPartition]] = {}
            for tp in sorted(waiting):
                by_node.setdefault(await self._cluster.leader(tp), []).append(tp)
            for node, group in by_node.items():
                found.update(await self._offsets_at(node, group, timestamp, isolation))
            waiting -= found.keys()
            if not waiting:
                return found
            if monotonic_ms() >= deadline:
                raise ConnectionLost(f"no offsets of {sorted(waiting)}")
            await asyncio.sleep(next(pauses))

    async def _offsets_at(
        self, node: int, partitions: Sequence[TopicPartition], timestamp: int, isolation: int
    ) -> dict[TopicPartition, int]:
        topics: dict[str, list[ListOffsetsPartition]] = {}
        for tp in partitions:
            topics.setdefault(tp.topic, []).append(
                ListOffsetsPartition(partition_index=tp.partition, timestamp=timestamp)
            )
        request = ListOffsetsRequest(
            replica_id=-1,
            isolation_level=isolation,
            topics=tuple(
                ListOffsetsTopic(name=name, partitions=tuple(asked))
                for name, asked in topics.items()
            ),
        )
        found: dict[TopicPartition, int] = {}
        try:
            answer = await self._cluster.request(
                node, ApiKey.LIST_OFFSETS, lambda _: request, min_version=2, max_version=9
            )
        except ConnectionLost:
            for tp in partitions:
                self._cluster.forget(Leader(tp))
            return found
        for topic in answer.topics:
            for result in topic.partitions:
                tp = TopicPartition(topic.name, result.partition_index)
                if not result.error_code:
                    found[tp] = result.offset
                elif retriable(result.error_code):
                    self._cluster.forget(Leader(tp))
                else:
                    raise RequestRefused(f"offsets of {topic.name}", result.error_code)
        return found

    async def _configs(self, names: Sequence[str]) -> dict[str, Mapping[str, str]]:
        request = _describing(names, None)
        answer = await self._any(ApiKey.DESCRIBE_CONFIGS, lambda _: request)
        found: dict[str, Mapping[str, str]] = {}
        for result in answer.results:
            if result.error_code:
                raise RequestRefused(f"configs of {result.resource_name}", result.error_code)
            found[result.resource_name] = {
                config.name: config.value or ""
                for config in result.configs
                if config.config_source not in _DEFAULTS
            }
        return found

    async def _await_leaders(self, names: Sequence[str]) -> None:
        """Until metadata shows the topics: Kafka answers CreateTopics a little earlier."""
        deadline = monotonic_ms() + self._timeout_ms
        pauses = backoffs()
        while names:
            shown = (await self._cluster.metadata(names)).topics
            for topic in shown:
                if topic.error_code and not retriable(topic.error_code):
                    raise RequestRefused(f"metadata of topic {topic.name!r}", topic.error_code)
            ready = {
                topic.name
                for topic in shown
                if not topic.error_code and all(p.leader_id >= 0 for p in topic.partitions)
            }
            names = [name for name in names if name not in ready]
            if names and monotonic_ms() >= deadline:
                raise ConnectionLost(f"topics without leaders: {', '.join(names)}")
            if names:
                await asyncio.sleep(next(pauses))

    async def _any(
        self, key: ApiKey, build: Callable[[int], object], *, min_version: int = 0
    ) -> Any:
        return await self._cluster.request(
            None, key, build, min_version=min_version, timeout_ms=self._timeout_ms + 5_000
        )


def _describing(names: Sequence[str], keys: tuple[str, ...] | None) -> DescribeConfigsRequest:
    return DescribeConfigsRequest(
        resources=tuple(
            DescribeConfigsResource(
                resource_type=_TOPIC, resource_name=name, configuration_keys=keys
            )
            for name in names
        )
    )


def _creatable(topic: NewTopic) -> CreatableTopic:
    return CreatableTopic(
        name=topic.name,
        num_partitions=topic.partitions,
        replication_factor=topic.replication,
        configs=tuple(
            CreatableTopicConfig(name=name, value=value)
            for name, value in sorted(topic.configs.items())
        ),
    )
