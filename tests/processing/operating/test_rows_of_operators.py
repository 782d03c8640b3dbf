"""`flowstream tables` shows what the operators of an agent keep, by the keys of its events."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

import flowstream as fs
from tests.processing.conftest import Kit
from tests.processing.operating.verbs import Verbs


class Pay(msgspec.Struct, frozen=True):
    """A payment."""

    amount: int


EVENTS = (("a", 1, 1.0), ("a@1", 2, 2.0), ("b", 4, 3.0), ("a", 8, 12.0))


def second(at: int) -> str:
    return f"1970-01-01T00:00:{at:02d}.000Z"


def row(key: str, value: Any, start: int, end: int) -> dict[str, Any]:
    return {
        "key": key, "value": value, "window": float(start),
        "start": second(start), "end": second(end),
    }  # fmt: skip


async def verbs_of(
    kit: Kit,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    operator: Callable[[fs.App, fs.Stream[Pay]], Any],
    **how: Any,
) -> Verbs:
    """The verbs of an app that has run over EVENTS with an operator on their stream."""
    app = kit.app(name)
    pays = app.topic(f"{name}-pays", key_type=str, value_type=Pay, partitions=1)
    app.topic(f"{name}-other", key_type=str, value_type=Pay, partitions=1)

    @app.agent(pays, **how)
    async def report(stream: fs.Stream[Pay]) -> None:
        async for _ in operator(app, stream):
            pass

    await kit.create(app)
    async with kit.running(app):
        for key, amount, at in EVENTS:
            await pays.send(key=key, value=Pay(amount), timestamp=at)
        await kit.until(kit.committed(app, pays.name, len(EVENTS)))
    return Verbs(app, monkeypatch)


@pytest.mark.parametrize(
    ("windows", "rows"),
    [
        (
            lambda _, s: s.tumbling(10, grace=60).sum("amount"),
            [row("a", 1, 0, 10), row("a", 8, 10, 20), row("a@1", 2, 0, 10), row("b", 4, 0, 10)],
        ),
        (
            lambda _, s: s.session(5, grace=60).count(),
            [row("a", 1, 1, 6), row("a", 1, 12, 17), row("a@1", 1, 2, 7), row("b", 1, 3, 8)],
        ),
    ],
)
async def test_open_windows_are_shown_with_key_span_and_result(
    kit: Kit, name: str, monkeypatch: pytest.MonkeyPatch, windows: Any, rows: list[Any]
) -> None:
    verbs = await verbs_of(kit, name, monkeypatch, windows)

    def by_place(each: dict[str, Any]) -> Any:
        return each["key"], each["start"]

    assert sorted(await verbs.lines("scan", "report-windows"), key=by_place) == rows
    assert sorted(await verbs.lines("export", "report-windows"), key=by_place) == rows
    assert await verbs.lines("get", "report-windows", "a") == rows[:2]
    assert await verbs.lines("get", "report-windows", "a@1") == rows[2:3]
    assert await verbs.lines("scan", "report-windows", "--prefix", "b") == rows[3:]
    assert await verbs.lines("scan", "report-windows", "--start", "b") == rows[3:]
    assert len(await verbs.lines("scan", "report-windows", "-n", "3")) == 3
    listed = json.loads((await verbs.call("tables", "list", "--json")).stdout)
    assert [each["kind"] for each in listed] == ["windows"]


async def test_sliding_windows_that_are_not_told_yet_are_shown(
    kit: Kit, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    verbs = await verbs_of(kit, name, monkeypatch, lambda _, s: s.sliding(20, grace=60).count())
    found = await verbs.lines("get", "report-windows", "a")
    assert [(each["value"], each["end"]) for each in found] == [
        (1, "1970-01-01T00:00:01.001Z"), (2, "1970-01-01T00:00:12.001Z"),
    ]  # fmt: skip
    # It starts before 1970, which has no date there.
    assert [each["start"] for each in found] == [None, None]


async def test_what_dedupe_a_join_and_parking_keep_is_shown_by_key(
    kit: Kit, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = await verbs_of(kit, name, monkeypatch, lambda _, s: s.dedupe(within=100))
    assert await seen.lines("get", "report-seen", "b") == [{"key": "b", "value": None, "at": 3.0}]

    def joined(app: fs.App, stream: fs.Stream[Pay]) -> Any:
        other = app.topics[f"{name}2-other"]
        return stream.join(other, within=100)

    join = await verbs_of(kit, f"{name}2", monkeypatch, joined)
    assert await join.lines("get", "report-join", "a") == [
        {"key": "a", "value": {"left": {"amount": 1}, "met": False}, "at": 1.0},
        {"key": "a", "value": {"left": {"amount": 8}, "met": False}, "at": 12.0},
    ]
    assert len(await join.lines("scan", "report-join")) == 4
    refused = await join.call("tables", "scan", "report-join", "--start", "a")
    assert (refused.exit_code, "not in the order of its keys" in refused.stderr) == (1, True)

    async def failing(stream: fs.Stream[Pay]) -> Any:
        async for each in stream:
            if each.amount == 4:
                raise ValueError("no")
            yield each

    parked = await verbs_of(
        kit, f"{name}3", monkeypatch, lambda _, s: failing(s), on_error=fs.park(backoff=1_000)
    )
    (lot,) = await parked.lines("scan", "report-parked")
    assert (lot["key"], lot["value"]["value"], lot["value"]["offset"]) == ("b", {"amount": 4}, 2)
    assert lot["value"]["failures"] == 1


async def test_an_event_that_stays_parked_is_told_with_the_date_of_its_next_try(
    kit: Kit, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    clock = [1_000_000]
    app = kit.app(name)
    pays = app.topic(f"{name}-pays", key_type=str, value_type=Pay, partitions=1)

    @app.agent(pays, on_error=fs.park(backoff=10))
    async def work(stream: fs.Stream[Pay]) -> None:
        async for _ in stream:
            raise ValueError("no")

    await kit.create(app)
    async with kit.running(app, clock=lambda: clock[0]) as worker:
        await pays.send(key="a", value=Pay(1))
        await kit.sees(lambda: worker.counts.parked == 1)
        clock[0] += 10_000
        await kit.sees(lambda: worker.counts.retried == 1)
    assert (
        "key b'a' due at 1970-01-01T00:16:50.000Z stays parked (2): ValueError: no" in caplog.text
    )
