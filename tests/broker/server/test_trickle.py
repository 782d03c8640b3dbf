"""Requests that come in pieces, and ones that are large: each costs what it weighs (X3, X4)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from flowstream.wire.error_codes import ErrorCode
from flowstream.wire.frame import encode_request
from flowstream.wire.messages.join_group import JoinGroupRequest, JoinGroupRequestProtocol
from tests.broker.server.serving import VERSIONS, RawClient, Served, served, until

FRAME = b"".join(encode_request(18, 3, 1, "test", VERSIONS))


def received(broker: Served) -> Iterator[int]:
    """How many bytes of an unfinished frame each connection holds."""
    return (each._end - each._start for each in broker.driver.connections.values())


async def write_and_wait(broker: Served, client: RawClient, part: bytes, held: int) -> None:
    client.writer.write(part)
    await client.writer.drain()
    await until(lambda: max(received(broker), default=0) == held)


async def test_X4_a_frame_that_comes_byte_by_byte_is_answered() -> None:
    async with served() as broker:
        slow = await broker.client()
        slow.sent.append((18, 3))
        for sent in range(len(FRAME) - 1):
            await write_and_wait(broker, slow, FRAME[sent : sent + 1], sent + 1)
        other = await broker.client()
        assert (await other.ask(18, 3, VERSIONS)).error_code == 0
        slow.writer.write(FRAME[-1:])
        assert (await slow.receive())[1].error_code == 0
        await other.close()
        await slow.close()


@pytest.mark.parametrize("at", range(1, len(FRAME), 3))
async def test_X4_a_frame_split_anywhere_is_answered(at: int) -> None:
    async with served() as broker:
        client = await broker.client()
        client.sent.append((18, 3))
        await write_and_wait(broker, client, FRAME[:at], at)
        client.writer.write(FRAME[at:])
        assert (await client.receive())[1].error_code == 0
        await client.close()


async def test_X3_a_member_with_a_mebibyte_of_metadata_harms_nobody() -> None:
    def join(group: str, size: int) -> JoinGroupRequest:
        protocol = JoinGroupRequestProtocol(name="range", metadata=b"m" * size)
        return JoinGroupRequest(
            group_id=group,
            session_timeout_ms=10_000,
            rebalance_timeout_ms=10_000,
            protocol_type="consumer",
            protocols=(protocol,),
        )

    async with served(group_initial_rebalance_delay_ms="0") as broker:
        large, small = await broker.client(), await broker.client()
        answer = await large.ask(11, 3, join("large", 1 << 20))
        assert answer.error_code == ErrorCode.NONE
        answer = await small.ask(11, 3, join("small", 10))
        assert answer.error_code == ErrorCode.NONE
        assert broker.driver.failed is None
        await small.close()
        await large.close()
