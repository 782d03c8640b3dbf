"""`flowstream tables` shows what the operators of an agent keep, by the keys of its events."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

import flowstream as fs
from flowstream.processing.duties.places import all_tables
from flowstream.processing.tables.showing import all_shown, kind_of, rows_of
from flowstream.processing.tables.table_changes import change_row
from flowstream.processing.time.dues import PREFIX
from flowstream.testing.context import START_MS
from flowstream.testing.tables import raw_rows
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


class Order(msgspec.Struct, frozen=True):
    """Of a customer."""

    customer: str


def test_what_joins_changes_histories_and_crontabs_keep_is_shown_by_key() -> None:
    app = fs.App("shown")

    def table(name: str, kind: Any, **how: Any) -> fs.Table[str, Any]:
        topic = app.topic(name, key_type=str, value_type=kind, partitions=1)
        return app.table(topic, **how)

    orders, customers = table("orders", Order, history=100), table("customers", str)
    seats = app.Table("seats", key_type=tuple[str, int], ordered=True)
    by_customer = app.join(orders, customers, on=lambda order: order.customer, name="sold")
    for source in (by_customer, app.join(customers, orders, name="both"), seats.changes):

        @app.agent(source, name=source.name)
        async def told(stream: fs.Stream[Any]) -> None:
            async for _ in stream:
                pass

    @app.crontab("0 12 * * *", timezone="Europe/Berlin")
    async def noon() -> None:
        pass

    with app.test_context() as context:
        context.topic("orders").send(Order("bob"), key="o1", timestamp=5.0)
        context.topic("orders").send(Order("eve"), key="o1", timestamp=9.0)
        context.topic("customers").send("Eve", key="eve", timestamp=7.0)
        tables = all_tables(app)
        found = {
            name: [
                each.plain()
                for rows in raw_rows(context, name)
                for row, data in rows.items()
                for each in all_shown(kept, row, data, 0)
            ]
            for name, kept in tables.items()
        }
    assert found["orders-versions"] == [
        {"key": "o1", "value": {"customer": "bob"}, "at": 5.0},
        {"key": "o1", "value": {"customer": "eve"}, "at": 9.0},
    ]
    assert found["sold-told"] == [{"key": "o1", "value": None}]
    (link,) = found["sold-links"]
    version = link["value"].pop("version")
    assert link == {"key": "o1", "value": {"key": "eve", "is_answered": True, "right": "Eve"}}
    subscriber = {"left": "o1", "partition": 0, "version": version}
    assert found["sold-subscribers"] == [{"key": "eve", "value": subscriber}]
    (next_time,) = found["crontab"]
    assert (next_time["key"], next_time["value"]) == ("noon", "0 12 * * * Europe/Berlin")
    assert next_time["at"] > START_MS / 1000
    # What is not told yet stands there until it is.
    rows = {"seats": (seats.row_keys.encode(("blue", 7)), ("blue", 7)), "both": (b"eve", "eve")}
    for name, (row, key) in rows.items():
        changes = tables[f"{name}-changes"]
        (shown,) = all_shown(changes, PREFIX + row, change_row(2_500), 0)
        assert shown.plain() == {"key": key, "value": None, "at": 2.5}
        assert rows_of(changes, key).holds(PREFIX + row)
    kinds = {kind_of(each) for name, each in tables.items() if name not in app.tables}
    assert kinds == {"changes", "told", "links", "subscribers", "table", "crontabs"}


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


def test_what_stands_beside_windows_and_versions_is_shown_by_key() -> None:
    app = fs.App("beside")
    pays = app.topic("pays", key_type=str, value_type=Pay, partitions=1)
    names = app.topic("names", key_type=str, value_type=str, partitions=1)
    customers = app.table(names, name="customers", history=100)
    sums = app.Table("sums", default=int, key_type=str).tumbling(10, grace=60, expires=600)

    @app.agent(pays)
    async def add(stream: fs.Stream[Pay]) -> None:
        async for key, pay in stream.items():
            sums[key] += pay.amount

    @app.agent(sums.closed)
    async def closed(stream: fs.Stream[Any]) -> None:
        async for _ in stream:
            pass

    with app.test_context() as context:
        context.topic(pays).send(Pay(1), key="a@1", timestamp=12)
        context.topic(names).send("Ann", key="a", timestamp=5)
        context.topic(names).send(None, key="a", timestamp=7)
        found = {
            name: [
                each.plain()
                for rows in raw_rows(context, name)
                for row, data in rows.items()
                for each in all_shown(table, row, data, START_MS)
            ]
            for name, table in all_tables(app).items()
        }
    assert customers.name == "customers"
    assert found["sums-open"] == [row("a@1", None, 10, 20)]
    assert found["customers-gone"] == [{"key": "a", "value": None, "at": 107.0}]
    kinds = {name: kind_of(table) for name, table in all_tables(app).items()}
    assert (kinds["sums-open"], kinds["customers-gone"]) == ("open windows", "gone")
