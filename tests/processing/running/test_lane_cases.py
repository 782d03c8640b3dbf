"""Instances side by side on one partition, case by case: order, conflicts, policies, sensors."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import flowstream as fs
from flowstream.processing.events.event import Retimed
from flowstream.processing.units.dispatching import Dispatcher
from flowstream.transport.admin import Admin
from flowstream.transport.reader import PartitionReader
from flowstream.transport.types import TopicPartition
from tests.processing.rig import Rig


async def test_the_contiguous_prefix_commits_while_a_slow_event_runs() -> None:
    app = fs.App("prefix")
    inputs = app.topic("in", key_type=str, value_type=str, partitions=1)
    out = app.topic("out", key_type=str, value_type=str, partitions=1)
    gate = asyncio.Event()

    @app.agent(inputs, sink=[out], concurrency=3, order="key")
    async def work(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for value in stream:
            if value == "slow":
                await gate.wait()
            yield value

    rig = Rig(app)
    await rig.open()
    for key, value in (("a", "1"), ("b", "slow"), ("c", "2"), ("a", "3"), ("b", "4"), ("c", "5")):
        rig.put("in", key.encode(), value.encode())
    rig.deliver()
    await rig.settle()
    rig.commit()
    assert [value for _, value in rig.told("out")] == [b"1"]
    gate.set()
    await rig.settle()
    rig.commit()
    assert [value for _, value in rig.told("out")] == [b"1", b"2", b"3", b"5", b"slow", b"4"]
    assert rig.is_done
    await rig.crash()


async def test_a_unit_whose_rows_others_keep_changing_runs_alone_in_the_end() -> None:
    app = fs.App("alone")
    inputs = app.topic("in", key_type=str, value_type=int, partitions=1)
    totals = app.Table("totals", key_type=str, value_type=int, default=int)

    @app.agent(inputs, concurrency=8, order="key")
    async def work(stream: fs.Stream[int]) -> None:
        async for pauses in stream:
            total = totals["all"]
            for _ in range(pauses):
                await asyncio.sleep(0)
            totals["all"] = total + 1

    rig = Rig(app)
    await rig.open()
    for n in range(200):
        rig.put("in", b"k%d" % n, b"%d" % (40 if n == 0 else n % 3))
    rig.deliver()
    for _ in range(40):
        await rig.settle()
        rig.commit()
    assert rig.is_done
    assert rig.rows("totals") == [(b"all", b"200")]
    assert rig.counts.conflicts > 3
    await rig.crash()


async def test_rows_that_another_agent_keeps_changing_fail_the_unit() -> None:
    app = fs.App("contested")
    slow = app.topic("slow", key_type=str, value_type=str, partitions=1)
    quick = app.topic("quick", key_type=str, value_type=str, partitions=1)
    totals = app.Table("totals", key_type=str, value_type=int, default=int)
    waiting: list[asyncio.Future[None]] = []

    @app.agent(slow, concurrency=2)
    async def work(stream: fs.Stream[str]) -> None:
        async for _ in stream:
            total = totals["all"]
            waiting.append(asyncio.get_running_loop().create_future())
            await waiting[-1]
            totals["all"] = total + 1

    @app.agent(quick)
    async def count(stream: fs.Stream[str]) -> None:
        async for _ in stream:
            totals["all"] += 1

    rig = Rig(app)
    await rig.open()
    rig.put("slow", b"a", b"x")
    rig.deliver()
    for _ in range(30):
        await rig.settle()
        if rig.failure is not None:
            break
        rig.put("quick", b"b", b"y")
        rig.deliver()
        await rig.settle()
        waiting.pop().set_result(None)
    assert isinstance(rig.failure, fs.AgentFailed)
    assert "other agents changed rows" in str(rig.failure)
    await rig.crash()


async def test_S7_a_parked_key_waits_and_the_lanes_go_on() -> None:
    app = fs.App("parked")
    inputs = app.topic("in", key_type=str, value_type=str, partitions=1)
    out = app.topic("out", key_type=str, value_type=str, partitions=1)
    bad = {"a1"}

    @app.agent(inputs, sink=[out], concurrency=3, order="key", on_error=fs.park(backoff=60))
    async def work(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for value in stream:
            await asyncio.sleep(0)
            if value in bad:
                raise ValueError(value)
            yield value

    rig = Rig(app)
    await rig.open()
    for value in ("a1", "a2", "b1", "c1", "a3", "b2"):
        rig.put("in", value[:1].encode(), value.encode())
    rig.deliver()
    await rig.settle()
    rig.commit()
    assert sorted(v or b"" for _, v in rig.told("out")) == [b"b1", b"b2", b"c1"]
    assert rig.is_done
    bad.clear()
    rig.clock_ms = 61_000
    rig.deliver()
    await rig.settle()
    rig.commit()
    assert [v for k, v in rig.told("out") if k == b"a"] == [b"a1", b"a2", b"a3"]
    await rig.crash()


async def test_S7_a_take_that_fails_is_parked_whole_and_locks_nobody_out() -> None:
    app = fs.App("parked")
    inputs = app.topic("in", key_type=str, value_type=str, partitions=1)
    out = app.topic("out", key_type=str, value_type=str, partitions=1)
    bad = {"a1"}

    @app.agent(inputs, sink=[out], concurrency=2, order="key", on_error=fs.park(backoff=60))
    async def work(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for events in stream.take_events(3, within=0.0):
            await asyncio.sleep(0)
            for event in events:
                if event.value in bad:
                    raise ValueError(event.value)
            for event in events:
                yield event.value

    rig = Rig(app)
    await rig.open()
    for value in ("a1", "b1", "c1", "d1", "a2", "b2", "e1", "a3"):
        rig.put("in", value[:1].encode(), value.encode())
    rig.deliver()
    await rig.settle()
    rig.commit()
    assert rig.is_done, "what is parked holds no offset back"
    told = {(value or b"").decode() for _, value in rig.told("out")}
    assert told == {"d1", "e1"}, "the others waited behind the keys of the take"
    assert rig.counts.parked == 6
    lanes = rig.task._lanes["in"]
    assert (lanes._queue._behind, [lane._locked for lane in lanes.lanes]) == ({}, [set(), set()])
    # A key that waits ends a take, and is locked by nobody after that.
    for value in ("f1", "a4", "f2"):
        rig.put("in", value[:1].encode(), value.encode())
    rig.deliver()
    await rig.settle()
    rig.commit()
    assert rig.is_done
    assert (lanes._queue._behind, [lane._locked for lane in lanes.lanes]) == ({}, [set(), set()])
    bad.clear()
    rig.clock_ms = 61_000
    rig.deliver()
    await rig.settle()
    rig.commit()
    found = [(value or b"").decode() for _, value in rig.told("out")]
    assert sorted(found) == sorted(
        ["a1", "b1", "c1", "d1", "a2", "b2", "e1", "a3", "f1", "a4", "f2"]
    )
    for key in "abf":
        told_of = [value for value in found if value.startswith(key)]
        assert told_of == sorted(told_of)
    await rig.crash()


async def test_S7_a_parked_event_that_lanes_misled_is_done_again() -> None:
    """It has an event time of its own, and others change the row that it has read."""
    app = fs.App("parked")
    inputs = app.topic("in", key_type=str, value_type=dict, partitions=1, timestamp="at")
    totals = app.Table("totals", key_type=str, value_type=int, default=int)
    fails, gate = [True], asyncio.Event()

    @app.agent(inputs, concurrency=2, order="key", on_error=fs.park(backoff=60))
    async def work(stream: fs.Stream[dict[str, int]]) -> None:
        async for event in stream.events():
            total = totals["all"]
            if event.key == "a":
                if fails[0]:
                    raise ValueError("not yet")
                await gate.wait()
            totals["all"] = total + event.value["n"]

    rig = Rig(app)
    await rig.open()
    rig.put("in", b"a", b'{"n": 1, "at": 5}')
    rig.deliver()
    await rig.settle()
    rig.commit()
    fails[0] = False
    rig.clock_ms = 61_000
    rig.deliver()
    await rig.settle()
    rig.put("in", b"b", b'{"n": 10, "at": 6}')
    rig.put("in", b"a", b'{"n": 100, "at": 7}')
    rig.deliver()
    await rig.settle()
    gate.set()
    await rig.settle()
    rig.deliver()
    await rig.settle()
    rig.commit()
    assert rig.is_done
    assert rig.rows("totals") == [(b"all", b"111")]
    assert rig.counts.conflicts == 1
    await rig.crash()


async def test_S11_a_take_that_is_passed_over_is_done_with_and_answers_each_once() -> None:
    for concurrency in (1, 2):
        app = fs.App("asked")
        inputs = app.topic("in", key_type=str, value_type=str, partitions=1)

        @app.agent(inputs, concurrency=concurrency, on_error="skip")
        async def work(stream: fs.Stream[str]) -> AsyncIterator[str]:
            async for values in stream.take(3, within=1.0):
                raise ValueError(",".join(sorted(values)))
                yield ""

        async def ask(work: Any = work) -> list[Any]:
            asked = (work.ask(value, key=value) for value in "abc")
            return await asyncio.gather(*asked, return_exceptions=True)

        with app.test_context() as context:
            replies = context.run(ask())
            assert [type(reply) for reply in replies] == [fs.ReplyFailed] * 3
            topic = TopicPartition(app.replies, 0)
            ends = context._on_loop(Admin(context.cluster).end_offsets([topic], committed=True))
            found = context._on_loop(
                all_of(PartitionReader(context.cluster, topic, 0), ends[topic])
            )
            assert found == 3, "one reply for each"
            done = context._on_loop(Admin(context.cluster).group_offsets(app.id))
            assert done == {TopicPartition("in", 0): 3}


async def all_of(reader: PartitionReader, end: int) -> int:
    """How many records there are."""
    found = 0
    while reader.position < end:
        found += len(await reader.read(10))
    return found


async def test_everything_fails_in_all_lanes_together() -> None:
    app = fs.App("circuit", circuit_breaker=5, retry_backoff=0.0001)
    inputs = app.topic("in", key_type=str, value_type=str, partitions=1)
    is_down = [True]

    @app.agent(inputs, concurrency=4, on_error="skip")
    async def work(stream: fs.Stream[str]) -> None:
        async for value in stream:
            await asyncio.sleep(0)
            if is_down[0]:
                raise ValueError(value)

    rig = Rig(app)
    await rig.open()
    for n in range(40):
        rig.put("in", b"k%d" % n, b"v")
    rig.deliver()
    await rig.settle()
    assert rig.counts.skipped == 5
    is_down[0] = False
    async with asyncio.timeout(30):
        while not rig.is_done:
            await asyncio.sleep(0.001)
            rig.commit()
    assert rig.counts.skipped == 5
    await rig.crash()


def record(key: bytes | None, offset: int) -> Retimed:
    return Retimed("t", 0, offset, 0, key, b"", ())


def test_a_key_has_one_lane_and_keeps_its_order() -> None:
    queue = Dispatcher(by_key=True)
    queue.feed([record(key, n) for n, key in enumerate([b"a", b"a", b"b", None, b"a", None])])
    assert [r.offset for r in iter(queue.next, None)] == [0, 2, 3, 5]
    assert len(queue) == 2
    queue.let_go([b"b"])
    assert queue.next() is None
    queue.let_go([b"a"])
    assert queue.turns == 1
    taken = queue.next()
    assert taken is not None
    assert taken.offset == 1
    more = queue.next({b"a"})
    assert more is not None
    assert more.offset == 4
    queue.let_go([b"a"])
    assert queue.next() is None
    assert len(queue) == 0


class Counting(fs.Sensor):
    """Counts what is told of events."""

    def __init__(self) -> None:
        self.told: Counter[str] = Counter()

    def on_stream_event_in(self, tp: Any, offset: int, stream: Any, event: Any) -> Any:
        self.told["in"] += 1

    def on_message_out(self, tp: Any, offset: int, message: Any) -> None:
        self.told[f"out {offset}"] += 1


async def test_sensors_hear_of_each_event_that_is_done_once() -> None:
    app = fs.App("sensed")
    inputs = app.topic("in", key_type=str, value_type=int, partitions=1)
    totals = app.Table("totals", key_type=str, value_type=int, default=int)
    sensor = Counting()
    app.sensors.add(sensor)

    @app.agent(inputs, concurrency=3)
    async def work(stream: fs.Stream[int]) -> None:
        async for pauses in stream:
            total = totals["all"]
            for _ in range(pauses):
                await asyncio.sleep(0)
            totals["all"] = total + 1

    rig = Rig(app)
    await rig.open()
    for n in range(20):
        rig.put("in", b"k", b"%d" % (n % 4))
    rig.deliver()
    assert rig.task.waiting("in") == (20, 0)
    await rig.settle()
    await rig.settle()
    rig.commit()
    assert rig.is_done
    assert rig.rows("totals") == [(b"all", b"20")]
    assert rig.counts.conflicts > 0
    begun = sensor.told.pop("in")
    assert begun == 20 + rig.counts.conflicts
    assert list(sensor.told.values()) == [1] * 20
    await rig.crash()
