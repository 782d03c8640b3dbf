"""What `transport.fetching` relies on in aiokafka: an assignment that changes in place."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiokafka import TopicPartition as ForeignPartition
from aiokafka.errors import TopicAuthorizationFailedError

from flowstream.clock import monotonic_ms, wall_ms
from flowstream.transport import fetching as fetches
from flowstream.transport.cluster import Cluster
from flowstream.transport.errors import ConsumerFailed, Unreadable, UnreadableRecords
from flowstream.transport.fetching import Fetching
from flowstream.transport.types import ConsumerRecord, TopicPartition
from tests.transport.batches_by_hand import LATIN_READ, latin, lying, store
from tests.transport.test_consumer import filled_topic


@asynccontextmanager
async def fetching(
    cluster: Cluster, topic: str, *, gather_ms: float = 0.0
) -> AsyncIterator[Fetching]:
    found = Fetching(
        cluster, max_partition_bytes=1 << 20, stalled_after_ms=60_000, gather_ms=gather_ms
    )
    await found.open([topic])
    try:
        yield found
    finally:
        await found.close()


async def offsets(fetching: Fetching, count: int, most: int = 500) -> list[tuple[int, int]]:
    """(partition, offset) of so many records."""
    found: list[ConsumerRecord] = []
    async with asyncio.timeout(20):
        while len(found) < count:
            for records in (await fetching.getmany(most, 100)).values():
                found += records
            fetching.check()
    return [(record.partition, record.offset) for record in found]


async def test_what_stays_keeps_what_was_fetched(cluster: Cluster) -> None:
    topic = await filled_topic(cluster, 3, 30)
    stays, goes, comes = (TopicPartition(topic, n) for n in range(3))
    async with fetching(cluster, topic) as found:
        found.add([stays, goes])
        found.seek(stays, 0)
        assert await offsets(found, 1, 1) == [(0, 0)]
        buffered = found._fetcher._records
        assert set(buffered) == {stays}
        found.remove([goes])
        found.add([comes])
        assert set(buffered) == {stays}, "nothing of it is fetched again"
        assert await offsets(found, 9) == [(0, n) for n in range(1, 10)]
        found.seek(comes, 4)
        assert await offsets(found, 6) == [(2, n) for n in range(4, 10)]
        found.seek(goes, 0)  # no longer there
        assert await found.getmany(10, 50) == {}


async def test_what_goes_is_not_delivered_and_may_come_back(cluster: Cluster) -> None:
    topic = await filled_topic(cluster, 1, 10)
    only = TopicPartition(topic, 0)
    async with fetching(cluster, topic) as found:
        found.add([only])
        found.seek(only, 0)
        assert await offsets(found, 1, 1) == [(0, 0)]
        found.remove([only])
        assert await found.getmany(10, 50) == {}, "fetched before, and of no use now"
        found.add([only])
        assert await found.getmany(10, 50) == {}, "parked"
        found.seek(only, 7)
        assert await offsets(found, 3) == [(0, 7), (0, 8), (0, 9)]


async def test_a_fetch_on_its_way_is_dropped_with_its_partition(cluster: Cluster) -> None:
    topic = await filled_topic(cluster, 2, 4)
    goes, stays = TopicPartition(topic, 0), TopicPartition(topic, 1)
    async with fetching(cluster, topic) as found:
        found.add([goes, stays])
        for tp in (goes, stays):
            found.seek(tp, 0)
        found._fetcher._notify(found._fetcher._wait_consume_future)
        async with asyncio.timeout(10):
            # Each turn of the loop is looked at: an answer may come in the one after the request.
            while not found._fetcher._in_flight:  # noqa: ASYNC110
                await asyncio.sleep(0)
        found.remove([goes])
        assert await offsets(found, 2) == [(1, 0), (1, 1)]
        found.check()


async def test_a_few_records_let_others_gather_before_the_next_are_fetched(
    cluster: Cluster,
) -> None:
    topic = await filled_topic(cluster, 1, 3)
    only = TopicPartition(topic, 0)
    async with fetching(cluster, topic, gather_ms=300) as found:
        found.add([only])
        found.seek(only, 0)
        async with asyncio.timeout(20):
            while not await found.getmany(500, 100):
                pass
        before = monotonic_ms()
        await found.getmany(500, 0)
        assert monotonic_ms() - before >= 299
        before = monotonic_ms()
        await found.getmany(500, 0)
        assert monotonic_ms() - before < 299, "nothing came: nothing is waited for"


async def test_records_that_lag_behind_wait_for_nothing(cluster: Cluster) -> None:
    topic = await filled_topic(cluster, 1, 400)
    only = TopicPartition(topic, 0)
    # Few at a time, as with large records; each wait would be longer than the test.
    async with fetching(cluster, topic, gather_ms=60_000) as found:
        found.add([only])
        found.seek(only, 0)
        assert await offsets(found, 290, 10) == [(0, n) for n in range(290)]


async def test_S11_a_header_key_that_is_no_UTF8_reaches_the_consumer(cluster: Cluster) -> None:
    tp = TopicPartition(await filled_topic(cluster, 1, 2), 0)
    assert await store(cluster, tp, latin()) == 2
    async with fetching(cluster, tp.topic) as found:
        found.add([tp])
        found.seek(tp, 0)
        records: list[ConsumerRecord] = []
        async with asyncio.timeout(20):
            while len(records) < 5:
                for some in (await found.getmany(2, 100)).values():
                    records += some
        assert [record.offset for record in records] == [0, 1, 2, 3, 4]
        assert list(records[3].headers) == [(LATIN_READ, b"1")]


async def test_D7_what_nobody_can_read_is_told_with_its_place(own_address: str) -> None:
    cluster = Cluster(own_address)  # Kafka looks into batches, and takes no such
    await cluster.connect()
    tp = TopicPartition(await filled_topic(cluster, 1, 2), 0)
    assert await store(cluster, tp, lying()) == 2
    async with fetching(cluster, tp.topic) as found:
        found.add([tp])
        found.seek(tp, 0)
        assert await offsets(found, 2, 2) == [(0, 0), (0, 1)]
        with pytest.raises(UnreadableRecords, match=f"{tp.topic}-0 cannot be read from offset 2"):
            await offsets(found, 1)
    await cluster.close()


async def test_V2_a_topic_that_may_not_be_read_is_told(cluster: Cluster) -> None:
    tp = TopicPartition(await filled_topic(cluster, 1, 0), 0)
    async with fetching(cluster, tp.topic) as found:
        found.add([tp])
        error = TopicAuthorizationFailedError(tp.topic)  # as the fetcher makes it
        found._fetcher._set_error(ForeignPartition(*tp), error)
        with pytest.raises(Unreadable, match=f"topic {tp.topic}: TOPIC_AUTHORIZATION_FAILED"):
            await found.getmany(1, 100)


@pytest.mark.parametrize("step_ms", [3_600_000, -3_600_000])
async def test_V2_a_clock_that_is_set_makes_no_partition_look_stalled(
    cluster: Cluster, step_ms: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = await filled_topic(cluster, 1, 5)
    only = TopicPartition(topic, 0)
    async with fetching(cluster, topic) as found:
        found.add([only])
        found.seek(only, 0)
        await offsets(found, 5)
        state = found._assignment.state_value(ForeignPartition(*only))
        monkeypatch.setattr(fetches, "wall_ms", lambda: wall_ms() + step_ms)
        silence_ms = found.silence_ms(only)
        assert silence_ms is not None
        assert silence_ms < 10_000
        found._progress_ms -= found._stalled_after_ms
        found.check()
        state.timestamp -= found._stalled_after_ms + 1_000
        found._progress_ms -= found._stalled_after_ms
        with pytest.raises(ConsumerFailed, match="stalled"):
            found.check()
