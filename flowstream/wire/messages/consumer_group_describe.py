"""ConsumerGroupDescribe (69): state and members of KIP-848 groups.

1 adds the kind of member (KIP-1099).
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


@message(versions="0-1", flexible="0+")
class ConsumerGroupDescribeRequest:
    """The groups to describe."""

    group_ids: tuple[str, ...] = field(array(STRING), "0+")
    include_authorized_operations: bool = field(BOOLEAN, "0+")


@struct
class TopicPartitions:
    """One of the `topic_partitions` of `Assignment`."""

    topic_id: bytes = field(UUID, "0+")
    topic_name: str = field(STRING, "0+")
    partitions: tuple[int, ...] = field(array(INT32), "0+")


@struct
class Assignment:
    """The `assignment` of `Member`."""

    topic_partitions: tuple[TopicPartitions, ...] = field(array(TopicPartitions), "0+")


@struct
class Member:
    """One of the `members` of `DescribedGroup`."""

    member_id: str = field(STRING, "0+")
    instance_id: str | None = field(STRING, "0+", nullable="0+", default=None)
    rack_id: str | None = field(STRING, "0+", nullable="0+", default=None)
    member_epoch: int = field(INT32, "0+")
    client_id: str = field(STRING, "0+")
    client_host: str = field(STRING, "0+")
    subscribed_topic_names: tuple[str, ...] = field(array(STRING), "0+")
    subscribed_topic_regex: str | None = field(STRING, "0+", nullable="0+", default=None)
    assignment: Assignment = field(Assignment, "0+")
    target_assignment: Assignment = field(Assignment, "0+")
    member_type: int = field(INT8, "1+", default=-1, ignorable=True)


@struct
class DescribedGroup:
    """One of the `groups` of `ConsumerGroupDescribeResponse`."""

    error_code: int = field(INT16, "0+")
    error_message: str | None = field(STRING, "0+", nullable="0+", default=None)
    group_id: str = field(STRING, "0+")
    group_state: str = field(STRING, "0+")
    group_epoch: int = field(INT32, "0+")
    assignment_epoch: int = field(INT32, "0+")
    assignor_name: str = field(STRING, "0+")
    members: tuple[Member, ...] = field(array(Member), "0+")
    authorized_operations: int = field(INT32, "0+", default=-2147483648)


@message(versions="0-1", flexible="0+")
class ConsumerGroupDescribeResponse:
    """Each group, or an error."""

    throttle_time_ms: int = field(INT32, "0+")
    groups: tuple[DescribedGroup, ...] = field(array(DescribedGroup), "0+")
