"""Whose event time counts for a table that agents write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import flowstream as fs

LIVE_S = 1_900_000_000.0
"""A time by which all windows of the test have long closed."""


class Shop:
    """Orders of the past are counted per window; `kind` is what else reads a topic of today."""

    def __init__(self, kind: str) -> None:
        self.app = app = fs.App("shop", source_idle=5)
        self.orders = app.topic("orders", key_type=str, value_type=int, partitions=1)
        self.live = app.topic("live", key_type=str, value_type=str, partitions=1)
        self.counts = app.Table("counts", default=int).tumbling(60, grace=0, expires=600)
        counts = self.counts

        @app.agent(self.orders)
        async def count(stream: fs.Stream[int]) -> None:
            async for key, number in stream.items():
                counts[key] += number

        @app.agent(counts.closed)
        async def over(stream: fs.Stream[Any]) -> None:
            async for _ in stream:
                pass

        getattr(self, kind)()

    def looked_up(self) -> None:
        customers = self.app.table(self.live)

        @self.app.agent(self.orders)
        async def look(stream: fs.Stream[int]) -> None:
            async for _ in stream.join(customers, how="left"):
                pass

    def stored(self) -> None:
        @self.app.outbox(self.live, to=fs.SQLite("unused.db"))
        def store(db: Any, events: list[fs.Event[str]]) -> None:
            pass

    def told(self) -> None:
        @self.app.agent(self.app.table(self.live).changes)
        async def changed(stream: fs.Stream[Any]) -> None:
            async for _ in stream:
                pass

    def read(self) -> None:
        @self.app.agent(self.live)
        async def read(stream: fs.Stream[str]) -> None:
            async for _ in stream:
                pass

    def number_of_orders(self) -> Any:
        """In the first minute, where the second one came while the topic of orders was idle."""
        with self.app.test_context() as context:
            context.topic(self.live).send("Ada", key="ada", timestamp=LIVE_S)
            context.topic(self.orders).send(1, key="ada", timestamp=0)
            context.advance(30)
            context.topic(self.orders).send(1, key="ada", timestamp=20)
            return context.table(self.counts)["ada", 0.0]


@pytest.mark.parametrize("kind", ["looked_up", "stored"])
def test_S11_what_only_fills_a_table_of_a_topic_or_a_database_makes_no_event_late(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert Shop(kind).number_of_orders() == 2


@pytest.mark.parametrize("kind", ["told", "read"])
def test_S11_S12_what_may_write_the_table_moves_its_time_on_and_late_events_are_told(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert Shop(kind).number_of_orders() == 1
    lines = [line.getMessage() for line in caplog.records if "too late" in line.getMessage()]
    assert lines == [
        "agent 'count' on orders-0: an event of 1970-01-01T00:00:20.000Z came too late for a row of"
        " 'counts', whose time was over"
    ]


def test_S11_late_events_are_told_of_for_each_table_and_the_rest_of_them_at_the_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = fs.App("tables")
    words = app.topic("words", key_type=str, value_type=str, partitions=1)
    short = app.Table("short", default=int).tumbling(10, expires=10)
    long = app.Table("long", default=int).tumbling(60, expires=60)

    @app.agent(words)
    async def count(stream: fs.Stream[str]) -> None:
        async for key, _ in stream.items():
            short[key] += 1
            long[key] += 1

    with app.test_context() as context:
        for at in (1_000, 900, 500, 501, 502):
            context.topic(words).send("x", key="k", timestamp=at)
    lines = [
        line.split(" came too late for a row of ") for line in caplog.messages if "late" in line
    ]
    assert [(at[-10:-1], table.removesuffix(", whose time was over")) for at, table in lines] == [
        ("15:00.000", "'short'"), ("08:20.000", "'long'"),
        ("08:22.000", "'short', whose time was over (and 2 more before it)"),
        ("08:22.000", "'long', whose time was over (and 1 more before it)"),
    ]  # fmt: skip
