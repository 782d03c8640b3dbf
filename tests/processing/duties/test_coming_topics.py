"""Topics that come and go under a worker that reads them by a pattern."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

import flowstream as fs
from flowstream.processing.duties import provision
from flowstream.transport.types import NewTopic, TopicPartition
from tests.processing.conftest import Kit


@pytest.fixture(autouse=True)
def look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provision, "LOOK_EVERY_S", 0.05)


class Counting:
    """Counts the values of every topic that matches, and tells where they were read."""

    def __init__(self, kit: Kit, name: str, *, has_table: bool = True, where: str = "") -> None:
        self.app = kit.app(name, transaction_timeout=2, data_dir=kit.directory / f"{name}{where}")
        self.orders = self.app.topic(pattern=f"{name}-o-.*", key_type=str, value_type=str)
        out = self.app.topic(f"{name}-o-out", key_type=str, value_type=str, partitions=1)
        counts = self.app.Table("counts", default=int) if has_table else None
        self.first: dict[str, int] = {}

        @self.app.agent(self.orders, sink=[out])
        async def count(stream: fs.Stream[str]) -> AsyncIterator[str]:
            async for event in stream.events():
                self.first.setdefault(event.topic, event.offset)
                number = 0
                if counts is not None:
                    counts[event.key] += 1
                    number = counts[event.key]
                yield f"{event.topic} {event.message.topic} {event.value} {number}"


async def fill(
    kit: Kit, app: fs.App, topic: str, *words: str, partitions: int = 1, into: int = 0
) -> None:
    if topic not in await kit.admin.topics([topic]):
        await kit.admin.create_topics([NewTopic(topic, partitions)])
    sender = app.topic(f"{topic}-x", key_type=str, value_type=str)
    del app.topics[sender.name]
    for word in words:
        await sender._send(sender.outgoing("k", word, into, None, ())._replace(topic=topic))


async def results(kit: Kit, name: str, number: int) -> list[str]:
    await kit.until(kit.count(f"{name}-o-out", number))
    return [value.decode() for value in await kit.values(f"{name}-o-out")]


async def test_G3_a_topic_that_comes_is_read_from_its_first_record(
    kit: Kit, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "flowstream.worker")
    counting = Counting(kit, name)
    a, b = f"{name}-o-a", f"{name}-o-b"
    async with kit.running(counting.app) as worker:
        await kit.sees(lambda: worker.tasks == ["0/1"])
        waits = f"'count' waits for a topic that matches /{name}-o-.*/, and the app with it: table"
        assert waits in caplog.text
        assert worker.warnings() == [], "it waits, and nothing is wrong"
        await fill(kit, counting.app, a, "one", "two")
        assert await results(kit, name, 2) == [f"{a} {a} one 1", f"{a} {a} two 2"]
        await fill(kit, counting.app, f"not-{b}", "never")
        await fill(kit, counting.app, b, "three", "four")
        assert (await results(kit, name, 4))[2:] == [f"{b} {b} three 3", f"{b} {b} four 4"]
        assert counting.first == {a: 0, b: 0}
    assert f"topics are other than they were ({b} 1): joining anew" in caplog.text
    committed = await kit.admin.committed(name, [TopicPartition(b, 0)])
    assert committed[TopicPartition(b, 0)] is not None


async def test_V2_an_agent_that_is_held_up_by_one_that_waits_is_a_warning(
    kit: Kit, name: str
) -> None:
    counting = Counting(kit, name)
    words = counting.app.topic(f"{name}-in", value_type=str, partitions=2)

    @counting.app.agent(words)
    async def other(stream: fs.Stream[str]) -> None:
        async for _ in stream:
            pass

    async with kit.running(counting.app) as worker:
        await kit.sees(lambda: worker.tasks == ["0/1"])
        (warning,) = worker.warnings()
        assert warning.startswith("agent 'other' reads nothing: agent 'count' waits for a topic")
        await fill(kit, counting.app, f"{name}-o-a", "one", partitions=2)
        assert await results(kit, name, 1) == [f"{name}-o-a {name}-o-a one 1"]
        assert worker.warnings() == []


async def test_V2_a_topic_that_goes_is_read_no_more_and_the_others_are(
    kit: Kit, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "flowstream.worker")
    counting = Counting(kit, name)
    a, b = f"{name}-o-a", f"{name}-o-b"
    await fill(kit, counting.app, a, "one")
    await fill(kit, counting.app, b)
    async with kit.running(counting.app) as worker:
        await results(kit, name, 1)
        assert worker.plan is not None
        assert worker.plan.sources.keys() == {a, b}
        await kit.admin.delete_topics([a])
        await kit.sees(lambda: worker.plan is not None and worker.plan.sources.keys() == {b})
        await kit.sees(lambda: worker.tasks == ["0/1"])
        c = f"{name}-o-c"
        await fill(kit, counting.app, c, "two")
        assert (await results(kit, name, 2))[1:] == [f"{c} {c} two 2"], "the table goes on"
        # Made again under its name it is a new topic: from its first record on.
        await fill(kit, counting.app, a, "three")
        assert (await results(kit, name, 3))[2:] == [f"{a} {a} three 3"]
    assert f"topics are other than they were (no {a}): joining anew" in caplog.text


async def test_V2_the_last_topic_goes_and_another_comes(kit: Kit, name: str) -> None:
    counting = Counting(kit, name, has_table=False)
    a, b = f"{name}-o-a", f"{name}-o-b"
    await fill(kit, counting.app, a, "one")
    async with kit.running(counting.app) as worker:
        await results(kit, name, 1)
        await kit.admin.delete_topics([a])
        await kit.sees(
            lambda: worker.plan is not None and set(worker.plan.sources) == {f"{name}-leader"}
        )
        await fill(kit, counting.app, b, "two", partitions=3)
        assert (await results(kit, name, 2))[1:] == [f"{b} {b} two 0"]


async def test_G3_a_table_whose_only_input_is_deleted_is_not_filled_by_another_silently(
    kit: Kit, name: str
) -> None:
    """Nobody can tell it from a group that has expired."""
    counting = Counting(kit, name)
    a, b = f"{name}-o-a", f"{name}-o-b"
    await fill(kit, counting.app, a, "one")
    worker = fs.Worker(counting.app, kit.address)
    running = asyncio.create_task(worker.run())
    await results(kit, name, 1)
    await kit.admin.delete_topics([a])
    await kit.sees(lambda: worker.plan is not None and bool(worker.plan.held_by))
    await fill(kit, counting.app, b, "two")
    with pytest.raises(fs.StateLost, match=f"committed offsets of {b}-0 are gone"):
        await asyncio.wait_for(running, 30)


async def test_G3_a_partition_that_is_new_goes_on_with_the_table_of_one_that_was_deleted(
    kit: Kit, name: str
) -> None:
    """The group has offsets of the other partition: it has not expired."""
    counting = Counting(kit, name)
    a, b = f"{name}-o-a", f"{name}-o-b"
    for number in range(2):
        await fill(kit, counting.app, a, "one", partitions=2, into=number)
    async with kit.running(counting.app) as worker:
        await results(kit, name, 2)
        await fill(kit, counting.app, b, "two", partitions=2, into=1)
        await results(kit, name, 3)
        await kit.admin.delete_topics([a])
        await kit.sees(lambda: worker.plan is not None and worker.plan.sources.keys() == {b})
        await fill(kit, counting.app, b, "three", into=0)
        assert (await results(kit, name, 4))[3:] == [f"{b} {b} three 2"], "the row was kept"


async def test_S8_a_topic_with_other_partitions_stops_an_app_with_a_table(
    kit: Kit, name: str
) -> None:
    counting = Counting(kit, name)
    await fill(kit, counting.app, f"{name}-o-a", "one")
    worker = fs.Worker(counting.app, kit.address)
    running = asyncio.create_task(worker.run())
    await results(kit, name, 1)
    await fill(kit, counting.app, f"{name}-o-b", "two", partitions=2)
    with pytest.raises(fs.PartitionMismatch, match=r"table 'counts' must say partitions=N.* 1, 2"):
        await asyncio.wait_for(running, 30)


async def test_G7_all_workers_take_up_a_topic_that_comes(kit: Kit, name: str) -> None:
    crew = [Counting(kit, name, where=f"-{number}") for number in range(2)]
    await fill(kit, crew[0].app, f"{name}-o-a", partitions=2)
    async with kit.running(crew[0].app) as first, kit.running(crew[1].app) as second:
        await kit.sees(lambda: sorted(first.tasks + second.tasks) == ["0/2", "1/2"])
        await fill(kit, crew[0].app, f"{name}-o-b", "one", partitions=2)
        await results(kit, name, 1)
        await kit.sees(lambda: len(first.tasks) == len(second.tasks) == 1)
        plans = [worker.plan for worker in (first, second)]
        assert all(plan is not None and f"{name}-o-b" in plan.sources for plan in plans)


async def test_G7_a_worker_takes_up_at_once_what_another_has_come_to_read(
    kit: Kit, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until then it has nothing of the topics that both read."""
    monkeypatch.setattr(provision, "LOOK_EVERY_S", 1_000)
    crew = [Counting(kit, name, where=f"-{number}") for number in range(2)]
    await fill(kit, crew[0].app, f"{name}-o-a", partitions=2)
    async with kit.running(crew[0].app) as first, kit.running(crew[1].app) as second:
        await kit.sees(lambda: len(first.tasks) == len(second.tasks) == 1)
        await fill(kit, crew[0].app, f"{name}-o-b", partitions=2)
        first.outgrown()
        await kit.sees(lambda: second.plan is not None and f"{name}-o-b" in second.plan.sources)
        await kit.sees(lambda: len(first.tasks) == len(second.tasks) == 1)


async def test_an_app_without_patterns_does_not_ask_for_all_topics(
    kit: Kit, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = kit.app(name)
    words = app.topic(f"{name}-in", value_type=str, partitions=1)

    @app.agent(words)
    async def read(stream: fs.Stream[str]) -> None:
        async for _ in stream:
            pass

    worker = fs.Worker(app, kit.address)
    asked: list[object] = []
    topics = worker.admin.topics

    async def ask(names: object = None, **options: object) -> object:
        if worker.tasks:
            asked.append(names)
        return await topics(names, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(worker.admin, "topics", ask)
    async with worker.running():
        await kit.sees(lambda: len(asked) > 3)
    assert [names for names in asked if names is None] == []
