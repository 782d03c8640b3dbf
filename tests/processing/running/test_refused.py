"""What the cluster refuses while a worker runs: rights that are being changed do not end it, and
those that stay away do, with Kafka's error and what helps (V1, V2).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

import flowstream as fs
from flowstream.transport import refusals
from flowstream.transport.cluster import Cluster
from flowstream.transport.errors import (
    RefusedForGood,
    RequestRefused,
    TransactionFailed,
    TransportError,
    UnreadableRecords,
)
from flowstream.transport.types import NewTopic, TopicPartition
from flowstream.transport.unpacking import Unpacking
from flowstream.wire.api import ApiKey
from flowstream.wire.error_codes import ErrorCode as Code
from flowstream.wire.messages.end_txn import EndTxnResponse
from flowstream.wire.schema import replace
from tests.processing.conftest import Kit

Amend = Callable[[Any], Any]


def offsets_refused(answer: Any) -> Any:
    code = Code.GROUP_AUTHORIZATION_FAILED
    return replace(
        answer,
        topics=tuple(
            replace(topic, partitions=tuple(replace(p, error_code=code) for p in topic.partitions))
            for topic in answer.topics
        ),
    )


def output_hidden(answer: Any) -> Any:
    code = Code.TOPIC_AUTHORIZATION_FAILED
    return replace(
        answer,
        topics=tuple(
            replace(topic, error_code=code, partitions=())
            if (topic.name or "").endswith("-out") else topic
            for topic in answer.topics
        ),
    )  # fmt: skip


def end_refused(answer: None) -> Any:
    return EndTxnResponse(error_code=Code.TRANSACTIONAL_ID_AUTHORIZATION_FAILED)


def end_failed(answer: None) -> Any:
    return EndTxnResponse(error_code=Code.UNKNOWN_SERVER_ERROR)


REFUSALS: dict[str, tuple[ApiKey, Amend, type[TransportError], str]] = {
    "offsets": (
        ApiKey.TXN_OFFSET_COMMIT, offsets_refused, RefusedForGood,
        "TxnOffsetCommit: GROUP_AUTHORIZATION_FAILED: allow the worker's user to read the group",
    ),
    "metadata": (
        ApiKey.METADATA, output_hidden, RequestRefused,
        "-out': TOPIC_AUTHORIZATION_FAILED: allow this user what it needs of the topic",
    ),
    "end": (
        ApiKey.END_TXN, end_refused, RefusedForGood,
        "EndTxn: TRANSACTIONAL_ID_AUTHORIZATION_FAILED: allow the worker's user to write under",
    ),
    "unknown": (
        ApiKey.END_TXN, end_failed, TransactionFailed, "EndTxn: UNKNOWN_SERVER_ERROR",
    ),
}  # fmt: skip
CASES = pytest.mark.parametrize("case", REFUSALS)


class Refusing:
    """Amends answers of one API so many times, once it is told to begin."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, key: ApiKey, amend: Amend) -> None:
        self.left = self.refused = 0
        self.worker: fs.Worker | None = None
        asked = Cluster.request

        async def request(cluster: Cluster, to: Any, of: ApiKey, *args: Any, **how: Any) -> Any:
            is_its = self.worker is not None and self.worker._cluster is cluster
            if of is not key or not is_its or not self.left:
                return await asked(cluster, to, of, *args, **how)
            self.left -= 1
            self.refused += 1
            # Who refuses to end a transaction has not ended it.
            answers = key is not ApiKey.END_TXN
            return amend(await asked(cluster, to, of, *args, **how) if answers else None)

        monkeypatch.setattr(Cluster, "request", request)
        monkeypatch.setattr(refusals, "FIRST_PAUSE_S", 0.001)


async def doubling(kit: Kit, name: str) -> tuple[fs.App, fs.Topic[str, str]]:
    app = kit.app(name)
    words = app.topic(f"{name}-in", key_type=str, value_type=str, partitions=1)
    out = app.topic(f"{name}-out", value_type=str, partitions=1)

    @app.agent(words, sink=[out])
    async def double(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for word in stream:
            yield word + word

    await kit.admin.create_topics([NewTopic(words.name, 1), NewTopic(out.name, 1)])
    return app, words


@CASES
async def test_V2_what_stays_refused_ends_the_worker_and_says_what_helps(
    kit: Kit, name: str, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It went back to its last commit five times a second, and called itself healthy."""
    key, amend, kind, told = REFUSALS[case]
    refusing = Refusing(monkeypatch, key, amend)
    app, words = await doubling(kit, name)
    worker = refusing.worker = fs.Worker(app, kit.address)
    running = asyncio.create_task(worker.run(ready=lambda: setattr(refusing, "left", -1)))
    await words.send(key="k", value="a")
    with pytest.raises(kind, match=told):
        await asyncio.wait_for(running, 30)
    assert refusing.refused >= refusals.MOST


@CASES
async def test_V1_S9_what_is_allowed_again_in_a_moment_ends_nothing(
    kit: Kit, name: str, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, amend, _, _ = REFUSALS[case]
    refusing = Refusing(monkeypatch, key, amend)
    app, words = await doubling(kit, name)
    few = refusals.MOST // 2
    async with kit.running(app) as worker:
        await kit.sees(lambda: bool(worker.tasks))
        refusing.worker, refusing.left = worker, few
        worker._cluster._leaders.clear()
        await words.send(key="k", value="a")
        await kit.until(kit.count(f"{name}-out", 1))
        assert worker.counts.aborts > 0
    assert await kit.values(f"{name}-out") == [b"aa"]
    assert refusing.refused == few


@pytest.mark.parametrize("times", [2, 1_000])
async def test_V1_D7_one_damaged_fetch_ends_nothing_and_a_damaged_log_the_worker(
    kit: Kit, name: str, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "FIRST_PAUSE_S", 0.001)
    app, words = await doubling(kit, name)
    await words.send(key="k", value="a")
    tp, left, take = TopicPartition(words.name, 0), times, Unpacking.getall

    def damaged(self: Unpacking, most: int) -> list[Any]:
        nonlocal left
        if left:
            left -= 1
            raise UnreadableRecords(tp, 0, "the batch does not match its CRC")
        return take(self, most)

    monkeypatch.setattr(Unpacking, "getall", damaged)
    if times == 2:
        await kit.run_until(app, kit.committed(app, words.name, 1))
        assert await kit.values(f"{name}-out") == [b"aa"]
        assert left == 0
        return
    with pytest.raises(UnreadableRecords, match=f"{words.name}-0 cannot be read from offset 0 on"):
        async with asyncio.timeout(30):
            await fs.Worker(app, kit.address).run()
    assert left == times - refusals.MOST
