"""S1: a member knows by its own clock when the group may have given its partitions to others."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from flowstream.transport.assignor import NOTHING, GroupAssignor
from flowstream.transport.cluster import Cluster
from flowstream.transport.errors import ConsumerFailed
from flowstream.transport.member import GroupMember
from flowstream.transport.types import Generation, TopicPartition
from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.messages.heartbeat import HeartbeatResponse

SESSION_MS = 1_000
NETWORK_MS = 100
ANSWERS = [ErrorCode.REBALANCE_IN_PROGRESS, ErrorCode.UNKNOWN_MEMBER_ID]


class Coordinator:
    """Answers every request with one error code, a moment of the clock later."""

    def __init__(self, code: ErrorCode) -> None:
        self.code = code
        self.now_ms = 5_000
        self.seen: list[tuple[bool, float]] = []
        self.member: GroupMember | None = None

    async def request(self, *args: Any, **kwargs: Any) -> HeartbeatResponse:
        self.now_ms += NETWORK_MS
        assert self.member is not None
        self.seen.append((self.member.may_be_replaced, self.member.unanswered_s))
        return HeartbeatResponse(error_code=self.code)


@pytest.mark.parametrize("code", ANSWERS, ids=lambda code: code.name)
async def test_S1_a_session_lasts_from_the_last_sign_of_life_that_the_group_took(
    code: ErrorCode, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = Coordinator(code)
    monkeypatch.setattr("flowstream.transport.member.monotonic_ms", lambda: group.now_ms)
    member = group.member = GroupMember(
        cast("Cluster", group), "g", cast("GroupAssignor", None), instance_id=None,
        session_timeout_ms=SESSION_MS, heartbeat_interval_ms=0, rebalance_timeout_ms=5_000,
    )  # fmt: skip
    member.owned = NOTHING | {TopicPartition("t", 0)}
    member.generation = Generation("g", 1, "m", None)
    free = asyncio.Event()
    free.set()
    assert member.may_be_replaced  # nobody has heard of it yet
    if code is ErrorCode.UNKNOWN_MEMBER_ID:
        with pytest.raises(ConsumerFailed):
            await member.beat(free)
        assert member.may_be_replaced
        return
    await member.beat(free)
    assert group.seen == [(True, NETWORK_MS / 1000)]
    assert member.unanswered_s == 0
    group.now_ms += SESSION_MS - NETWORK_MS - 1
    assert not member.may_be_replaced
    group.now_ms += 1  # a session after it was sent, not after the answer
    assert member.may_be_replaced
    member.is_rebalancing = True  # its join waits for others, and keeps its session open
    assert not member.may_be_replaced
    group.now_ms += 5_000
    assert member.may_be_replaced


@pytest.mark.parametrize("wants", ["the group", "the member"])
async def test_V1_a_member_that_is_busy_shows_signs_of_life_while_the_group_waits(
    wants: str,
) -> None:
    """It was thrown out after session_timeout, though a rebalance may take rebalance_timeout."""
    enough = asyncio.Event()

    class Patient(Coordinator):
        async def request(self, *args: Any, **kwargs: Any) -> HeartbeatResponse:
            if len(self.seen) == 5:
                enough.set()
            return await super().request(*args, **kwargs)

    group = Patient(ErrorCode.REBALANCE_IN_PROGRESS if wants == "the group" else ErrorCode.NONE)
    member = group.member = GroupMember(
        cast("Cluster", group), "g", cast("GroupAssignor", None), instance_id=None,
        session_timeout_ms=SESSION_MS, heartbeat_interval_ms=0, rebalance_timeout_ms=5_000,
    )  # fmt: skip
    member.generation = Generation("g", 1, "m", None)
    if wants == "the member":
        member.want_rebalance()
    free = asyncio.Event()
    beating = asyncio.create_task(member.beat(free))
    async with asyncio.timeout(10):
        waiting = asyncio.create_task(enough.wait())
        await asyncio.wait((beating, waiting), return_when=asyncio.FIRST_COMPLETED)
        assert not beating.done()
        free.set()
        await beating
