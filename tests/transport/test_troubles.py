"""Fetches that are answered with errors: asked again in good time, and not for ever."""

from __future__ import annotations

import asyncio
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flowstream.testing import Broker
from flowstream.transport import troubles as module
from flowstream.transport.admin import Admin
from flowstream.transport.cluster import Cluster, backoffs
from flowstream.transport.errors import Unreadable
from flowstream.transport.producer import IdempotentProducer
from flowstream.transport.troubles import STORAGE_ANSWERS, Troubles
from flowstream.transport.types import NewTopic, TopicPartition
from flowstream.wire.error_codes import ErrorCode
from tests.transport.test_fetching import fetching

ONE, OTHER = TopicPartition("t", 0), TopicPartition("t", 1)


def answer(*codes: int) -> Any:
    """Of topic `t`, partition by partition."""
    return SimpleNamespace(topics=[("t", [(n, code, 0) for n, code in enumerate(codes)])])


def test_V2_a_node_that_answers_with_errors_is_asked_ever_more_rarely() -> None:
    troubles, moving = Troubles(), answer(ErrorCode.NOT_LEADER_OR_FOLLOWER, 0)
    assert [troubles.met(1, moving) for _ in range(9)] == list(islice(backoffs(), 9))
    assert troubles.met(2, answer(0, 0)) == 0
    assert troubles.met(1, moving) == next(islice(backoffs(), 9, None)), "of another node"
    assert troubles.met(1, answer(0, 0)) == 0
    assert troubles.met(1, moving) == next(backoffs())
    assert troubles.met(1, answer(ErrorCode.OFFSET_OUT_OF_RANGE)) == 0, "it is told, and no retry"
    assert troubles.damaged is None


def test_V2_a_disk_that_cannot_be_read_is_given_up_when_it_never_was_meanwhile() -> None:
    troubles, broken = Troubles(), answer(0, ErrorCode.KAFKA_STORAGE_ERROR)
    for _ in range(STORAGE_ANSWERS - 1):
        assert troubles.met(1, broken) > 0
    troubles.met(2, answer(0, 0))
    for _ in range(STORAGE_ANSWERS - 1):
        troubles.met(1, broken)
    assert troubles.damaged is None
    troubles.met(1, broken)
    assert troubles.damaged == OTHER
    troubles.forget(OTHER)
    assert troubles.damaged is None


async def test_V2_a_consumer_of_a_damaged_segment_asks_a_few_times_and_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It asked 660 times a second, with a line in the log each, and nobody was told."""
    monkeypatch.setattr(module, "STORAGE_ANSWERS", 4)
    async with Broker(data=tmp_path) as broker:
        cluster = Cluster(broker.address)
        await cluster.connect()
        await Admin(cluster).create_topics([NewTopic("t", 1, -1, {"segment.bytes": str(1 << 20)})])
        producer = IdempotentProducer(cluster)
        for _ in range(4):
            await producer.send(ONE, None, b"x" * 400_000, 1, [])
        await producer.close()
        await cluster.close()
    path = tmp_path / "t-0" / "00000000000000000000.log"
    damaged = bytearray(path.read_bytes())
    damaged[200_000] ^= 0xFF
    path.write_bytes(damaged)
    async with Broker(data=tmp_path) as broker:
        cluster = Cluster(broker.address)
        await cluster.connect()
        async with fetching(cluster, "t") as found:
            found.add([ONE])
            found.seek(ONE, 0)
            async with asyncio.timeout(20):
                while found._troubles.damaged is None:
                    assert await found.getmany(10, 20) == {}
            with pytest.raises(Unreadable, match="t-0 cannot be read: KAFKA_STORAGE_ERROR"):
                found.check()
        await cluster.close()
