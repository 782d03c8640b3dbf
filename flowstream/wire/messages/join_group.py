"""JoinGroup (11): enter a rebalance of a classic group; the answer waits for the other members.

1 adds the rebalance timeout; 4 makes new members come back with the id they were given
(KIP-394); 5 static members (KIP-345). 6 is flexible; 7 returns the protocol type; 8 carries a
reason (KIP-800); 9 tells a leader to skip the assignment (KIP-814).
"""

from __future__ import annotations

from flowstream.wire.fields import (
    BOOLEAN,
    BYTES,
    INT16,
    INT32,
    STRING,
    array,
    field,
    message,
    struct,
)


@struct
class JoinGroupRequestProtocol:
    """One of the `protocols` of `JoinGroupRequest`."""

    name: str = field(STRING, "0+")
    metadata: bytes = field(BYTES, "0+")


@message(versions="0-9", flexible="6+")
class JoinGroupRequest:
    """A member and the protocols it offers."""

    group_id: str = field(STRING, "0+")
    session_timeout_ms: int = field(INT32, "0+")
    rebalance_timeout_ms: int = field(INT32, "1+", default=-1, ignorable=True)
    member_id: str = field(STRING, "0+")
    group_instance_id: str | None = field(STRING, "5+", nullable="5+", default=None)
    protocol_type: str = field(STRING, "0+")
    protocols: tuple[JoinGroupRequestProtocol, ...] = field(array(JoinGroupRequestProtocol), "0+")
    reason: str | None = field(STRING, "8+", nullable="8+", default=None, ignorable=True)


@struct
class JoinGroupResponseMember:
    """One of the `members` of `JoinGroupResponse`."""

    member_id: str = field(STRING, "0+")
    group_instance_id: str | None = field(STRING, "5+", nullable="5+", default=None, ignorable=True)
    metadata: bytes = field(BYTES, "0+")


@message(versions="0-9", flexible="6+")
class JoinGroupResponse:
    """The generation, the chosen protocol and, to the leader, all members."""

    throttle_time_ms: int = field(INT32, "2+", ignorable=True)
    error_code: int = field(INT16, "0+")
    generation_id: int = field(INT32, "0+", default=-1)
    protocol_type: str | None = field(STRING, "7+", nullable="7+", default=None, ignorable=True)
    protocol_name: str | None = field(STRING, "0+", nullable="7+")
    leader: str = field(STRING, "0+")
    skip_assignment: bool = field(BOOLEAN, "9+")
    member_id: str = field(STRING, "0+")
    members: tuple[JoinGroupResponseMember, ...] = field(array(JoinGroupResponseMember), "0+")
