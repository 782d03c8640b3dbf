"""Records whose own time is none, as of producers that write micro- or nanoseconds: where event
time says anything they are as records that cannot be read, and say nothing of time (S7, S11).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

import flowstream as fs
from flowstream.processing.events.event_time import FARTHEST_MS
from tests.processing.rig import Rig

NOW_MS = 1_700_000_000_000
TIMES = [NOW_MS * 1_000, NOW_MS * 1_000_000, FARTHEST_MS + 1]
IN_MICROSECONDS = NOW_MS * 1_000


def counting(on_error: fs.OnError, how: str) -> fs.App:
    """Counts events in windows of ten seconds, and tells each window when it has closed."""
    app = fs.App("times", retry_backoff=0.0001)
    words = app.topic("in", key_type=str, value_type=str, partitions=1)
    out = app.topic("out", key_type=str, value_type=str, partitions=1)
    table = app.Table("counts", default=int).tumbling(10, expires=3_600)
    seen = app.topic("seen", key_type=str, value_type=str, partitions=1)

    if how == "stream":

        @app.agent(words, sink=[out], on_error=on_error)
        async def count(stream: fs.Stream[str]) -> AsyncIterator[str]:
            async for window in stream.tumbling(10).count():
                yield f"{window.start - NOW_MS / 1000:g}:{window.value}"

        return app

    async def add(key: str, value: str) -> None:
        table[key] += 1
        at = table[key].current()
        await seen.send(key=key, value=f"{value}{at}")

    @app.agent(words, on_error=on_error)
    async def write(stream: fs.Stream[str]) -> None:
        if how == "items":
            async for key, value in stream.items():
                await add(key, value)
        elif how == "take":
            async for events in stream.take_events(3, within=0.001):
                for event in events:
                    await add(event.key, event.value)
        else:
            async for event in stream.events():
                await add(event.key, event.value)

    return app


async def run(app: fs.App, *events: tuple[str, int]) -> Rig:
    rig = Rig(app)
    await rig.open()
    for value, at_ms in events:
        rig.put("in", b"k", value.encode(), at_ms=at_ms)
    await settled(rig)
    return rig


async def settled(rig: Rig) -> None:
    """Until every input is dealt with, or the worker stops."""
    rig.deliver()
    for _ in range(1_000):
        await rig.settle()
        rig.commit()
        if rig.is_done or rig.failure is not None:
            break
        await asyncio.sleep(0.001)  # a list that waits for more
    await rig.settle()
    rig.commit()


@pytest.mark.parametrize("at_ms", TIMES)
@pytest.mark.parametrize("on_error", ["dead_letter", "skip", fs.retry(2, then="dead_letter")])
async def test_S7_S11_a_record_whose_time_is_none_closes_no_window(
    at_ms: int, on_error: fs.OnError
) -> None:
    """It closed every window, and made all that came after it late, for good."""
    app = counting(on_error, "stream")
    later = NOW_MS + 11_000
    rig = await run(app, ("a", NOW_MS), ("b", at_ms), ("c", NOW_MS + 1), ("d", later))
    assert rig.failure is None
    assert [value for _, value in rig.told("out")] == [b"0:2"]
    assert rig.counts.late == 0
    assert rig.is_done
    letters = [output for output in rig.log if output[0].topic == app.dead_letters]
    assert [value for _, _, value, _, _ in letters] == ([] if on_error == "skip" else [b"b"])
    for _, _, _, _, headers in letters:
        told = {name: text.decode() for name, text in headers}
        assert told["flowstream.timestamp"] == str(at_ms)
        assert "did its producer mean micro- or nanoseconds?" in told["flowstream.cause"]
    await rig.crash()


@pytest.mark.parametrize("how", ["events", "items", "take"])
async def test_S7_S11_windows_of_a_table_are_as_if_it_had_not_come(how: str) -> None:
    app = counting("dead_letter", how)
    rig = await run(
        app, ("a", NOW_MS), ("b", IN_MICROSECONDS), ("c", NOW_MS + 1), ("d", NOW_MS + 2),
        ("e", IN_MICROSECONDS),
    )  # fmt: skip
    assert rig.failure is None
    assert [value for _, value in rig.told("seen")] == [b"a1", b"c2", b"d3"]
    assert [value for _, value in rig.told(app.dead_letters)] == [b"b", b"e"]
    assert rig.is_done
    rig.put("in", b"k", b"f", at_ms=NOW_MS + 3)
    await settled(rig)
    assert [value for _, value in rig.told("seen")][-1] == b"f4"
    assert rig.counts.late == 0
    await rig.crash()


async def test_S11_a_list_that_fails_is_tried_again_without_it() -> None:
    app = fs.App("times", retry_backoff=0.0001)
    words = app.topic("in", key_type=str, value_type=str, partitions=1)
    app.Table("counts", default=int).tumbling(10, expires=3_600)
    lists: list[list[str]] = []

    @app.agent(words, on_error=fs.retry(2, then="dead_letter"))
    async def fail_once(stream: fs.Stream[str]) -> None:
        async for values in stream.take(3, within=0.001):
            lists.append(values)
            if len(lists) == 1:
                raise ValueError("once")

    rig = await run(app, ("a", NOW_MS), ("b", IN_MICROSECONDS), ("c", NOW_MS + 1))
    assert rig.failure is None
    assert lists == [["a", "c"], ["a", "c"]]
    assert [value for _, value in rig.told(app.dead_letters)] == [b"b"]
    await rig.crash()


async def test_S11_it_stops_the_worker_where_the_policy_says_so() -> None:
    rig = await run(counting("stop", "stream"), ("a", NOW_MS), ("b", IN_MICROSECONDS))
    told = str(rig.failure)
    assert isinstance(rig.failure, fs.AgentFailed)
    assert "offset 1" in told
    assert f"its timestamp, {IN_MICROSECONDS}, is no count of milliseconds since 1970" in told
    await rig.crash()


async def test_where_event_time_says_nothing_a_record_may_have_any() -> None:
    app = fs.App("times")
    words = app.topic("in", key_type=str, value_type=str, partitions=1)
    counts = app.Table("counts", default=int)
    seen: list[tuple[Any, float]] = []

    @app.agent(words)
    async def count(stream: fs.Stream[str]) -> None:
        async for event in stream.events():
            counts[event.value] += 1
            seen.append((event.value, event.timestamp))

    rig = await run(app, ("a", IN_MICROSECONDS))
    assert rig.failure is None
    assert seen == [("a", IN_MICROSECONDS / 1000)]
    await rig.crash()


@pytest.mark.parametrize("how", ["dedupe", "group_by", "join", "ttl", "concurrency"])
async def test_S7_S11_nothing_that_goes_by_event_time_takes_it(how: str) -> None:
    app = fs.App("times")
    words = app.topic("in", key_type=str, value_type=str, partitions=1)
    others = app.topic("others", key_type=str, value_type=str, partitions=1)
    out = app.topic("out", key_type=str, value_type=str, partitions=1)
    count = app.Table("counts", key_type=str, default=int, ttl=3_600)

    @app.agent(words, sink=[out], on_error="dead_letter", concurrency=2 if how[0] == "c" else 1)
    async def pass_on(stream: fs.Stream[str]) -> AsyncIterator[str]:
        if how == "dedupe":
            stream = stream.dedupe(60, by=lambda value: value)
        elif how == "group_by":
            async for window in (
                stream.group_by(lambda value: value[0], key_type=str).tumbling(10).count()
            ):
                yield f"{window.key}{window.value}"
            return
        elif how == "join":
            async for pair in stream.join(others, within=60):
                yield f"{pair.left}{pair.right}"
            return
        async for value in stream:
            count[value] += 1
            yield value

    rig = await run(app, ("a", NOW_MS), ("b", IN_MICROSECONDS), ("a", NOW_MS + 1))
    assert rig.failure is None
    assert [value for _, value in rig.told(app.dead_letters)] == [b"b"]
    await rig.crash()
