"""Members whose shares are too large come back at their leisure: librdkafka joined again at once,
two hundred times a second (X4).
"""

from __future__ import annotations

from typing import Any

import pytest

from flowstream.broker.groups import room
from flowstream.broker.handlers.sync_group import REFUSED_MS
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.join_group import JoinGroupRequest, JoinGroupRequestProtocol
from flowstream.wire.messages.sync_group import SyncGroupRequest, SyncGroupRequestAssignment
from tests.broker.machine import Muting


def joined(machine: Muting) -> Any:
    return machine.ask(
        JoinGroupRequest(
            group_id="g",
            session_timeout_ms=10_000,
            rebalance_timeout_ms=10_000,
            protocol_type="consumer",
            protocols=(JoinGroupRequestProtocol(name="range", metadata=b"m"),),
        ),
        2,
    )


def synced(machine: Muting, member: Any, share: bytes) -> int:
    given = SyncGroupRequestAssignment(member_id=member.member_id, assignment=share)
    body = SyncGroupRequest(
        group_id="g",
        generation_id=member.generation_id,
        member_id=member.member_id,
        assignments=(given,),
    )
    error: int = machine.ask(body, 2).error_code
    return error


@pytest.mark.parametrize("fits", [True, False])
def test_X4_who_is_refused_its_share_is_not_read_for_a_moment(
    monkeypatch: pytest.MonkeyPatch, fits: bool
) -> None:
    machine = Muting(group_initial_rebalance_delay_ms="0")
    member = joined(machine)
    if not fits:
        monkeypatch.setattr(room, "GROUP_BYTES", 8 << 10)
    expected = ErrorCode.NONE if fits else ErrorCode.GROUP_MAX_SIZE_REACHED
    assert synced(machine, member, b"s" * (8 << 10)) == expected
    assert machine.muted == ([] if fits else [REFUSED_MS])
