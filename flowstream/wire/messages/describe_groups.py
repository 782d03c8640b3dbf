"""DescribeGroups (15): state and members of classic groups.

3 adds authorized operations; 4 static members; 5 is flexible; 6 answers GROUP_ID_NOT_FOUND
instead of a dead group (KIP-1043).
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


@message(versions="0-6", flexible="5+")
class DescribeGroupsRequest:
    """The groups to describe."""

    groups: tuple[str, ...] = field(array(STRING), "0+")
    include_authorized_operations: bool = field(BOOLEAN, "3+")


@struct
class DescribedGroupMember:
    """One of the `members` of `DescribedGroup`."""

    member_id: str = field(STRING, "0+")
    group_instance_id: str | None = field(STRING, "4+", nullable="4+", default=None, ignorable=True)
    client_id: str = field(STRING, "0+")
    client_host: str = field(STRING, "0+")
    member_metadata: bytes = field(BYTES, "0+")
    member_assignment: bytes = field(BYTES, "0+")


@struct
class DescribedGroup:
    """One of the `groups` of `DescribeGroupsResponse`."""

    error_code: int = field(INT16, "0+")
    error_message: str | None = field(STRING, "6+", nullable="6+", default=None)
    group_id: str = field(STRING, "0+")
    group_state: str = field(STRING, "0+")
    protocol_type: str = field(STRING, "0+")
    protocol_data: str = field(STRING, "0+")
    members: tuple[DescribedGroupMember, ...] = field(array(DescribedGroupMember), "0+")
    authorized_operations: int = field(INT32, "3+", default=-2147483648)


@message(versions="0-6", flexible="5+")
class DescribeGroupsResponse:
    """Each group, or an error."""

    throttle_time_ms: int = field(INT32, "1+", ignorable=True)
    groups: tuple[DescribedGroup, ...] = field(array(DescribedGroup), "0+")
