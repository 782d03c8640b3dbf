"""`on_window_close=` of a table, as in Faust: called with each window that closes, once."""

from __future__ import annotations

from typing import Any

import pytest

import flowstream as fs
from flowstream.processing.errors import AppError
from flowstream.testing import Input, assert_exactly_once
from tests.processing.conftest import Kit


class Counting:
    """An app that counts per key and window, and tells a function what closes."""

    def __init__(self, app: fs.App, prefix: str, function: Any, *span: Any, **more: Any) -> None:
        self.app = app
        self.clicks = app.topic(f"{prefix}-clicks", key_type=str, value_type=int, partitions=1)
        self.results = app.topic(f"{prefix}-results", key_type=str, value_type=str, partitions=1)

        def told(key: Any, value: Any) -> Any:
            return function(self.results, key, value)

        counts = app.Table("counts", default=int, on_window_close=told).tumbling(*span, **more)
        self.counts = counts

        @app.agent(self.clicks)
        async def count(stream: fs.Stream[int]) -> None:
            async for key, number in stream.items():
                counts[key] += number

    async def fill(self, *events: tuple[str, float]) -> None:
        for key, at in events:
            await self.clicks.send(key=key, value=1, timestamp=at)


def shown(key: Any, value: Any) -> str:
    name, window = key
    assert (window.start, window.end) == window
    return f"{name} {window[0]:g}-{window[1]:g}: {value}"


def plain(results: Any, key: Any, value: Any) -> None:
    results.send_soon(key=key[0], value=shown(key, value))


async def awaiting(results: Any, key: Any, value: Any) -> None:
    await results.send(key=key[0], value=shown(key, value))


@pytest.mark.parametrize("function", [plain, awaiting])
async def test_S12_it_is_called_once_by_whichever_worker_is_there(
    kit: Kit, name: str, function: Any
) -> None:
    for life in (1, 2):
        counting = Counting(kit.app(name), name, function, 10, 5)
        await kit.create(counting.app)
        async with kit.running(counting.app) as worker:
            if life == 1:
                await counting.fill(("a", 1.0), ("b", 2.0), ("a", 9.0), ("a", 14.0), ("a", 8.0))
                await kit.until(kit.committed(counting.app, counting.clicks.name, 5))
                assert await kit.values(counting.results.name) == []
                await counting.fill(("a", 15.0))
            else:
                await counting.fill(("a", 3.0), ("a", 40.0))
            await kit.until(kit.count(counting.results.name, life + 1))
            assert worker.counts.late == life - 1
    assert await kit.values(counting.results.name) == [
        b"a 0-10: 3", b"b 0-10: 1", b"a 10-20: 2",
    ]  # fmt: skip


async def test_S9_a_window_whose_function_fails_is_told_when_it_does_not(
    kit: Kit, name: str
) -> None:
    fails = [True]

    def failing(results: Any, key: Any, value: Any) -> None:
        plain(results, key, value)
        if fails.pop() if fails else False:
            raise ValueError("no")

    counting = Counting(kit.app(name), name, failing, 10, 0.001)
    await kit.create(counting.app)
    await counting.fill(("a", 1.0), ("a", 11.0))
    with pytest.raises(fs.AgentFailed, match=r"counts\.on_window_close.*ValueError: no"):
        await fs.Worker(counting.app, kit.address).run()
    assert await kit.values(counting.results.name) == []
    again = Counting(kit.app(name), name, failing, 10, 0.001)
    async with kit.running(again.app):
        await kit.until(kit.count(again.results.name, 1))
    assert await kit.values(again.results.name) == [b"a 0-10: 1"]


def test_with_grace_a_window_is_told_before_it_is_gone() -> None:
    told: list[str] = []

    def tell(results: Any, key: Any, value: Any) -> None:
        told.append(shown(key, value))

    counting = Counting(fs.App("kept"), "kept", tell, 10, 100, grace=2)
    with counting.app.test_context() as context:
        clicks = context.topic(counting.clicks)
        clicks.send(1, key="a", timestamp=1.0)
        clicks.send(1, key="a", timestamp=12.0)
        assert told == ["a 0-10: 1"]
        assert [start for _, start in context.table(counting.counts)] == [0.0, 10.0]
        clicks.send(1, key="a", timestamp=200.0)
        assert [start for _, start in context.table(counting.counts)] == [200.0]
    assert told == ["a 0-10: 1", "a 10-20: 1"]


def test_hopping_windows_are_told_one_by_one() -> None:
    told: list[str] = []
    app = fs.App("hopping")
    table = app.Table("t", default=list, on_window_close=lambda k, v: told.append(shown(k, v)))
    hopping = table.hopping(6, 3, 1)
    topic = app.topic("in", value_type=int, partitions=1)

    @app.agent(topic)
    async def keep(stream: fs.Stream[int]) -> None:
        async for number in stream:
            values = hopping["events"].value()
            values.append(number)
            hopping["events"] = values

    with app.test_context() as context:
        for second in range(11):
            context.topic(topic).send(second, timestamp=float(second))
    # As in Faust: the value of the newest window goes into all that hold the event.
    assert told == ["events -3-3: [0, 1, 2]", "events 0-6: [3, 4, 5]", "events 3-9: [6, 7, 8]"]


def test_a_function_that_would_never_be_called_is_refused() -> None:
    app = fs.App("never")
    table = app.Table("counts", default=int, on_window_close=print)
    with pytest.raises(AppError, match="never called where no window closes: say expires="):
        table.tumbling(10)

    @app.agent(app.topic("in", value_type=int, partitions=1))
    async def read(stream: fs.Stream[int]) -> None:
        async for _ in stream:
            pass

    with pytest.raises(AppError, match="has on_window_close= and no windows"):
        app.test_context().__enter__()


async def yields(key: Any, value: Any) -> Any:
    yield key


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (3, "on_window_close is a function, not 3"),
        (lambda key: key, "on_window_close is called with a key and its window, and a value"),
        (yields, "what on_window_close yields would go nowhere"),
    ],
)
def test_what_cannot_be_called_is_refused(function: Any, message: str) -> None:
    with pytest.raises(AppError, match=f"table 'counts': {message}"):
        fs.App("never").Table("counts", default=int, on_window_close=function)


def test_windows_are_always_walked() -> None:
    table = fs.App("walked").Table("counts", default=int)
    with pytest.raises(AppError, match="key_index cannot be turned off"):
        table.tumbling(10, key_index=False)
    assert table.hopping(10, 5, None, key_index=True).name == "counts"


class Price(fs.Record):
    """What a window lists."""

    date: float
    amount: float


def test_S7_S12_killed_anywhere_each_window_is_told_once() -> None:
    app = fs.App("killed")
    prices = app.topic("prices", key_type=str, value_type=Price, partitions=1)
    out = app.topic("out", key_type=str, value_type=str, partitions=1)
    told = app.Table("told", default=int)
    windows: set[float] = set()

    async def closed(key: Any, listed: list[Price]) -> None:
        name, window = key
        windows.add(window.start)
        told[name] += sum(price.amount for price in listed)
        await out.send(key=name, value=f"{window.start:g}: {len(listed)} of {told[name]}")

    lists = (
        app.Table("lists", default=list, value_type=list[Price], on_window_close=closed)
        .tumbling(10, expires=1)
        .relative_to_field(Price.date)
    )

    @app.agent(prices)
    async def keep(stream: fs.Stream[Price]) -> None:
        async for key, price in stream.items():
            listed = lists[key].value()
            listed.append(price)
            lists[key] = listed

    ats = [(k, at) for at in (1.0, 4.0, 9.0, 12.0, 8.0, 25.0, 21.0, 60.0) for k in "ab"]
    inputs: list[Any] = [Input(prices, Price(date=at, amount=at / 2), k) for k, at in ats]
    report = assert_exactly_once(app, [*inputs, 10.0], most_runs=40)
    assert report.crashes == 40
    assert windows == {0.0, 10.0, 20.0}
