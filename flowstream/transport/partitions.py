"""Changing partitions: more of them, fewer records; and offsets by time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from flowstream.transport.cluster import Cluster, Leader, same
from flowstream.transport.errors import RequestRefused
from flowstream.transport.types import TopicPartition
from flowstream.wire.api import ApiKey
from flowstream.wire.messages.create_partitions import (
    CreatePartitionsRequest,
    CreatePartitionsTopic,
)
from flowstream.wire.messages.delete_records import (
    DeleteRecordsPartition,
    DeleteRecordsRequest,
    DeleteRecordsTopic,
)
from flowstream.wire.messages.list_offsets import (
    ListOffsetsPartition,
    ListOffsetsRequest,
    ListOffsetsTopic,
)

TIMEOUT_MS = 30_000


async def create_partitions(
    cluster: Cluster, topic: str, count: int, *, validate_only: bool = False
) -> None:
    """Give a topic `count` partitions in all: more than it has. With `validate_only` the cluster
    only says whether it would.
    """
    request = CreatePartitionsRequest(
        topics=(CreatePartitionsTopic(name=topic, count=count, assignments=None),),
        timeout_ms=TIMEOUT_MS,
        validate_only=validate_only,
    )
    answer = await cluster.request(None, ApiKey.CREATE_PARTITIONS, lambda _: request)
    for result in answer.results:
        if result.error_code:
            raise RequestRefused(
                f"partitions of topic {topic!r}", result.error_code, result.error_message
            )


async def delete_records(
    cluster: Cluster, before: Mapping[TopicPartition, int]
) -> dict[TopicPartition, int]:
    """Delete the records before an offset of each partition (-1: all); the new log starts."""
    found = {}
    for tp, offset in before.items():
        partition = DeleteRecordsPartition(partition_index=tp.partition, offset=offset)
        topic = DeleteRecordsTopic(name=tp.topic, partitions=(partition,))
        request = DeleteRecordsRequest(topics=(topic,), timeout_ms=TIMEOUT_MS)
        answer = await cluster.request(Leader(tp), ApiKey.DELETE_RECORDS, same(request))
        (result,) = answer.topics[0].partitions
        if result.error_code:
            raise RequestRefused(
                f"records of {tp.topic}-{tp.partition} before {offset}", result.error_code
            )
        found[tp] = result.low_watermark
    return found


async def offsets_at(
    cluster: Cluster, partitions: Iterable[TopicPartition], timestamp_ms: int
) -> dict[TopicPartition, int | None]:
    """The first offset of a record that is not older than a time; None where all are older."""
    found: dict[TopicPartition, int | None] = {}
    for tp in partitions:
        partition = ListOffsetsPartition(partition_index=tp.partition, timestamp=timestamp_ms)
        topic = ListOffsetsTopic(name=tp.topic, partitions=(partition,))
        request = ListOffsetsRequest(replica_id=-1, isolation_level=0, topics=(topic,))
        answer = await cluster.request(
            Leader(tp),
            ApiKey.LIST_OFFSETS,
            same(request),
            min_version=1,
            max_version=9,
        )
        (result,) = answer.topics[0].partitions
        if result.error_code:
            raise RequestRefused(f"offsets of {tp.topic}-{tp.partition}", result.error_code)
        found[tp] = result.offset if result.offset >= 0 else None
    return found
