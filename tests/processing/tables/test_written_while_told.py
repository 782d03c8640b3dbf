"""Rows that are written while they are told are told again, whatever an earlier life has counted:
a new process, or another worker that goes on with the rows, counts from the beginning (S12).
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Any

import pytest

import flowstream as fs
from flowstream.processing.tables import table_changes, windowed_tables
from tests.processing.rig import Rig

ENDS_MS = 1_000_000


@pytest.fixture
def reborn(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Have it count as a new process does."""

    def begin() -> None:
        for module in (table_changes, windowed_tables):
            monkeypatch.setattr(module, "_COUNTER", itertools.count())

    return begin


class Telling:
    """An app whose one agent fills a table, and whose other one is told and waits."""

    def __init__(self) -> None:
        self.app = fs.App("told")
        self.source, self.out = (
            self.app.topic(name, key_type=str, value_type=str, partitions=1)
            for name in ("in", "out")
        )
        self.may_end = asyncio.Event()

    async def tell(self, stream: fs.Stream[Any]) -> AsyncIterator[str]:
        async for each in stream:
            await self.may_end.wait()
            yield str(getattr(each, "value", each))

    async def told(self, *lives: list[tuple[bytes, bytes, int]], reborn: Any) -> list[bytes | None]:
        """What is told in the end, the process being another one after each of these."""
        rig = Rig(self.app)
        for number, records in enumerate(lives):
            if number:
                rig.commit()
                await rig.crash()
            reborn()
            await rig.open()
            await rig.settle()
            for key, value, at_ms in records:
                rig.put("in", key, value, at_ms=at_ms)
                rig.deliver()
                await rig.settle()
        self.may_end.set()
        for _ in range(5):
            rig.deliver()
            await rig.settle()
            rig.commit()
        await rig.crash()
        return [value for _, value in rig.told("out")]


async def test_S12_a_key_that_changes_while_it_is_told(reborn: Any) -> None:
    telling = Telling()
    rows = telling.app.Table("rows", value_type=str)

    @telling.app.agent(telling.source)
    async def put(stream: fs.Stream[str]) -> None:
        async for key, value in stream.items():
            rows[key] = value

    telling.app.agent(rows.changes, sink=[telling.out])(telling.tell)
    told = await telling.told([(b"k", b"one", 0)], [(b"k", b"two", 0)], reborn=reborn)
    assert told == [b"one", b"two"]


async def test_S12_a_window_that_is_opened_again_while_it_is_told(reborn: Any) -> None:
    telling = Telling()
    counts = telling.app.Table("counts", value_type=int, default=int)
    windows = counts.tumbling(10, grace=0, expires=100_000, late="update")

    @telling.app.agent(telling.source)
    async def count(stream: fs.Stream[str]) -> None:
        async for key, _ in stream.items():
            windows[key] += 1

    telling.app.agent(windows.closed, sink=[telling.out])(telling.tell)
    told = await telling.told(
        [(b"k", b"", 1_000), (b"x", b"", ENDS_MS)], [(b"k", b"", 2_000)], reborn=reborn
    )
    assert told == [b"1", b"2"]
