"""A copy that has to begin again while it is made (S10)."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, cast

import pytest

from flowstream.processing.stores import standing_by
from flowstream.processing.stores.standing_by import StandingBy
from flowstream.processing.units.task import TaskId
from flowstream.state.memory import MemoryStore
from flowstream.transport.admin import Admin
from flowstream.transport.cluster import Cluster
from flowstream.transport.errors import OffsetOutOfRange
from flowstream.transport.types import TopicPartition
from tests.processing.stores.test_standbys import Tailing, tables_of


async def test_S10_a_table_that_begins_again_while_the_next_is_copied_is_followed_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A task has two tables. The first one's changelog goes on elsewhere while the second is
    restored: it was followed no more, and the task's copy counted as current.
    """
    stores, task = {"a": MemoryStore(), "b": MemoryStore()}, TaskId(1, 0)
    first, tries = TopicPartition("c-a", 0), Counter[str]()

    async def opened(id: TaskId, table: str) -> MemoryStore:
        return stores[table]

    async def restored(store: MemoryStore, *around: Any, table: str, **more: Any) -> None:
        tries[table] += 1
        if tries == {"a": 1, "b": 1}:
            tail.news.put_nowait(OffsetOutOfRange(first, 1))
            while first in tail.followed:  # noqa: ASYNC110
                await asyncio.sleep(0)
        store.write({}, changelog_offset=1)

    monkeypatch.setattr(standing_by, "restore", restored)
    nowhere, tail = Cluster("127.0.0.1:1"), Tailing()
    standing = StandingBy(nowhere, Admin(nowhere), opened)
    standing._tail = cast("Any", tail)
    caught_up: asyncio.Queue[TaskId] = asyncio.Queue()
    following = asyncio.create_task(standing.follow())
    await standing.hold({task: tables_of(*stores)}, caught_up.put_nowait)
    async with asyncio.timeout(10):
        await caught_up.get()
    assert tail.followed == {first, TopicPartition("c-b", 0)}
    assert tries == {"a": 2, "b": 2}
    following.cancel()
    await standing.leave_all()
