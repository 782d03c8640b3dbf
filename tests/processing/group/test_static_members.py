"""Static members that are back with other topics than they left with: the group answers with the
share of before, and what is new or gone is shared anew all the same (G7, V2)."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest

import flowstream as fs
from flowstream.processing.group.placing import Orders
from flowstream.transport.partitions import create_partitions
from flowstream.transport.types import NewTopic
from tests.processing.conftest import Kit

Seen = list[tuple[str, int, int]]


def reading(kit: Kit, name: str, instance: str, topics: Collection[str], seen: Seen) -> fs.App:
    """An app with an agent per topic, which notes topic, partition and value."""
    app = kit.app(
        name, data_dir=kit.directory / instance, group_instance_id=instance, session_timeout=25.0
    )
    for topic in topics:

        async def note(stream: fs.Stream[Any]) -> None:
            async for event in stream.events():
                seen.append((event.topic, event.partition, event.value))

        app.agent(app.topic(f"{name}-{topic}", value_type=int), name=f"note-{topic}")(note)
    return app


async def filled(kit: Kit, name: str, topic: str, partitions: int, value: int) -> Seen:
    """An event in each partition, and how it is noted."""
    sender = kit.app(f"{name}-sender").topic(f"{name}-{topic}", value_type=int)
    for number in range(partitions):
        await sender.send(value=value, partition=number)
    return [(sender.name, number, value) for number in range(partitions)]


async def test_G7_a_topic_that_grows_under_a_static_worker_is_read_whole(
    kit: Kit, name: str
) -> None:
    await kit.admin.create_topics([NewTopic(f"{name}-a", 1)])
    seen: Seen = []
    async with kit.running(reading(kit, name, "one", ["a"], seen)):
        wanted = await filled(kit, name, "a", 1, 1)
        await kit.sees(lambda: seen == wanted)
        await create_partitions(kit.cluster, f"{name}-a", 3)
        wanted += await filled(kit, name, "a", 3, 2)
        await kit.sees(lambda: sorted(seen) == sorted(wanted))


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("partitions_of_b", [1, 2])
@pytest.mark.parametrize(("before", "after"), [("a", "ab"), ("ab", "a")])
async def test_G7_V2_a_static_worker_is_back_with_other_topics(
    kit: Kit, name: str, before: str, after: str, partitions_of_b: int, alone: bool
) -> None:
    """As the leader of its group and as a follower; what it no longer reads is not its affair. A
    topic may belong to tasks that it has already, which begin anew with it.
    """
    counts = {"a": 2, "b": partitions_of_b}
    await kit.admin.create_topics([NewTopic(f"{name}-{t}", n) for t, n in counts.items()])
    seen: Seen = []

    async def deploy() -> None:
        async with kit.running(reading(kit, name, "one", before, seen)):
            wanted = [each for t in before for each in await filled(kit, name, t, counts[t], 1)]
            await kit.sees(lambda: sorted(seen) == sorted(wanted))
        async with kit.running(reading(kit, name, "one", after, seen)) as worker:
            wanted += [each for t in after for each in await filled(kit, name, t, counts[t], 2)]
            await kit.sees(lambda: sorted(seen) == sorted(wanted))
            assert worker.counts.aborts == 0

    if alone:
        await deploy()
        return
    leader = reading(kit, name, "leader", before, seen)
    async with kit.running(leader) as there:
        await kit.sees(lambda: there.membership is not None and there.membership.is_ready)
        await deploy()


def test_G7_what_a_share_leaves_out_is_noticed() -> None:
    """More partitions, and a topic more; not fewer, and not what an older leader leaves out."""
    orders = Orders(topics={"a": 2})
    assert orders.cover({"a": 2})
    assert orders.cover({"a": 1}), "this member will find out that it grew"
    assert not orders.cover({"a": 3})
    assert not orders.cover({"a": 2, "b": 1})
    assert Orders().cover({"a": 3})
