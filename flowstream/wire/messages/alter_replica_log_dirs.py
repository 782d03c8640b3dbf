"""AlterReplicaLogDirs (34): move replicas to another log directory of their broker (KIP-113).

2 is flexible.
"""

from __future__ import annotations

from flowstream.wire.fields import INT16, INT32, STRING, array, field, message, struct


@struct
class AlterReplicaLogDirTopic:
    """One of the `topics` of `AlterReplicaLogDir`."""

    name: str = field(STRING, "0+")
    partitions: tuple[int, ...] = field(array(INT32), "0+")


@struct
class AlterReplicaLogDir:
    """One of the `dirs` of `AlterReplicaLogDirsRequest`."""

    path: str = field(STRING, "0+")
    topics: tuple[AlterReplicaLogDirTopic, ...] = field(array(AlterReplicaLogDirTopic), "0+")


@message(versions="1-2", flexible="2+")
class AlterReplicaLogDirsRequest:
    """Which replicas are to be in which directory."""

    dirs: tuple[AlterReplicaLogDir, ...] = field(array(AlterReplicaLogDir), "0+")


@struct
class AlterReplicaLogDirPartitionResult:
    """One of the `partitions` of `AlterReplicaLogDirTopicResult`."""

    partition_index: int = field(INT32, "0+")
    error_code: int = field(INT16, "0+")


@struct
class AlterReplicaLogDirTopicResult:
    """One of the `results` of `AlterReplicaLogDirsResponse`."""

    topic_name: str = field(STRING, "0+")
    partitions: tuple[AlterReplicaLogDirPartitionResult, ...] = field(
        array(AlterReplicaLogDirPartitionResult), "0+"
    )


@message(versions="1-2", flexible="2+")
class AlterReplicaLogDirsResponse:
    """The outcome, by partition."""

    throttle_time_ms: int = field(INT32, "0+")
    results: tuple[AlterReplicaLogDirTopicResult, ...] = field(
        array(AlterReplicaLogDirTopicResult), "0+"
    )
