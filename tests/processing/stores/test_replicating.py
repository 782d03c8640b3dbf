"""Copies of tables that others write, while those begin anew."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

import flowstream as fs
from flowstream.processing.stores.replicating import Replication
from flowstream.processing.tables.replicated import Replica, Replicas
from flowstream.processing.units.task import TaskId
from flowstream.state.memory import MemoryStore
from flowstream.state.table import TablePartition
from flowstream.transport.admin import Admin
from flowstream.transport.cluster import Cluster
from flowstream.transport.tail import LongSilence
from flowstream.transport.types import NewTopic, TopicPartition
from tests.processing.conftest import Kit

OLD = 10


def writing(kit: Kit, name: str) -> tuple[fs.App, fs.Topic[str, int]]:
    app = kit.app(f"{name}-w")
    puts = app.topic(f"{name}-put", key_type=str, value_type=int)
    kept = app.Table("kept", value_type=int)

    @app.agent(puts)
    async def put(stream: fs.Stream[int]) -> None:
        async for key, value in stream.items():
            kept[key] = value

    return app, puts


@pytest.mark.parametrize("rows", [1, 3 * OLD])
async def test_S10_V2_a_table_of_another_app_that_is_reset_is_copied_anew(
    kit: Kit, name: str, rows: int
) -> None:
    """The new changelog does not reach to where the copy is, or reaches beyond it: then its offsets
    alone would pass for those of the first, and rows of both would be read.
    """
    writer, puts = writing(kit, name)
    reader = kit.app(f"{name}-r")
    asks = reader.topic(f"{name}-ask", value_type=int, partitions=1)
    answers = reader.topic(f"{name}-answers", value_type=str, partitions=1)
    table = reader.table_of(f"{name}-w", "kept", key_type=str, value_type=int)

    @reader.agent(asks, sink=[answers])
    async def ask(stream: fs.Stream[int]) -> AsyncIterator[str]:
        async for _ in stream:
            yield " ".join(f"{key}={value}" for key, value in sorted(table.items()))

    async def last() -> bytes | None:
        await asks.send(value=0)
        return (await kit.values(answers.name) or [None])[-1]

    await kit.admin.create_topics([NewTopic(puts.name, 1), NewTopic(asks.name, 1)])
    for n in range(OLD):
        await puts.send(key=f"old{n}", value=1)
    await kit.run_until(writer, kit.committed(writer, puts.name, OLD))
    async with kit.running(reader):

        async def has_old() -> bool:
            return b"old0=1" in (await last() or b"")

        await kit.until(has_old)
        await kit.admin.delete_topics([writer.changelog("kept"), puts.name])
        await kit.admin.delete_group(writer.id)
        shutil.rmtree(writer.settings.data_dir)
        await kit.admin.create_topics([NewTopic(puts.name, 1)])
        writer, puts = writing(kit, name)
        for n in range(rows):
            await puts.send(key=f"new{n}", value=2)
        await kit.run_until(writer, kit.committed(writer, puts.name, rows))
        wanted = " ".join(f"{key}=2" for key in sorted(f"new{n}" for n in range(rows))).encode()

        async def is_new() -> bool:
            return await last() == wanted

        await kit.until(is_new)
        async with kit.running(writer):
            await puts.send(key="new0", value=3)
            wanted = wanted.replace(b"new0=2", b"new0=3")
            await kit.until(is_new)


class Tailing:
    """A tail whose news the test gives."""

    def __init__(self) -> None:
        self.news: asyncio.Queue[Any] = asyncio.Queue()
        self.gone_on: set[TopicPartition] = set()

    def follow(self, tp: TopicPartition, start: int) -> None: ...

    def leave(self, tp: TopicPartition) -> None: ...

    def go_on(self, tp: TopicPartition) -> None:
        self.gone_on.add(tp)

    async def read(self) -> Any:
        news = await self.news.get()
        if isinstance(news, Exception):
            raise news
        return news


class Topicless(Admin):
    """Tells of no topic."""

    async def topics(self, names: Any) -> Any:
        return {}

    async def topic_settings(self, names: Any, key: str) -> dict[str, str]:
        return dict.fromkeys(names, "60000")


async def test_S10_a_copy_does_not_go_back_to_what_was_read_before_a_task_wrote_it() -> None:
    """A fetch takes its time: another partition's leader has moved. Meanwhile a task here takes the
    partition over, commits, and lets it go.
    """
    table = fs.App("reading").GlobalTable("prices", value_type=int, partitions=1)
    nowhere, changelog, tail = Cluster("127.0.0.1:1"), TopicPartition("c", 0), Tailing()
    replication = Replication("reading", nowhere, Topicless(nowhere), cast("Any", None))
    store, held = MemoryStore(), (table.name, 0)
    store.write({b"k": b"1"}, changelog_offset=1)
    replicas = replication.tables[table.name] = Replicas(table, changelog.topic, 1)
    replicas.held[0] = Replica(TablePartition(table.name, 0, store, table.row_codec))
    replication._stores[held], replication._tail = store, cast("Any", tail)
    replication._follow(held)
    following = asyncio.create_task(replication.follow())

    owned = replication.claim(*held)
    owned.write({b"k": b"2"}, changelog_offset=2)
    owned.write({b"k": b"3"}, changelog_offset=3)
    assert replication.keep_only({TaskId(1, 1)}) is None
    for position, value in ((2, b"2"), (4, b"4")):
        record = SimpleNamespace(key=b"k", value=value)
        before = store.changelog_offset
        tail.news.put_nowait({changelog: (position, [record])})
        for _ in range(10):
            await asyncio.sleep(0)
        assert (store.get(b"k"), store.changelog_offset) == (
            (b"3", before) if position == 2 else (b"4", 4)
        )
    following.cancel()


async def test_S10_who_may_have_missed_deletions_does_not_read_on() -> None:
    """A machine that slept over the weekend kept rows that had been deleted, for good."""
    nowhere, changelog, tail = Cluster("127.0.0.1:1"), TopicPartition("c", 0), Tailing()
    replication = Replication("reading", nowhere, Topicless(nowhere), cast("Any", None))
    replication._tail = cast("Any", tail)
    tail.news.put_nowait(LongSilence(changelog, 59_999))
    tail.news.put_nowait(LongSilence(changelog, 60_000))
    with pytest.raises(fs.StateLost, match="nothing was heard of c-0 for 60000 ms, longer than"):
        await replication.follow()
    assert tail.gone_on == {changelog}
