"""Global tables and tables of other apps: who may write, who sees what, and when."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from typing import Any

import pytest

import flowstream as fs
from flowstream.processing.tables.replicated import Replica, Replicas, ReplicatedView
from flowstream.state.memory import MemoryStore
from flowstream.state.overlay import DELETED
from flowstream.state.table import TablePartition
from flowstream.transport.types import NewTopic
from flowstream.wire.hashing import partition_for_key
from tests.processing.conftest import Kit

PARTITIONS = 4
KEYS = [f"k{n}" for n in range(12)]
HOME = {key: partition_for_key(key.encode(), PARTITIONS) for key in KEYS}


def whole(value_type: Any = int, **options: Any) -> tuple[Replicas, list[TablePartition]]:
    """A global table of 4 partitions, all of them held, each with its committed keys."""
    table = fs.App("bench").GlobalTable("t", value_type=value_type, **options)
    replicas = Replicas(table, "changelog", PARTITIONS)
    parts = []
    for number in range(PARTITIONS):
        store = MemoryStore()
        encode = table.row_keys.encode
        store.write({encode(k): b"[1]" if value_type == list[int] else b"1"
                     for k in KEYS if HOME[k] == number})  # fmt: skip
        parts.append(TablePartition("t", number, store, table.row_codec))
        replicas.held[number] = Replica(parts[-1])
    return replicas, parts


def own_part(replicas: Replicas, part: TablePartition) -> TablePartition:
    """A task's own partition over the replica's store."""
    replica = replicas.held[part.number]
    assert replica is not None
    replica.is_owned = True
    return TablePartition("t", part.number, part.store, replicas.table.row_codec)


def test_every_key_is_read_and_walked_in_order() -> None:
    replicas, parts = whole()
    for view in (ReplicatedView(replicas), ReplicatedView(replicas, own_part(replicas, parts[1]))):
        assert [view.get(key.encode()) for key in KEYS] == [1] * len(KEYS)
        assert view.get(b"nobody") is DELETED
        assert [key for key, _ in view.scan()] == sorted(key.encode() for key in KEYS)
        assert [key for key, _ in view.scan(b"k2", b"k4", reverse=True)] == [b"k3", b"k2"]


def test_a_unit_reads_what_it_wrote_and_others_what_is_committed() -> None:
    replicas, parts = whole()
    mine = next(key for key in KEYS if HOME[key] == 1).encode()
    own = own_part(replicas, parts[1])
    view, other = ReplicatedView(replicas, own), ReplicatedView(replicas)
    view.set(mine, 5)
    assert (view.get(mine), other.get(mine)) == (5, 1)
    view.publish()
    assert (view.get(mine), other.get(mine)) == (5, 1)
    own.committed(own.close(), 1, 1)
    assert (view.get(mine), other.get(mine)) == (5, 5)


def test_what_the_tail_brings_is_seen_although_it_was_read_before() -> None:
    replicas, _ = whole(list[int])
    view = ReplicatedView(replicas)
    key = KEYS[0].encode()
    value: Any = view.get(key)
    value.append(99)
    assert view.get(key) == [1], "a copy"
    replica = replicas.held[HOME[KEYS[0]]]
    assert replica is not None
    replica.replicate({key: b"[2]"}, 7)
    assert view.get(key) == [2]
    replica.replicate({key: None}, 8)
    assert view.get(key) is DELETED


def test_a_key_has_one_writer() -> None:
    replicas, parts = whole()
    view = ReplicatedView(replicas, own_part(replicas, parts[1]))
    foreign = next(key for key in KEYS if HOME[key] == 2).encode()
    for act in (lambda: view.set(foreign, 1), lambda: view.delete(foreign)):
        with pytest.raises(fs.PartitionMismatch, match="belongs to partition 2"):
            act()
    with pytest.raises(fs.PartitionMismatch, match="can only read"):
        ReplicatedView(replicas).set(foreign, 1)


def test_ordered_rows_are_placed_by_the_keys_of_topics() -> None:
    table = fs.App("bench").GlobalTable("t", key_type=int, default=int, ordered=True)
    replicas = Replicas(table, "changelog", PARTITIONS)
    for number in range(50):
        row = table.row_keys.encode(number)
        assert replicas.place(row) == partition_for_key(b"%d" % number, PARTITIONS)


def test_bad_declarations() -> None:
    app = fs.App("bench")
    table = app.GlobalTable("t", default=int)
    with pytest.raises(fs.AppError, match="windows"):
        table.tumbling(60)
    with pytest.raises(fs.AppError, match="one by one"):
        table.clear()
    theirs: Any = app.table_of("other", "t", key_type=str, value_type=int)
    with pytest.raises(TypeError, match="is app 'other''s, and only read here: send to a topic"):
        theirs["a"] = 1
    with pytest.raises(TypeError, match="only read here"):
        del theirs["a"]
    with pytest.raises(fs.AppError, match="declared twice"):
        app.table_of("other", "t", key_type=str, value_type=int)


class Everywhere:
    """An app that keeps the last value of a key everywhere, and a topic that asks for any key."""

    def __init__(self, kit: Kit, name: str, **settings: Any) -> None:
        self.app = kit.app(name, **settings)
        self.puts = self.app.topic(f"{name}-put", key_type=str, value_type=int)
        self.asks = self.app.topic(f"{name}-ask", key_type=str, value_type=str)
        answers = self.app.topic(f"{name}-answers", value_type=str)
        table = self.app.GlobalTable("last", value_type=int, default=int, partitions=PARTITIONS)

        @self.app.agent(self.puts)
        async def put(stream: fs.Stream[int]) -> None:
            async for key, value in stream.items():
                if value:
                    table[key] += value
                else:
                    del table[key]

        @self.app.agent(self.asks, sink=[answers])
        async def ask(stream: fs.Stream[str]) -> AsyncIterator[str]:
            async for key in stream:
                yield f"{key}={table.get(key)} of {len(table)}"


async def make_topics(kit: Kit, name: str) -> None:
    topics = [NewTopic(f"{name}-put", PARTITIONS), NewTopic(f"{name}-answers", 1)]
    await kit.admin.create_topics([*topics, NewTopic(f"{name}-ask", 1)])


def answered(kit: Kit, name: str, wanted: str, asks: Any) -> Any:
    """A condition: asking gives this answer, now or after a while."""
    key = wanted.split("=")[0]

    async def holds() -> bool:
        count = len(await kit.values(f"{name}-answers"))
        await asks.send(key="x", value=key)
        await kit.until(kit.count(f"{name}-answers", count + 1))
        return (await kit.values(f"{name}-answers"))[-1] == wanted.encode()

    return holds


async def test_S10_a_global_table_is_whole_on_every_worker(kit: Kit, name: str) -> None:
    await make_topics(kit, name)
    one = Everywhere(kit, name)
    two = Everywhere(kit, name, data_dir=kit.directory / "two")
    for number, key in enumerate(KEYS):
        await one.puts.send(key=key, value=number + 1)
    async with kit.running(one.app):
        await kit.until(kit.committed(one.app, one.puts.name, len(KEYS)))
        await kit.until(answered(kit, name, "k3=4 of 12", one.asks))
        # Half of the partitions go to a worker that has nothing yet; the asks stay or go.
        async with kit.running(two.app) as worker:
            await kit.until(_has_tasks(worker))
            for key in KEYS:
                await one.puts.send(key=key, value=10)
            await kit.until(kit.committed(one.app, one.puts.name, 2 * len(KEYS)))
            await kit.until(answered(kit, name, "k3=14 of 12", one.asks))
            await one.puts.send(key="k3", value=0)
            await kit.until(answered(kit, name, "k3=None of 11", one.asks))
        await kit.until(answered(kit, name, "k5=16 of 11", one.asks))
    again = Everywhere(kit, name)
    await kit.run_until(again.app, answered(kit, name, "k7=18 of 11", again.asks))


def _has_tasks(worker: fs.Worker) -> Any:
    async def holds() -> bool:
        return bool(worker.tasks)

    return holds


@pytest.mark.parametrize("partitions", [None, PARTITIONS])
async def test_a_table_of_another_app(kit: Kit, name: str, partitions: int | None) -> None:
    await make_topics(kit, name)
    writer = kit.app(f"{name}-w")
    puts = writer.topic(f"{name}-put", key_type=str, value_type=int)
    kept = writer.Table("kept", value_type=int)

    @writer.agent(puts)
    async def put(stream: fs.Stream[int]) -> None:
        async for key, value in stream.items():
            kept[key] = value

    reader = kit.app(f"{name}-r")
    # As many partitions as the table has, and so keys where the table has them; or any number.
    topic = f"{name}-put" if partitions else f"{name}-ask"
    asks: Any = reader.topic(topic, key_type=str, value_type=str)
    answers = reader.topic(f"{name}-answers", value_type=str)
    table = reader.table_of(
        f"{name}-w", "kept", key_type=str, value_type=int, partitions=partitions
    )

    @reader.agent(asks, sink=[answers])
    async def ask(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for key, _ in stream.items():
            keys = sorted(table) if partitions else list(table)
            yield f"{key}={table.get(key)} {keys == [k for k, _ in table.range()]}"

    with pytest.raises(fs.TopicMissing, match="start that app once"):
        await fs.Worker(reader, kit.address).run()
    for key in KEYS:
        await puts.send(key=key, value=7)
    await kit.run_until(writer, kit.committed(writer, puts.name, len(KEYS)))
    if partitions is None:
        for key in KEYS:
            await asks.send(key=key, value="")
    await kit.run_until(reader, kit.count(answers.name, len(KEYS)))
    told = {value for value in await kit.values(answers.name) if value}
    assert told == {f"{key}=7 True".encode() for key in KEYS}
    # The other app begins anew, and its table with it: a copy of the old one is of no use.
    await kit.admin.delete_topics([writer.changelog("kept")])
    await kit.admin.delete_group(writer.id)
    shutil.rmtree(writer.settings.data_dir)
    await kit.run_until(writer, kit.committed(writer, puts.name, 1))
    # What it does next is followed.
    async with kit.running(reader), kit.running(writer):
        await puts.send(key="k1", value=8)

        async def sees() -> bool:
            await asks.send(key="k1", value="8")
            return b"k1=8 True" in await kit.values(answers.name)

        await kit.until(sees)


async def test_partitions_that_do_not_fit_are_refused(kit: Kit, name: str) -> None:
    await make_topics(kit, name)
    await kit.admin.create_topics([NewTopic(f"{name}-w-kept-changelog", 3)])
    reader = kit.app(name)
    reader.table_of(f"{name}-w", "kept", key_type=str, value_type=int, partitions=1)

    @reader.agent(reader.topic(f"{name}-ask"))
    async def ask(stream: fs.Stream[Any]) -> None:
        async for _ in stream:
            pass

    with pytest.raises(fs.PartitionMismatch, match="has 3 partitions, it is declared with 1"):
        await fs.Worker(reader, kit.address).run()


def test_S10_a_worker_that_stands_by_for_a_partition_reads_what_its_owner_writes() -> None:
    """It had the partition, gave it away, and keeps a copy of its task's other tables."""
    app = fs.App("apart", standby_replicas=1)
    puts = app.topic("puts", key_type=str, value_type=int, partitions=2)
    asks = app.topic("asks", key_type=str, value_type=str, partitions=2)
    answers = app.topic("answers", value_type=int, partitions=1)
    last = app.GlobalTable("last", key_type=str, value_type=int, default=int, partitions=2)
    asked = app.Table("asked", default=int, partitions=2)

    @app.agent(puts)
    async def put(stream: fs.Stream[int]) -> None:
        async for key, value in stream.items():
            last[key] = value

    @app.agent(asks, sink=[answers])
    async def ask(stream: fs.Stream[str]) -> AsyncIterator[int]:
        async for key in stream:
            asked[key] += 1
            yield sum(last[each] for each in KEYS)

    with app.test_context() as context:
        context.start()
        assert all(context.assignment), "both have some"
        for key in KEYS:
            context.topic(puts).send(1, key=key)
        context.advance(1.0)
        for partition in (0, 1):
            context.topic(asks).send("a", key="a", partition=partition)
        assert context.topic(answers).values == [len(KEYS)] * 2
