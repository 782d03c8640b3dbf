"""Following several partitions at once."""

from __future__ import annotations

import pytest

from flowstream.transport.cluster import Cluster
from flowstream.transport.errors import OffsetOutOfRange
from flowstream.transport.tail import Tail
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
    assert raised.value.tp == gone
    tail.leave(gone)
    assert await tail.read(50) == {}
