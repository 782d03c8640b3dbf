"""Heartbeat (12): a classic member is alive; the answer tells it of rebalances.

3 adds static members (KIP-345); 4 is flexible.
"""

from __future__ import annotations

from flowstream.wire.fields import INT16, INT32, STRING, field, message


@message(versions="0-4", flexible="4+")
class HeartbeatRequest:
    """Who is alive, in which generation."""

    group_id: str = field(STRING, "0+")
    generation_id: int = field(INT32, "0+")
    member_id: str = field(STRING, "0+")
    group_instance_id: str | None = field(STRING, "3+", nullable="3+", default=None)


@message(versions="0-4", flexible="4+")
class HeartbeatResponse:
    """REBALANCE_IN_PROGRESS calls the member back to JoinGroup."""

    throttle_time_ms: int = field(INT32, "1+", ignorable=True)
    error_code: int = field(INT16, "0+")
