"""Windows of a stream in an agent: results once final, changes, intervals, sessions, re-keying."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

import flowstream as fs
from flowstream.processing.errors import AppError
from tests.processing.conftest import Kit


class Pay(msgspec.Struct, frozen=True):
    """A payment."""

    card: str
    amount: float


class Line(msgspec.Struct, frozen=True):
    """A result as a test reads it."""

    key: str
    start: float
    value: Any
    final: bool


def app_with(
    kit: Kit, name: str, windows: Callable[[fs.Stream[Pay]], Any], **how: Any
) -> tuple[fs.App, Any, Any]:
    """An app that sends what its windows tell to a topic."""
    app = kit.app(name)
    pays = app.topic(f"{name}-pays", key_type=str, value_type=Pay, partitions=1)
    lines = app.topic(f"{name}-lines", key_type=str, value_type=Line, partitions=1)

    @app.agent(pays, sink=[lines], **how)
    async def report(stream: fs.Stream[Pay]) -> Any:
        async for window in windows(stream):
            yield Line(window.key, window.start, window.value, window.is_final)

    return app, pays, lines


async def run(kit: Kit, made: tuple[fs.App, Any, Any], events: list[Any], least: int) -> list[Any]:
    """What is told of events (key, at) or (key, at, card), then of one at the end of time."""
    app, pays, lines = made
    await kit.create(app)
    async with kit.running(app):
        for key, at, *card in [*events, ("end", 1_000.0)]:
            value = Pay(card[0] if card else key, at)
            await pays.send(key=key, value=value, timestamp=at)
        await kit.until(kit.count(lines.name, least))
        await kit.until(kit.committed(app, pays.name, len(events) + 1))
    found = [msgspec.json.decode(v or b"", type=Line) for v in await kit.values(lines.name)]
    return [(line.key, line.start, line.value) for line in found if line.key != "end"]


EVENTS = [("a", 1.0), ("b", 2.0), ("a", 9.0), ("a", 12.0), ("b", 31.0)]


async def test_S12_tumbling_windows_are_told_once_final(kit: Kit, name: str) -> None:
    made = app_with(kit, name, lambda stream: stream.tumbling(10).sum("amount"))
    assert await run(kit, made, EVENTS, 4) == [
        ("a", 0.0, 10.0), ("b", 0.0, 2.0), ("a", 10.0, 12.0), ("b", 30.0, 31.0),
    ]  # fmt: skip


async def test_changes_are_told_as_they_come_and_leave_nothing(kit: Kit, name: str) -> None:
    made = app_with(kit, name, lambda s: s.hopping(10, 5, emit="on_change").count())
    assert await run(kit, made, [("a", 1.0), ("a", 6.0)], 6) == [
        ("a", -5.0, 1), ("a", 0.0, 1), ("a", 0.0, 2), ("a", 5.0, 1),
    ]  # fmt: skip
    rows = {r.key: r.value for r in await kit.records(made[0].changelog("report-windows"))}
    kept = [key for key, value in rows.items() if value and not (key or b"").startswith(b"@")]
    assert sorted(kept) == [b"end@0000000000995000", b"end@0000000001000000"]


async def test_intervals_tell_what_has_changed_and_the_final_result(kit: Kit, name: str) -> None:
    made = app_with(kit, name, lambda s: s.tumbling(100, emit=10).count())
    events = [("a", 1.0), ("a", 2.0), ("b", 11.0), ("b", 12.0), ("b", 31.0), ("b", 32.0)]
    lines = made[2]
    told = await run(kit, made, events, 5)
    found = [msgspec.json.decode(v or b"", type=Line) for v in await kit.values(lines.name)]
    assert [line.final for line in found].count(True) == 2
    assert told[-2:] == [("a", 0.0, 2), ("b", 0.0, 4)]
    assert ("a", 0.0, 2) in told[:-2]
    assert len(told) < 8


async def test_sessions_merge_and_close(kit: Kit, name: str) -> None:
    made = app_with(
        kit, name, lambda s: s.session(10, grace=5).aggregate(n=fs.Count(), top=fs.Max("amount"))
    )
    events = [("a", 1.0), ("a", 15.0), ("b", 15.5), ("a", 8.0), ("a", 40.0)]
    assert await run(kit, made, events, 3) == [
        ("a", 1.0, {"n": 3, "top": 15.0}),
        ("b", 15.5, {"n": 1, "top": 15.5}),
        ("a", 40.0, {"n": 1, "top": 40.0}),
    ]


async def test_sliding_windows_see_events_that_came_out_of_order(kit: Kit, name: str) -> None:
    made = app_with(kit, name, lambda s: s.sliding(10, grace=20).count())
    events = [("a", 1.0), ("a", 12.0), ("a", 5.0), ("a", 30.0)]
    told = await run(kit, made, events, 4)
    assert [(start, value) for _, start, value in told] == [
        (-8.999, 1), (-4.999, 2), (2.001, 2), (20.001, 1),
    ]  # fmt: skip


async def test_windows_behind_group_by_and_filter(kit: Kit, name: str) -> None:
    made = app_with(
        kit, name,
        lambda s: s.filter(lambda pay: pay.amount != 2.0)
        .group_by(lambda pay: pay.card, key_type=str)
        .tumbling(10)
        .collect("amount"),
    )  # fmt: skip
    events = [("a", 1.0, "x"), ("b", 2.0, "x"), ("c", 3.0, "x"), ("a", 4.0, "y"), ("a", 11.0, "z")]
    assert await run(kit, made, events, 3) == [
        ("x", 0.0, [1.0, 3.0]), ("y", 0.0, [4.0]), ("z", 10.0, [11.0]),
    ]  # fmt: skip


async def test_S11_an_event_without_a_key_follows_the_policy(kit: Kit, name: str) -> None:
    app, pays, _ = app_with(kit, name, lambda s: s.tumbling(10).count(), on_error="dead_letter")
    await kit.create(app)
    async with kit.running(app):
        await pays.send(value=Pay("x", 1.0), timestamp=1.0)
        await kit.until(kit.count(app.dead_letters, 1))
    (dead,) = await kit.records(app.dead_letters)
    assert b"group_by one" in (dict(dead.headers)["flowstream.cause"] or b"")


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda s: s.take(2, 1).tumbling(10).count(), "windows comes first"),
        (lambda s: s.tumbling(0).count(), "at least one millisecond"),
        (lambda s: s.tumbling(10, emit="never").count(), "emit= is"),
        (lambda s: s.session(10, emit=5).count(), "tumbling and hopping"),
        (lambda s: s.session(0).count(), "a session's gap"),
        (lambda s: s.tumbling(10, late="update").count(), "for windows of a stream"),
        (lambda s: s.tumbling(10).aggregate(), "at least one aggregate"),
        (lambda s: s.group_by("card").take(1, 1).group_by("card"), "comes first"),
    ],
)
async def test_windows_that_cannot_be_are_refused(use: Any, message: str) -> None:
    app = fs.App("x")
    pays = app.topic("pays", value_type=Pay)

    @app.agent(pays)
    async def agent(stream: fs.Stream[Pay]) -> None:
        async for _ in use(stream):
            pass

    with pytest.raises((AppError, ValueError), match=message):
        await agent.probe()
