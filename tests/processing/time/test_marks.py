"""Watermarks across a repartition topic: partitions read at different speeds are not late."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

import flowstream as fs
from flowstream.processing.events.event import Retimed
from flowstream.processing.running.kept_time import newest
from flowstream.processing.time.marks import (
    Mark,
    Marker,
    Marks,
    decode_marks,
    mark_headers,
    mark_of,
)
from flowstream.processing.time.watermarks import UNKNOWN
from tests.processing.conftest import Kit


class Line(msgspec.Struct, frozen=True):
    start: float
    count: int


def counting(kit: Kit, name: str, **settings: Any) -> tuple[fs.App, Any, Any]:
    app = kit.app(name, source_idle=settings.pop("source_idle", 30.0), **settings)
    hits = app.topic(f"{name}-hits", key_type=str, value_type=str, partitions=3)
    out = app.topic(f"{name}-out", key_type=str, value_type=Line, partitions=1)

    @app.agent(hits, sink=[out])
    async def count(stream: fs.Stream[str]) -> Any:
        async for window in stream.group_by(str, key_type=str).tumbling(10).count():
            yield Line(window.start, window.value)

    return app, hits, out


async def counts(kit: Kit, topic: str) -> dict[float, int]:
    lines = [msgspec.json.decode(v or b"", type=Line) for v in await kit.values(topic)]
    assert len({line.start for line in lines}) == len(lines), "each window is told once"
    return {line.start: line.count for line in lines}


async def test_S12_partitions_read_one_after_the_other_are_not_late(kit: Kit, name: str) -> None:
    app, hits, out = counting(kit, name)
    await kit.create(app)
    for partition in range(3):
        for second in range(101):
            at = float(second)
            await hits.send(key="k", value="page", partition=partition, timestamp=at)
    async with kit.running(app) as worker:
        await kit.until(kit.count(out.name, 10))
        assert worker.counts.late == 0
    assert await counts(kit, out.name) == {start * 10.0: 30 for start in range(10)}
    app, hits, out = counting(kit, name)
    async with kit.running(app) as worker:
        for partition in range(3):
            await hits.send(key="k", value="page", partition=partition, timestamp=105.0 + partition)
        for partition in range(2):
            await hits.send(key="k", value="page", partition=partition, timestamp=130.0)
        await kit.until(kit.committed(app, hits.name, 3 * 102 + 2))
        assert len(await counts(kit, out.name)) == 10, "partition 2 holds it back"
        await hits.send(key="k", value="page", partition=2, timestamp=131.0)
        await kit.until(kit.count(out.name, 11))
        assert worker.counts.late == 0
    assert (await counts(kit, out.name))[100.0] == 6


async def test_every_agent_that_re_keys_a_topic_has_its_marks(kit: Kit, name: str) -> None:
    app, hits, out = counting(kit, name)
    other = app.topic(f"{name}-other", key_type=str, value_type=Line, partitions=1)

    @app.agent(hits, sink=[other])
    async def again(stream: fs.Stream[str]) -> Any:
        async for window in stream.group_by(str, key_type=str).tumbling(10).count():
            yield Line(window.start, window.value)

    await kit.create(app)
    async with kit.running(app):
        for partition in range(3):
            for second in (1.0, 15.0):
                await hits.send(key="k", value="page", partition=partition, timestamp=second)
        for topic in (out, other):
            await kit.until(kit.count(topic.name, 1))
            assert await counts(kit, topic.name) == {0.0: 3}


async def test_a_partition_that_brings_nothing_holds_nobody_back_for_long(
    kit: Kit, name: str
) -> None:
    app, hits, out = counting(kit, name, source_idle=0.3)
    await kit.create(app)
    async with kit.running(app):
        for second in (1.0, 2.0, 15.0):
            await hits.send(key="k", value="page", partition=0, timestamp=second)
        await kit.until(kit.count(out.name, 1))
    assert await counts(kit, out.name) == {0.0: 2}


def at(ms: int, *, idle: bool = False) -> Mark:
    return Mark(ms, idle)


def test_marks_are_the_least_of_all_that_are_expected() -> None:
    marks = Marks(["a/0", "a/1"], {"a/0": at(5), "gone/0": at(1)})
    assert marks.bound == at(UNKNOWN)
    assert not marks.changed
    assert marks.put("a/1", at(9))
    assert marks.bound == at(5)
    assert not marks.put("b/0", at(1))
    marks.put("a/0", at(3))
    assert marks.bound == at(5), "a mark never falls"
    marks.put("a/0", at(5, idle=True))
    assert marks.bound == at(9)
    marks.put("a/1", at(9, idle=True))
    assert marks.bound == at(9, idle=True)
    marks.put("a/0", at(7))
    assert marks.bound == at(7)
    assert decode_marks(marks.encode()) == {"a/0": at(7), "a/1": at(9, idle=True)}


def test_a_source_marks_when_something_changed_and_not_too_often() -> None:
    marker = Marker("a/0")
    assert marker.due(at(UNKNOWN), now_ms=0) is None
    assert marker.due(at(10), now_ms=0) == at(10)
    assert marker.due(at(20), now_ms=100) is None
    assert marker.due(at(20), now_ms=300) == at(20)
    assert marker.due(at(20), now_ms=900) is None
    assert marker.due(at(20, idle=True), now_ms=900) == at(20, idle=True)
    assert marker.due(at(20, idle=True), now_ms=1900) is None
    assert marker.due(at(20), now_ms=2900) == at(20)


@pytest.mark.parametrize(
    ("value", "headers", "expected"),
    [
        (None, mark_headers("a/0", Mark(-7, True)), ("a/0", Mark(-7, True))),
        (None, (), None),
        (b"x", mark_headers("a/0", Mark(7, False)), None),
        (None, (("flowstream.watermark", b"\xff"),), None),
        (None, (("flowstream.watermark", None),), None),
        (None, (("other", b"1 idle a/0"),), None),
        (None, (("flowstream.watermark", b"9" * 5000 + b" idle a/0"),), None),
        (None, mark_headers("a/0", Mark(UNKNOWN, False)), ("a/0", Mark(UNKNOWN, False))),
    ],
)
def test_only_a_record_that_is_nothing_else_is_a_mark(
    value: Any, headers: Any, expected: Any
) -> None:
    assert mark_of(Retimed("t", 0, 0, 0, None, value, headers)) == expected


def test_S7_what_was_marked_last_counts_whichever_table_keeps_it() -> None:
    """An app that was changed keeps its marks in another table than before."""
    before, now = (
        {"a/0": Mark(5, idle=False), "a/1": Mark(9, idle=True)},
        {"a/0": Mark(7, idle=True)},
    )
    wanted = {"a/0": Mark(7, idle=True), "a/1": Mark(9, idle=True)}
    assert newest([before, now]) == newest([now, before]) == wanted
    assert newest([{}, {}]) == {}
