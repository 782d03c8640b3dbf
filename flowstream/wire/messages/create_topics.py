"""CreateTopics (19): create topics.

4 allows the broker's default counts (-1, KIP-464); 5 is flexible and returns the configuration
(KIP-525); 6 may be throttled (KIP-599); 7 returns topic ids.
"""

from __future__ import annotations

from flowstream.wire.fields import (
    BOOLEAN,
    INT8,
    INT16,
    INT32,
    STRING,
    UUID,
    array,
    field,
    message,
    struct,
)


@struct
class CreatableReplicaAssignment:
    """One of the `assignments` of `CreatableTopic`."""

    partition_index: int = field(INT32, "0+")
    broker_ids: tuple[int, ...] = field(array(INT32), "0+")


@struct
class CreatableTopicConfig:
    """One of the `configs` of `CreatableTopic`."""

    name: str = field(STRING, "0+")
    value: str | None = field(STRING, "0+", nullable="0+")


@struct
class CreatableTopic:
    """One of the `topics` of `CreateTopicsRequest`."""

    name: str = field(STRING, "0+")
    num_partitions: int = field(INT32, "0+")
    replication_factor: int = field(INT16, "0+")
    assignments: tuple[CreatableReplicaAssignment, ...] = field(
        array(CreatableReplicaAssignment), "0+"
    )
    configs: tuple[CreatableTopicConfig, ...] = field(array(CreatableTopicConfig), "0+")


@message(versions="2-7", flexible="5+")
class CreateTopicsRequest:
    """Topics with partitions, placement and configuration."""

    topics: tuple[CreatableTopic, ...] = field(array(CreatableTopic), "0+")
    timeout_ms: int = field(INT32, "0+", default=60000)
    validate_only: bool = field(BOOLEAN, "1+")


@struct
class CreatableTopicConfigs:
    """One of the `configs` of `CreatableTopicResult`."""

    name: str = field(STRING, "5+")
    value: str | None = field(STRING, "5+", nullable="5+")
    read_only: bool = field(BOOLEAN, "5+")
    config_source: int = field(INT8, "5+", default=-1, ignorable=True)
    is_sensitive: bool = field(BOOLEAN, "5+")


@struct
class CreatableTopicResult:
    """One of the `topics` of `CreateTopicsResponse`."""

    name: str = field(STRING, "0+")
    topic_id: bytes = field(UUID, "7+", ignorable=True)
    error_code: int = field(INT16, "0+")
    error_message: str | None = field(STRING, "1+", nullable="0+", ignorable=True)
    topic_config_error_code: int = field(INT16, "5+", ignorable=True, tag=0, tagged="5+")
    num_partitions: int = field(INT32, "5+", default=-1, ignorable=True)
    replication_factor: int = field(INT16, "5+", default=-1, ignorable=True)
    configs: tuple[CreatableTopicConfigs, ...] | None = field(
        array(CreatableTopicConfigs), "5+", nullable="5+", ignorable=True
    )


@message(versions="2-7", flexible="5+")
class CreateTopicsResponse:
    """The outcome, by topic."""

    throttle_time_ms: int = field(INT32, "2+", ignorable=True)
    topics: tuple[CreatableTopicResult, ...] = field(array(CreatableTopicResult), "0+")
