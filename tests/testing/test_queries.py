"""`app.query` in a test context: what a web page or a task of the app would see."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

import flowstream as fs
from flowstream import clock


class Shop:
    """Counts words, in tables of every kind; asks itself when it is told to."""

    def __init__(self, partitions: int = 3) -> None:
        self.app = app = fs.App("shop")
        self.words = app.topic("words", key_type=str, value_type=int, partitions=partitions)
        self.out = app.topic("out", key_type=str, value_type=int, partitions=1)
        self.totals = app.Table("totals", key_type=str, default=int, ordered=True)
        self.hours = app.Table("hours", key_type=str, default=int).tumbling(3600)
        self.seen = app.SetTable("seen", key_type=str, value_type=int)
        self.everywhere = app.GlobalTable("everywhere", key_type=str, default=int)

        @app.agent(self.words, sink=[self.out])
        async def add(stream: fs.Stream[int]) -> AsyncIterator[int]:
            async for word, number in stream.items():
                self.totals[word] += number
                self.hours[word] += number
                self.seen[word].add(number)
                self.everywhere[word] = number
                if number < 0:
                    yield await app.query(self.totals).get("ada") or 0


@pytest.mark.parametrize("workers", [1, 2])
async def test_what_is_sent_is_read_at_once(workers: int) -> None:
    shop = Shop()
    query = shop.app.query
    async with shop.app.test_context(workers=workers) as context:
        for key, value in (("ada", 1), ("bob", 2), ("eve", 4), ("ada", 8)):
            sent = await shop.words.send(key=key, value=value)
            assert await query("totals").get(key, after=sent) is not None
        assert await query(shop.totals).get("ada", max_staleness=1) == 9
        assert await query(shop.totals).get("nobody") is None
        assert await query(shop.totals).range("b") == [("bob", 2), ("eve", 4)]
        assert await query(shop.totals).range(prefix="a", limit=1) == [("ada", 9)]
        assert {k: v async for k, v in query(shop.totals).scan()} == {"ada": 9, "bob": 2, "eve": 4}
        assert await query(shop.seen).get("ada") == {1, 8}
        assert list((await query(shop.hours).get("ada") or {}).values()) == [9]
        assert await query(shop.everywhere).get("ada") == 8
        context.advance(60)
        assert await query(shop.totals).get("ada", max_staleness=1) == 9
        context.crash()
        assert await query(shop.totals).get("ada") == 9


def test_outside_of_any_loop_and_inside_an_agent() -> None:
    shop = Shop()
    with shop.app.test_context() as context:
        context.topic(shop.words).send(5, key="ada")
        assert context.run(shop.app.query(shop.totals).get("ada")) == 5
        context.topic(shop.words).send(-1, key="bob")
        assert context.topic(shop.out).values == [5]


@pytest.mark.parametrize("up_days", [0, 400])
async def test_a_watch_tells_of_each_change_and_does_not_wait_for_ever(
    up_days: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # For how long the machine has been up is nothing to a worker on virtual time.
    monkeypatch.setattr(clock, "_monotonic_ns", lambda: up_days * 86_400 * 10**9)
    shop = Shop()
    async with shop.app.test_context():
        changes = shop.app.query(shop.totals).watch("ada")
        assert await anext(changes) is None
        await shop.words.send(key="ada", value=3)
        assert await anext(changes) == 3
        await shop.words.send(key="ada", value=4)
        assert await anext(changes) == 7
        with pytest.raises(fs.QueryTimeout, match="nothing changes what is watched"):
            await anext(changes)
        await changes.aclose()


async def test_where_nobody_works_it_is_unavailable() -> None:
    shop = Shop()
    async with shop.app.test_context() as context:
        await shop.words.send(key="ada", value=3)
        context.crash(restart=False)
        with pytest.raises(fs.TableUnavailable, match="'shop' owns table 'totals'"):
            await shop.app.query(shop.totals).get("ada")
        with pytest.raises(fs.TableUnavailable, match="no worker of app 'shop' owns"):
            await anext(shop.app.query(shop.totals).watch("ada"))
        context.start()
        assert await shop.app.query(shop.totals).get("ada") == 3
    wrong: Any = "nothing"
    with pytest.raises(fs.AppError, match="has no table 'nothing'"):
        shop.app.query(wrong)
