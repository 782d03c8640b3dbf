"""SyncGroup (14): second step of a rebalance: the leader brings the assignment, everybody gets a
share.

3 adds static members (KIP-345); 4 is flexible; 5 repeats protocol type and name.
"""

from __future__ import annotations

from flowstream.wire.fields import BYTES, INT16, INT32, STRING, array, field, message, struct


@struct
class SyncGroupRequestAssignment:
    """One of the `assignments` of `SyncGroupRequest`."""

    member_id: str = field(STRING, "0+")
    assignment: bytes = field(BYTES, "0+")


@message(versions="0-5", flexible="4+")
class SyncGroupRequest:
    """The leader's assignment; empty from the others."""

    group_id: str = field(STRING, "0+")
    generation_id: int = field(INT32, "0+")
    member_id: str = field(STRING, "0+")
    group_instance_id: str | None = field(STRING, "3+", nullable="3+", default=None)
    protocol_type: str | None = field(STRING, "5+", nullable="5+", default=None, ignorable=True)
    protocol_name: str | None = field(STRING, "5+", nullable="5+", default=None, ignorable=True)
    assignments: tuple[SyncGroupRequestAssignment, ...] = field(
        array(SyncGroupRequestAssignment), "0+"
    )


@message(versions="0-5", flexible="4+")
class SyncGroupResponse:
    """The member's own share."""

    throttle_time_ms: int = field(INT32, "1+", ignorable=True)
    error_code: int = field(INT16, "0+")
    protocol_type: str | None = field(STRING, "5+", nullable="5+", default=None, ignorable=True)
    protocol_name: str | None = field(STRING, "5+", nullable="5+", default=None, ignorable=True)
    assignment: bytes = field(BYTES, "0+")
