"""The machines of a cluster: brokers, features, the metadata quorum, and their disks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from flowstream.transport.cluster import Cluster
from flowstream.transport.errors import RequestRefused, UnsupportedByBroker
from flowstream.wire.api import ApiKey
from flowstream.wire.messages.api_versions import ApiVersionsRequest
from flowstream.wire.messages.describe_cluster import DescribeClusterRequest
from flowstream.wire.messages.describe_log_dirs import (
    DescribableLogDirTopic,
    DescribeLogDirsRequest,
)
from flowstream.wire.messages.describe_quorum import (
    DescribeQuorumRequest,
    PartitionData,
    TopicData,
)

METADATA_TOPIC = "__cluster_metadata"


class Broker(NamedTuple):
    """One broker of a cluster."""

    id: int
    host: str
    port: int
    rack: str | None
    fenced: bool


class Feature(NamedTuple):
    """A feature: the level that is finalized (0: off), and the levels that the node can run."""

    name: str
    level: int
    lowest: int
    highest: int


class Replica(NamedTuple):
    """A voter or observer of the metadata quorum."""

    id: int
    log_end: int
    lag: int
    last_fetch_ms: int
    last_caught_up_ms: int
    is_voter: bool


@dataclass(frozen=True, slots=True)
class Quorum:
    """Who decides about metadata."""

    leader: int
    epoch: int
    high_watermark: int
    replicas: tuple[Replica, ...]


@dataclass(frozen=True, slots=True)
class Nodes:
    """A cluster's brokers."""

    cluster_id: str
    controller: int
    brokers: tuple[Broker, ...]


class LogDir(NamedTuple):
    """One log directory of one broker. Sizes are -1 where the broker does not tell."""

    broker: int
    path: str
    error: int
    total_bytes: int
    usable_bytes: int
    replicas: tuple[tuple[str, int, int, int], ...]
    """(topic, partition, bytes, offset lag)."""


async def describe_nodes(cluster: Cluster) -> Nodes:
    """The brokers of the cluster; from version 2 on the fenced ones too."""
    answer = await cluster.request(
        None,
        ApiKey.DESCRIBE_CLUSTER,
        lambda version: DescribeClusterRequest(include_fenced_brokers=version >= 2),
    )
    if answer.error_code:
        raise RequestRefused("describing the cluster", answer.error_code, answer.error_message)
    brokers = (
        Broker(each.broker_id, each.host, each.port, each.rack, each.is_fenced)
        for each in answer.brokers
    )
    return Nodes(answer.cluster_id, answer.controller_id, tuple(sorted(brokers)))


async def features(cluster: Cluster) -> list[Feature]:
    """The features of the cluster (KIP-584)."""
    request = ApiVersionsRequest(
        client_software_name="flowstream-cli", client_software_version="0.1"
    )
    answer = await cluster.request(None, ApiKey.API_VERSIONS, lambda _: request, min_version=3)
    levels = {each.name: each.max_version_level for each in answer.finalized_features}
    supported = {each.name: each for each in answer.supported_features}
    return [
        Feature(
            name,
            levels.get(name, 0),
            supported[name].min_version if name in supported else 0,
            supported[name].max_version if name in supported else 0,
        )
        for name in sorted({*levels, *supported})
    ]


async def describe_quorum(cluster: Cluster) -> Quorum | None:
    """The metadata quorum (KIP-836); None when the cluster does not tell."""
    topic = TopicData(topic_name=METADATA_TOPIC, partitions=(PartitionData(partition_index=0),))
    request = DescribeQuorumRequest(topics=(topic,))
    try:
        answer = await cluster.request(None, ApiKey.DESCRIBE_QUORUM, lambda _: request)
    except UnsupportedByBroker:
        return None
    if answer.error_code:
        raise RequestRefused("describing the quorum", answer.error_code, answer.error_message)
    found = answer.topics[0].partitions[0]
    if found.error_code:
        raise RequestRefused("describing the quorum", found.error_code, found.error_message)
    states = [(each, True) for each in found.current_voters]
    states += [(each, False) for each in found.observers]
    leader_end = max((each.log_end_offset for each, _ in states), default=0)
    replicas = tuple(
        Replica(
            each.replica_id,
            each.log_end_offset,
            leader_end - each.log_end_offset,
            each.last_fetch_timestamp,
            each.last_caught_up_timestamp,
            voter,
        )
        for each, voter in states
    )
    return Quorum(found.leader_id, found.leader_epoch, found.high_watermark, replicas)


async def log_dirs(
    cluster: Cluster, topics: dict[str, int] | None = None, brokers: list[int] | None = None
) -> list[LogDir]:
    """The log directories of all brokers, or of some, with the replicas of all topics, or of some
    (name -> number of partitions).
    """
    asked = None
    if topics is not None:
        asked = tuple(
            DescribableLogDirTopic(topic=name, partitions=tuple(range(count)))
            for name, count in topics.items()
        )
    request = DescribeLogDirsRequest(topics=asked)
    found = []
    for node in brokers or cluster.nodes():
        answer = await cluster.request(node, ApiKey.DESCRIBE_LOG_DIRS, lambda _: request)
        if answer.error_code:
            raise RequestRefused(f"log directories of broker {node}", answer.error_code)
        for result in answer.results:
            replicas = tuple(
                sorted(
                    (topic.name, each.partition_index, each.partition_size, each.offset_lag)
                    for topic in result.topics
                    for each in topic.partitions
                )
            )
            sizes = (result.total_bytes, result.usable_bytes)
            found.append(LogDir(node, result.log_dir, result.error_code, *sizes, replicas))
    return found
