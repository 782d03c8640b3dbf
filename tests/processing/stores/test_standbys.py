"""Standbys and warm-ups: who takes over has the state already (S5, S10)."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections import Counter
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

import flowstream as fs
from flowstream.processing.stores import standing_by
from flowstream.processing.stores.standing_by import StandingBy
from flowstream.processing.stores.starting import TaskStarter
from flowstream.processing.units.task import TaskId
from flowstream.state.memory import MemoryStore
from flowstream.state.store import StoreError
from flowstream.testing.virtual import VirtualLoop
from flowstream.transport.admin import Admin
from flowstream.transport.cluster import Cluster
from flowstream.transport.errors import BrokerUnreachable, UnreadableRecords
from flowstream.transport.tail import LongSilence
from flowstream.transport.types import TopicPartition
from tests.processing.conftest import Kit
from tests.processing.group.test_rebalancing import (
    Clock,
    Neighbour,
    app_of,
    neighbour,
    prepared,
    until_shared,
)
from tests.processing.neighbour import PARTITIONS

KEYS = 2_000
FEW = 200
"""Rows that may be read at a takeover: what the last commits wrote, and nothing like all keys."""


async def count_all(kit: Kit, name: str, topic: fs.Topic[str, int], round: int) -> None:
    """One more event for every key, and all counted."""
    await asyncio.gather(*(topic.send(key=f"k{n}", value=n) for n in range(KEYS)))
    await kit.until(kit.count(f"{name}-out", KEYS * round))


async def check_counts(kit: Kit, name: str, rounds: int) -> None:
    """S7, S8: every key was counted up, one by one."""
    found = sorted(value or b"" for value in await kit.values(f"{name}-out"))
    expected = [f"k{n}:{n}:{count + 1}".encode() for n in range(KEYS) for count in range(rounds)]
    assert found == sorted(expected)


def starter_of(worker: fs.Worker) -> TaskStarter:
    return cast("TaskStarter", worker._starter)


async def until_copied(kit: Kit, worker: fs.Worker, count: int) -> None:
    """So many copies are kept here, and are as far as their changelogs go."""

    async def copied() -> bool:
        standing_by = starter_of(worker).standing_by
        current = [id for id in standing_by.tasks if standing_by.is_current(id)]
        if len(current) != count:
            return False
        followed = standing_by._followed
        ends = await kit.admin.end_offsets(list(followed))
        return all((store.changelog_offset or 0) >= ends[tp] for tp, (_, store) in followed.items())

    await kit.until(copied)


@pytest.mark.parametrize("end", ["killed", "stopped"])
async def test_S5_S10_a_standby_takes_over_without_a_restore(kit: Kit, name: str, end: str) -> None:
    await prepared(kit, name)
    settings = {"standby_replicas": 1, "session_timeout": 6.0}
    app = app_of(kit, name, Clock(), **settings)
    numbers = app.topics[f"{name}-in"]
    async with kit.running(app) as one:
        async with neighbour(kit, name, "other", **settings) as other:
            await until_shared(kit, one, other)
            await count_all(kit, name, numbers, 1)
            await until_copied(kit, one, PARTITIONS // 2)
            before = one.meters.restored_rows
            if end == "killed":
                other.process.kill()
            else:
                await other.leave()
            await until_shared(kit, one)
            assert one.meters.restored_rows - before <= FEW
            assert starter_of(one).standing_by.tasks == [], "there is nobody to keep copies of"
        await count_all(kit, name, numbers, 2)
        await check_counts(kit, name, 2)
        assert one.counts.aborts == 0


async def test_S5_a_new_worker_has_the_state_before_it_takes_over(
    kit: Kit, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """KIP-441: the tasks run on where they are while the new worker gets its copies."""
    monkeypatch.setenv("FLOWSTREAM_ACCEPTABLE_RECOVERY_LAG", "50")
    await prepared(kit, name)
    app = app_of(kit, name, Clock())
    numbers = app.topics[f"{name}-in"]
    async with kit.running(app) as one:
        await until_shared(kit, one)
        await count_all(kit, name, numbers, 1)
        async with neighbour(kit, name, "other") as other:
            await until_shared(kit, one, other)
            await count_all(kit, name, numbers, 2)
            await other.leave()
            assert 0 <= other.restored <= FEW
        await until_shared(kit, one)
        await check_counts(kit, name, 2)
        assert one.counts.aborts == 0


async def test_G7_standbys_and_owners_change_places(kit: Kit, name: str) -> None:
    """Three workers, two copies of everything; whoever leaves and comes back finds its place."""
    await prepared(kit, name)
    settings = {"standby_replicas": 2}
    app = app_of(kit, name, Clock(), **settings)
    numbers = app.topics[f"{name}-in"]
    async with kit.running(app) as one:
        for round in (1, 2):
            async with (
                neighbour(kit, name, "second", **settings) as second,
                neighbour(kit, name, "third", **settings) as third,
            ):
                await kit.until(all_work(one, second, third))
                await count_all(kit, name, numbers, round)
                await until_copied(kit, one, PARTITIONS - len(one.tasks))
                await second.leave()
                await third.leave()
            await until_shared(kit, one)
        await check_counts(kit, name, 2)
        assert one.counts.aborts == 0


def all_work(one: fs.Worker, *others: Neighbour) -> Callable[[], Awaitable[bool]]:
    async def shared() -> bool:
        parts = [set(one.tasks), *(other.tasks for other in others)]
        return all(parts) and sum(map(len, parts)) == PARTITIONS

    return shared


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (StoreError("no space left on device"), "no copy of task .* is kept, until one can be"),
        # Not one of those that were thought of: the copy was never made, and nobody heard of it.
        (ZeroDivisionError("a mistake"), "copying task .* begun again in a while"),
    ],
    ids=["refused", "mistaken"],
)
async def test_S5_V2_a_copy_that_could_not_be_made_is_made_later(
    error: Exception, told: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A full disk need not stay full."""
    store, tries, task = MemoryStore(), 0, TaskId(1, 0)
    caught_up: asyncio.Queue[TaskId] = asyncio.Queue()

    async def opened(id: TaskId, table: str) -> MemoryStore:
        nonlocal tries
        tries += 1
        if tries <= 2:
            raise error
        return store

    async def restored(store: MemoryStore, *around: Any, **more: Any) -> None:
        store.write({b"a": b"1"}, changelog_offset=1)

    monkeypatch.setattr(standing_by, "restore", restored)
    monkeypatch.setattr(standing_by, "REFUSED_RETRY_S", 0.0)
    nowhere = Cluster("127.0.0.1:1")
    standing = StandingBy(nowhere, Admin(nowhere), opened)
    await standing.hold({task: tables_of("t")}, caught_up.put_nowait)
    async with asyncio.timeout(10):
        assert await caught_up.get() == task
    assert (tries, standing.is_current(task)) == (3, True)
    assert len(re.findall(told, caplog.text)) == 2
    await standing.leave_all()


UNREADABLE = UnreadableRecords(TopicPartition("c-a", 0), 7, "a wrong CRC")


@pytest.mark.parametrize(
    ("error", "pauses"),
    [
        (UNREADABLE, [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]),
        (BrokerUnreachable("it is being restarted"), [0.5] * 8),
    ],
    ids=["unreadable", "silent"],
)
def test_X3_a_copy_of_what_cannot_be_read_is_tried_less_and_less_often(
    error: Exception, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It cost two restores, and two warnings, a second, for ever."""
    loop = VirtualLoop(1_000_000)
    tries: list[float] = []

    async def opened(id: TaskId, table: str) -> MemoryStore:
        return MemoryStore()

    async def restored(*around: Any, **more: Any) -> None:
        tries.append(loop.time())
        raise error

    async def live() -> None:
        nowhere = Cluster("127.0.0.1:1")
        standing = StandingBy(nowhere, Admin(nowhere), opened)
        await standing.hold({TaskId(1, 0): tables_of("a")}, lambda id: None)
        await asyncio.sleep(sum(pauses) + 0.1)
        await standing.leave_all()

    monkeypatch.setattr(standing_by, "restore", restored)
    loop.run(live())
    assert [after - before for before, after in itertools.pairwise(tries)] == pytest.approx(pauses)


async def test_S10_V1_what_cannot_be_read_holds_up_no_other_copy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is followed no more, and made anew; each read met it again, and the others waited."""
    stores = {name: MemoryStore() for name in ("a", "b")}
    tasks = {name: TaskId(1, number) for number, name in enumerate(stores)}
    tail, tries, begun_again = Tailing(), Counter[str](), asyncio.Event()

    async def opened(id: TaskId, table: str) -> MemoryStore:
        return stores[table]

    async def restored(store: MemoryStore, *around: Any, table: str, **more: Any) -> None:
        tries[table] += 1
        if tries["a"] == 2:
            begun_again.set()
            raise UNREADABLE
        store.write({}, changelog_offset=1)

    monkeypatch.setattr(standing_by, "restore", restored)
    nowhere = Cluster("127.0.0.1:1")
    standing = StandingBy(nowhere, Admin(nowhere), opened)
    standing._tail = cast("Any", tail)
    caught_up: asyncio.Queue[TaskId] = asyncio.Queue()
    await standing.hold({tasks[name]: tables_of(name) for name in stores}, caught_up.put_nowait)
    async with asyncio.timeout(10):
        assert {await caught_up.get(), await caught_up.get()} == {*tasks.values()}
        following = asyncio.create_task(standing.follow())
        tail.failed = TopicPartition("c-a", 0)
        tail.news.put_nowait(UNREADABLE)
        await begun_again.wait()
        row = SimpleNamespace(key=b"k", value=b"v")
        tail.news.put_nowait((TopicPartition("c-b", 1), 2, [row]))
        while stores["b"].get(b"k") is None:  # noqa: ASYNC110
            await asyncio.sleep(0)
    assert tail.followed == {TopicPartition("c-b", 1)}
    assert [standing.is_current(id) for id in tasks.values()] == [False, True]
    following.cancel()
    await standing.leave_all()


def tables_of(*names: str) -> Any:
    """Plans of tables, as far as copies know them."""
    return [
        SimpleNamespace(
            changelog=f"c-{name}", table=SimpleNamespace(name=name, changelog_told=None)
        )
        for name in names
    ]


class Tailing:
    """A tail whose news the test gives."""

    def __init__(self) -> None:
        self.news: asyncio.Queue[Any] = asyncio.Queue()
        self.followed: set[TopicPartition] = set()
        self.gone_on: set[TopicPartition] = set()
        self.failed: TopicPartition | None = None

    def follow(self, tp: TopicPartition, start: int) -> None:
        self.followed.add(tp)

    def leave(self, tp: TopicPartition) -> None:
        self.followed.discard(tp)

    def go_on(self, tp: TopicPartition) -> None:
        self.gone_on.add(tp)

    async def read(self) -> Any:
        news = await self.news.get()
        if isinstance(news, Exception):
            raise news
        tp, position, records = news
        return {tp: (position, records)} if tp in self.followed else {}


async def test_S10_a_copy_has_one_writer_while_it_is_brought_up_to_date_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A task has two tables. The second could not be restored at once, so that the first, which is
    followed by then, is restored once more; and that is cut off as the task is promoted.
    """
    stores, tries, task = {"a": MemoryStore(), "b": MemoryStore()}, 0, TaskId(1, 0)
    changelog, tail, is_cut_off = TopicPartition("c-a", 0), Tailing(), asyncio.Event()

    async def opened(id: TaskId, table: str) -> MemoryStore:
        return stores[table]

    async def news(position: int, key: bytes, value: bytes) -> None:
        tail.news.put_nowait((changelog, position, [SimpleNamespace(key=key, value=value)]))
        for _ in range(10):
            await asyncio.sleep(0)

    async def restored(store: MemoryStore, *around: Any, table: str, **more: Any) -> None:
        nonlocal tries
        tries += 1
        if tries == 2:
            raise BrokerUnreachable("it is being restarted")
        if tries == 3:
            await news(2, b"k", b"new")
        store.write({b"k": b"old"}, changelog_offset=1)  # the first chunk of two
        if tries == 3:
            await news(3, b"other", b"1")
            is_cut_off.set()
            await asyncio.Event().wait()

    monkeypatch.setattr(standing_by, "restore", restored)
    monkeypatch.setattr(standing_by, "RETRY_S", 0.0)
    nowhere = Cluster("127.0.0.1:1")
    standing = StandingBy(nowhere, Admin(nowhere), opened)
    standing._tail = cast("Any", tail)
    following = asyncio.create_task(standing.follow())
    await standing.hold({task: tables_of(*stores)}, lambda id: None)
    await is_cut_off.wait()
    await standing.leave(task)
    following.cancel()
    store = stores["a"]
    assert (store.changelog_offset, store.get(b"k")) == (1, b"old"), "what came later is read again"


class Keeping(Admin):
    """Tells how long changelogs keep deletions, once it can."""

    def __init__(self, delete_retention_ms: int) -> None:
        super().__init__(Cluster("127.0.0.1:1"))
        self.answers = [BrokerUnreachable("a moment more"), delete_retention_ms]

    async def topic_settings(self, names: Any, key: str) -> dict[str, str]:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return {name: str(answer) for name in names}


@pytest.mark.parametrize("silence_ms", [59_999, 60_000])
async def test_S10_a_copy_that_may_have_missed_deletions_is_brought_up_to_date_anew(
    silence_ms: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What came after the silence made its store look current: who was promoted over it took over
    rows that had been deleted, for good.
    """
    store, tail, restored = MemoryStore(), Tailing(), 0
    changelog, id = TopicPartition("c", 0), TaskId(1, 0)

    async def opened(id: TaskId, table: str) -> MemoryStore:
        return store

    async def restore(store: MemoryStore, *around: Any, **more: Any) -> None:
        nonlocal restored
        restored += 1
        store.write({b"k": b"1"}, changelog_offset=1)

    monkeypatch.setattr(standing_by, "restore", restore)
    monkeypatch.setattr(standing_by, "RETRY_S", 0.0)
    standing = StandingBy(Cluster("127.0.0.1:1"), Keeping(60_000), opened)
    standing._tail = cast("Any", tail)
    table = SimpleNamespace(name="t", changelog_told=None)
    following = asyncio.create_task(standing.follow())
    caught_up: asyncio.Queue[TaskId] = asyncio.Queue()
    plan: Any = SimpleNamespace(changelog="c", table=table)
    await standing.hold({id: [plan]}, caught_up.put_nowait)
    await caught_up.get()
    is_late = silence_ms >= 60_000
    for _ in range(2):
        tail.news.put_nowait(LongSilence(changelog, silence_ms))
    if is_late:
        await caught_up.get()
    for _ in range(20):
        await asyncio.sleep(0)
    assert (restored, tail.gone_on) == ((2, set()) if is_late else (1, {changelog}))
    assert tail.followed == {changelog}
    following.cancel()
    await standing.leave_all()
