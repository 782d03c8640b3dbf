"""ConsumerGroupHeartbeat (68): the one request of a KIP-848 member: joins, reports, acknowledges,
leaves.

1 adds subscriptions by regular expression and ids chosen by the client (KIP-1082).
"""

from __future__ import annotations

from flowstream.wire.fields import INT16, INT32, STRING, UUID, array, field, message, struct


@struct
class TopicPartitions:
    """One of the `topic_partitions` of `ConsumerGroupHeartbeatRequest`."""

    topic_id: bytes = field(UUID, "0+")
    partitions: tuple[int, ...] = field(array(INT32), "0+")


@message(versions="0-1", flexible="0+")
class ConsumerGroupHeartbeatRequest:
    """What changed at the member; null and -1 mean unchanged."""

    group_id: str = field(STRING, "0+")
    member_id: str = field(STRING, "0+")
    member_epoch: int = field(INT32, "0+")
    instance_id: str | None = field(STRING, "0+", nullable="0+", default=None)
    rack_id: str | None = field(STRING, "0+", nullable="0+", default=None)
    rebalance_timeout_ms: int = field(INT32, "0+", default=-1)
    subscribed_topic_names: tuple[str, ...] | None = field(
        array(STRING), "0+", nullable="0+", default=None
    )
    subscribed_topic_regex: str | None = field(STRING, "1+", nullable="1+", default=None)
    server_assignor: str | None = field(STRING, "0+", nullable="0+", default=None)
    topic_partitions: tuple[TopicPartitions, ...] | None = field(
        array(TopicPartitions), "0+", nullable="0+", default=None
    )


@struct
class Assignment:
    """The `assignment` of `ConsumerGroupHeartbeatResponse`."""

    topic_partitions: tuple[TopicPartitions, ...] = field(array(TopicPartitions), "0+")


@message(versions="0-1", flexible="0+")
class ConsumerGroupHeartbeatResponse:
    """Epoch and assignment; null when unchanged."""

    throttle_time_ms: int = field(INT32, "0+")
    error_code: int = field(INT16, "0+")
    error_message: str | None = field(STRING, "0+", nullable="0+", default=None)
    member_id: str | None = field(STRING, "0+", nullable="0+", default=None)
    member_epoch: int = field(INT32, "0+")
    heartbeat_interval_ms: int = field(INT32, "0+")
    assignment: Assignment | None = field(Assignment, "0+", nullable="0+", default=None)
