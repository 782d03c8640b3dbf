"""LeaveGroup (13): members leave a classic group at once.

3 lets an administrator remove several members (KIP-345); 4 is flexible; 5 carries a reason
(KIP-800).
"""

from __future__ import annotations

from flowstream.wire.fields import INT16, INT32, STRING, array, field, message, struct


@struct
class MemberIdentity:
    """One of the `members` of `LeaveGroupRequest`."""

    member_id: str = field(STRING, "3+")
    group_instance_id: str | None = field(STRING, "3+", nullable="3+", default=None)
    reason: str | None = field(STRING, "5+", nullable="5+", default=None, ignorable=True)


@message(versions="0-5", flexible="4+")
class LeaveGroupRequest:
    """One member up to version 2, a list of them after."""

    group_id: str = field(STRING, "0+")
    member_id: str = field(STRING, "0-2")
    members: tuple[MemberIdentity, ...] = field(array(MemberIdentity), "3+")


@struct
class MemberResponse:
    """One of the `members` of `LeaveGroupResponse`."""

    member_id: str = field(STRING, "3+")
    group_instance_id: str | None = field(STRING, "3+", nullable="3+")
    error_code: int = field(INT16, "3+")


@message(versions="0-5", flexible="4+")
class LeaveGroupResponse:
    """The outcome, by member from version 3."""

    throttle_time_ms: int = field(INT32, "1+", ignorable=True)
    error_code: int = field(INT16, "0+")
    members: tuple[MemberResponse, ...] = field(array(MemberResponse), "3+")
