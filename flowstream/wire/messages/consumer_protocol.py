"""The consumer embedded protocol: what members of a classic group say to their leader, opaque to
the broker.

On the wire a 16-bit version precedes each of them. 1 adds owned partitions (KIP-429), 2 the
generation, 3 the rack (KIP-881).
"""

from __future__ import annotations

from flowstream.wire.fields import BYTES, INT32, STRING, array, field, message, struct


@struct
class TopicPartition:
    """Partitions of one topic, owned or assigned."""

    topic: str = field(STRING, "0+")
    partitions: tuple[int, ...] = field(array(INT32), "0+")


@message(versions="0-3", flexible="none")
class ConsumerProtocolSubscription:
    """What a member subscribes to and owns."""

    topics: tuple[str, ...] = field(array(STRING), "0+")
    user_data: bytes | None = field(BYTES, "0+", nullable="0+", default=None)
    owned_partitions: tuple[TopicPartition, ...] = field(
        array(TopicPartition), "1+", ignorable=True
    )
    generation_id: int = field(INT32, "2+", default=-1, ignorable=True)
    rack_id: str | None = field(STRING, "3+", nullable="3+", default=None, ignorable=True)


@message(versions="0-3", flexible="none")
class ConsumerProtocolAssignment:
    """What a member is given."""

    assigned_partitions: tuple[TopicPartition, ...] = field(array(TopicPartition), "0+")
    user_data: bytes | None = field(BYTES, "0+", nullable="0+", default=None)
