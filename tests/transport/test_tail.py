"""Following several partitions at once."""

from __future__ import annotations

import pytest

from flowstream.transport import tail as tails
from flowstream.transport.batches import RecordBuffer
from flowstream.transport.cluster import Cluster
from flowstream.transport.errors import OffsetOutOfRange
from flowstream.transport.producer import IdempotentProducer
from flowstream.transport.tail import SILENCE_MS, LongSilence, Tail
from flowstream.transport.types import TopicPartition
from tests.transport.test_consumer import filled_topic


async def test_S10_what_came_beside_an_error_of_another_partition_is_given(
    cluster: Cluster,
) -> None:
    """The readers' positions have moved behind it: nobody would read it again."""
    topic = await filled_topic(cluster, 2, 8)
    fine, gone = TopicPartition(topic, 0), TopicPartition(topic, 1)
    tail = Tail(cluster)
    tail.follow(fine, 0)
    tail.follow(gone, 99)
    found = await tail.read()
    assert [record.offset for record in found[fine][1]] == [0, 1, 2, 3]
    with pytest.raises(OffsetOutOfRange) as raised:
        await tail.read()
    assert raised.value.tp == tail.failed == gone
    tail.leave(gone)
    assert await tail.read(50) == {}
    assert tail.failed is None


async def test_V1_a_partition_is_followed_beside_others_that_always_have_more(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = await filled_topic(cluster, 3, 3)
    producer = IdempotentProducer(cluster)
    for n in range(4):
        buffer = RecordBuffer(transactional=False)
        buffer.append(TopicPartition(topic, 0), b"k", b"v", n)
        buffer.append(TopicPartition(topic, 1), b"k", b"v", n)
        await producer.produce(buffer.take())
    monkeypatch.setattr(tails, "MAX_BYTES", 1)
    tail = Tail(cluster)
    for number in range(3):
        tail.follow(TopicPartition(topic, number), 0)
    first = [tp.partition for _ in range(3) for tp in await tail.read()]
    assert sorted(first) == [0, 1, 2], "the broker answers with one batch"


async def test_S10_who_was_not_answered_for_long_is_told_before_anything_is_given(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = await filled_topic(cluster, 1, 4)
    tp, late_ms = TopicPartition(topic, 0), 0
    monkeypatch.setattr(tails, "wall_ms", lambda: 1_000_000 + late_ms)
    tail = Tail(cluster)
    tail.follow(tp, 2)
    late_ms = SILENCE_MS
    for _ in range(2):
        with pytest.raises(LongSilence) as raised:
            await tail.read()
        assert (raised.value.tp, raised.value.silence_ms) == (tp, SILENCE_MS)
    tail.go_on(tp)
    assert [record.offset for record in (await tail.read())[tp][1]] == [2, 3]
    late_ms *= 2
    with pytest.raises(LongSilence):
        await tail.read(1)
    tail.follow(tp, 3)
    assert [record.offset for record in (await tail.read())[tp][1]] == [3]
