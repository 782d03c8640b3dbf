"""DescribeLogDirs (35): the log directory, how large each partition in it is and how much room
there is.

4 adds the size of the disk (KIP-827); 5 whether new partitions are kept off a directory (KIP-1066),
which one with a single directory never is. Sizes count record batches, not indexes, as in Kafka.
"""

from __future__ import annotations

from collections.abc import Iterable

from flowstream.broker.cores import Cores
from flowstream.broker.effects import Effect, Reply
from flowstream.broker.events import Request
from flowstream.broker.types import Instant, TopicPartition
from flowstream.errors import StorageError
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.describe_log_dirs import (
    DescribeLogDirsPartition,
    DescribeLogDirsRequest,
    DescribeLogDirsResponse,
    DescribeLogDirsResult,
    DescribeLogDirsTopic,
)


def handle(request: Request[DescribeLogDirsRequest], cores: Cores, now: Instant) -> list[Effect]:
    """Answer at once; partitions that are not here are left out."""
    try:
        space = cores.storage.space()
    except StorageError:
        offline = DescribeLogDirsResult(error_code=ErrorCode.KAFKA_STORAGE_ERROR, log_dir="")
        return [Reply(request.to, DescribeLogDirsResponse(results=(offline,)))]
    result = DescribeLogDirsResult(
        log_dir=space.directory,
        topics=_topics(cores, _asked(request.body, cores)),
        total_bytes=space.total_bytes,
        usable_bytes=space.usable_bytes,
    )
    return [Reply(request.to, DescribeLogDirsResponse(results=(result,)))]


def _asked(body: DescribeLogDirsRequest, cores: Cores) -> Iterable[TopicPartition]:
    if body.topics is None:
        return cores.logs.by_name
    # Repetitions would multiply the answer (X3).
    return dict.fromkeys(
        TopicPartition(topic.topic, number) for topic in body.topics for number in topic.partitions
    )


def _topics(cores: Cores, asked: Iterable[TopicPartition]) -> tuple[DescribeLogDirsTopic, ...]:
    topics: dict[str, list[DescribeLogDirsPartition]] = {}
    for name in asked:
        log = cores.logs.by_name.get(name)
        if log is not None:
            described = DescribeLogDirsPartition(
                partition_index=name.partition, partition_size=log.size
            )
            topics.setdefault(name.topic, []).append(described)
    return tuple(
        DescribeLogDirsTopic(name=topic, partitions=tuple(partitions))
        for topic, partitions in topics.items()
    )
