"""AlterReplicaLogDirs (34): move replicas to another log directory of this broker (KIP-113).

There is one directory: moving a partition there succeeds without a change, any other is not found.
"""

from __future__ import annotations

from flowstream.broker.cores import Cores
from flowstream.broker.effects import Effect, Reply
from flowstream.broker.events import Request
from flowstream.broker.types import Instant, TopicPartition
from flowstream.errors import StorageError
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.alter_replica_log_dirs import (
    AlterReplicaLogDirPartitionResult,
    AlterReplicaLogDirsRequest,
    AlterReplicaLogDirsResponse,
    AlterReplicaLogDirTopicResult,
)


def handle(
    request: Request[AlterReplicaLogDirsRequest], cores: Cores, now: Instant
) -> list[Effect]:
    """Answer at once: nothing ever moves. Of a partition named twice the last one counts."""
    topics: dict[str, dict[int, ErrorCode]] = {}
    here = _directory(cores)
    for directory in request.body.dirs:
        for topic in directory.topics:
            errors = topics.setdefault(topic.name, {})
            for number in topic.partitions:
                errors[number] = _move(
                    cores, TopicPartition(topic.name, number), directory.path, here
                )
    results = tuple(
        AlterReplicaLogDirTopicResult(
            topic_name=name,
            partitions=tuple(
                AlterReplicaLogDirPartitionResult(partition_index=number, error_code=error)
                for number, error in errors.items()
            ),
        )
        for name, errors in topics.items()
    )
    return [Reply(request.to, AlterReplicaLogDirsResponse(results=results))]


def _directory(cores: Cores) -> str | None:
    try:
        return cores.storage.space().directory
    except StorageError:
        return None


def _move(cores: Cores, name: TopicPartition, path: str, here: str | None) -> ErrorCode:
    if path != here:
        return ErrorCode.LOG_DIR_NOT_FOUND
    if name not in cores.logs.by_name:
        return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    return ErrorCode.NONE
