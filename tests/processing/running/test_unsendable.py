"""S9, S11: what a topic would refuse, because of its size or its time, fails the unit that sends it
as a whole, and where the agent's policy can deal with it.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import pytest

import flowstream as fs
from flowstream.clock import wall_ms
from flowstream.processing.time.marks import mark_of
from flowstream.processing.units.outputs import NO_TIME, UNLIMITED_MS, OutputTopic
from flowstream.transport.types import NewTopic
from tests.processing.conftest import Kit
from tests.processing.rig import Rig

HOUR_MS = 3_600_000


async def test_S9_a_handler_whose_headers_a_topic_does_not_take_fails_the_unit_as_a_whole() -> None:
    app = fs.App("unsendable")
    words = app.topic("words", key_type=str, value_type=str, partitions=1)
    out = app.topic("out", key_type=str, value_type=str, partitions=1)
    counts = app.Table("counts", default=int)

    @app.on_produce_message.connect
    def stamp(app: fs.App, value: Any, headers: list[Any], **_: Any) -> None:
        headers.append(("stamp", bytes(2_000_000 if value == b"x" else 1)))

    @app.agent(words, on_error="skip")
    async def count(stream: fs.Stream[str]) -> None:
        async for word in stream:
            counts["n"] += 1
            await out.send(value=f"before {word}")
            await out.send(value=word)

    rig = Rig(app)
    await rig.open()
    for word in (b"a", b"x", b"b"):
        rig.put("words", b"k", word)
    rig.deliver()
    await rig.settle()
    rig.commit()
    assert rig.failure is None
    assert rig.counts.skipped == 1
    assert rig.stores[counts.name].get(b"n") == b"2"
    assert [value for _, value in rig.told("out")] == [b"before a", b"a", b"before b", b"b"]
    await rig.crash()


def test_a_topic_takes_the_times_that_its_settings_say() -> None:
    now = 1_000_000_000_000
    free = OutputTopic("t", 1)
    assert free.takes_time(UNLIMITED_MS, now)
    assert free.until_ms == UNLIMITED_MS
    assert free.takes_time(-UNLIMITED_MS, now)
    topic = OutputTopic("t", 1, ahead_ms=HOUR_MS)
    assert topic.takes_time(now + HOUR_MS, now)
    assert not topic.takes_time(now + HOUR_MS + 1, now)
    assert topic.until_ms == now + HOUR_MS
    with pytest.raises(fs.FlowstreamError, match=r"message\.timestamp\.after\.max\.ms"):
        topic.check_time(now + HOUR_MS + 1, now)
    topic.check_time(now + HOUR_MS + 1, now + 1)
    assert [free.near(at, now) for at in (-UNLIMITED_MS, 5, now + 1)] == [0, 5, now]
    bound = OutputTopic("t", 1, ahead_ms=HOUR_MS, behind_ms=HOUR_MS)
    near = [bound.near(at, now) for at in (-UNLIMITED_MS, now - HOUR_MS, now - 1, now + 1)]
    assert near == [now - HOUR_MS // 2, now - HOUR_MS // 2, now - 1, now]
    assert bound.takes_time(now - HOUR_MS, now)
    assert bound.until_ms < 0, "each is looked at"
    assert bound.takes_time(NO_TIME, now)
    with pytest.raises(fs.FlowstreamError, match=r"message\.timestamp\.before\.max\.ms"):
        bound.check_time(now - HOUR_MS - 1, now)


def dated(kit: Kit, name: str, how: str, **options: Any) -> tuple[fs.App, Any, Any]:
    """An app that passes events on in one of the ways there are, by their own time."""
    app = kit.app(name)
    events: fs.Topic[str, dict[str, Any]] = app.topic(
        f"{name}-in", key_type=str, value_type=dict[str, Any], partitions=1, timestamp="at"
    )
    out: fs.Topic[str, dict[str, Any]] = app.topic(
        f"{name}-out", key_type=str, value_type=dict[str, Any], partitions=1
    )
    other = app.topic(f"{name}-other", key_type=bytes, value_type=dict[str, Any], partitions=1)
    sinks = {"yield": [out], "other": [other]}

    @app.agent(events, sink=sinks.get(how, []), **options)
    async def on(stream: fs.Stream[Any]) -> AsyncIterator[Any]:
        if how == "group":
            stream = stream.group_by(lambda event: str(event["n"]), key_type=str)
        async for event in stream:
            if how in ("yield", "other"):
                yield event
            else:
                await out.send(value=event)

    return app, events, other if how == "other" else out


@pytest.mark.parametrize("how", ["yield", "other", "send", "group"])
async def test_S11_V2_an_event_of_a_day_to_come_is_a_dead_letter_and_stops_nobody(
    kit: Kit, name: str, how: str
) -> None:
    app, events, out = dated(kit, name, how, on_error="dead_letter")
    await kit.create(app)
    for number, ahead_s in enumerate((0, 7200, 0)):
        await events.send(key="k", value={"n": number, "at": wall_ms() / 1000 + ahead_s})
    await kit.run_until(app, kit.count(out.name, 2))
    assert len(await kit.values(out.name)) == 2
    (letter,) = await kit.records(app.dead_letters)
    told = dict(letter.headers)
    assert told["flowstream.error"] == b"RecordMistimed"
    assert int(told["flowstream.timestamp"] or 0) > wall_ms() + HOUR_MS
    assert letter.timestamp <= wall_ms(), "the topic of dead letters takes it"


async def test_V2_a_topic_with_times_of_its_own_takes_events_of_any_time(
    kit: Kit, name: str
) -> None:
    app, events, out = dated(kit, name, "yield")
    out.config["message.timestamp.type"] = "LogAppendTime"
    await kit.create(app)
    await events.send(key="k", value={"n": 0, "at": wall_ms() / 1000 + 7200})
    await kit.run_until(app, kit.count(out.name, 1))


async def test_S11_V2_a_time_that_is_too_old_as_it_commits_fails_its_event(
    kit: Kit, name: str
) -> None:
    """It was right as it was sent; the refusal ended the worker, and no policy was asked."""
    app, events, out = dated(kit, name, "yield", on_error="dead_letter")
    app.change_settings(dataclasses.replace(app.settings, commit_interval=2.0))
    out.config["message.timestamp.before.max.ms"] = "1500"
    await kit.create(app)
    await events.send(key="k", value={"n": 0, "at": wall_ms() / 1000})
    await kit.run_until(app, kit.count(app.dead_letters, 1))
    (letter,) = await kit.records(app.dead_letters)
    assert dict(letter.headers)["flowstream.error"] == b"RecordMistimed"
    assert await kit.values(out.name) == []


async def test_V2_by_default_an_event_of_a_day_to_come_stops_the_worker_by_its_offset(
    kit: Kit, name: str
) -> None:
    app, events, _ = dated(kit, name, "yield")
    await kit.create(app)
    await events.send(key="k", value={"n": 0, "at": wall_ms() / 1000 + 7200})
    with pytest.raises(fs.AgentFailed, match=r"offset 0: RecordMistimed: .*after\.max\.ms"):
        await asyncio.wait_for(fs.Worker(app, kit.address).run(), 30)


async def test_S11_a_time_that_no_topic_believes_moves_no_watermark(kit: Kit, name: str) -> None:
    app = kit.app(name)
    events: fs.Topic[str, dict[str, Any]] = app.topic(
        f"{name}-in", key_type=str, value_type=dict[str, Any], partitions=1, timestamp="at"
    )
    out = app.topic(f"{name}-out", value_type=int, partitions=1)

    @app.agent(events, sink=[out], on_error="skip")
    async def once(stream: fs.Stream[Any]) -> AsyncIterator[int]:
        async for event in stream.dedupe(60):
            yield event["n"]

    async def send(key: str, number: int, ahead_s: float) -> None:
        await events.send(key=key, value={"n": number, "at": wall_ms() / 1000 + ahead_s})

    await kit.create(app)
    async with kit.running(app) as worker:
        await send("a", 0, 0)
        await send("b", 1, 7200)
        await kit.until(kit.committed(app, events.name, 2))
        await send("a", 2, 0)
        await send("c", 3, 0)
        await kit.until(kit.committed(app, events.name, 4))
    assert await kit.values(out.name) == [b"0", b"3"], "what was seen is not forgotten"
    assert worker.counts.skipped == 1


async def test_V2_a_watermark_of_a_day_to_come_is_marked_now(kit: Kit, name: str) -> None:
    app = kit.app(name)
    events: fs.Topic[str, dict[str, Any]] = app.topic(
        f"{name}-in", key_type=str, value_type=dict[str, Any], partitions=1, timestamp="at"
    )

    @app.agent(events)
    async def count(stream: fs.Stream[Any]) -> None:
        today = stream.filter(lambda event: event["n"] != 1)
        keyed = today.group_by(lambda event: str(event["n"]), key_type=str, name="n")
        async for _ in keyed.tumbling(10).count():
            pass

    await kit.create(app)
    for number, ahead_s in enumerate((0, 7200, 0)):
        await events.send(key="k", value={"n": number, "at": wall_ms() / 1000 + ahead_s})

    later_ms = wall_ms() + HOUR_MS

    async def is_marked() -> bool:
        marks = [mark_of(record) for record in await kit.records(f"{name}-n-repartition")]
        return any(mark is not None and mark[1].at_ms > later_ms for mark in marks)

    await kit.run_until(app, is_marked)


async def test_V2_a_watermark_from_before_what_a_topic_takes_is_marked_near_that(
    kit: Kit, name: str
) -> None:
    """The broker refused the mark, and with it every commit: the worker ended by that."""
    app = kit.app(name)
    events: fs.Topic[str, int] = app.topic(
        f"{name}-in", key_type=str, value_type=int, partitions=1, out_of_orderness=7200
    )
    between = f"{name}-n-repartition"
    bound = {"message.timestamp.before.max.ms": str(HOUR_MS)}
    await kit.admin.create_topics([NewTopic(between, 1, 1, bound)])

    @app.agent(events)
    async def count(stream: fs.Stream[int]) -> None:
        keyed = stream.group_by(str, key_type=str, name="n")
        async for _ in keyed.tumbling(10).count():
            pass

    await kit.create(app)
    await events.send(key="k", value=1)

    async def is_marked() -> bool:
        marks = [mark_of(record) for record in await kit.records(between)]
        return any(
            mark is not None and abs(mark[1].at_ms + 2 * HOUR_MS - wall_ms()) < HOUR_MS
            for mark in marks
        )

    await kit.run_until(app, is_marked)
