"""Tasks that agents start: in their unit they are the agent, later they are nobody (S9)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

import flowstream as fs
from tests.processing.rig import Rig

Body = Callable[["Bench", int], Awaitable[None]]


class Bench:
    """An app whose one agent does with each event what a test says."""

    def __init__(self, body: Body, **options: Any) -> None:
        app = fs.App("started")
        numbers = app.topic("numbers", key_type=str, value_type=int, partitions=1)
        self.out = app.topic("out", key_type=str, value_type=str, partitions=1)
        self.notes = app.Table("notes", key_type=str, value_type=str)
        self.tasks: list[asyncio.Task[None]] = []
        self.errors: list[str] = []
        self.go = asyncio.Event()
        self.rig = Rig(app)

        @app.agent(numbers, **options)
        async def work(stream: fs.Stream[int]) -> None:
            async for number in stream:
                await body(self, number)

    async def write(self, note: str) -> None:
        """What a unit may do."""
        self.notes[note] = note
        assert self.notes.get(note) == note
        await self.out.send(key=note, value=note)
        assert fs.current_event() is not None

    async def write_late(self, note: str) -> None:
        """The same, when the test says so; gives each error."""
        await self.go.wait()
        for use in (self.put, self.read, self.send):
            try:
                await use(note)
            except fs.NotInAgent as error:
                self.errors.append(str(error))
        assert fs.current_event() is None

    async def put(self, note: str) -> None:
        self.notes[note] = note

    async def read(self, note: str) -> None:
        self.notes.get(note)

    async def send(self, note: str) -> None:
        await self.out.send(key=note, value=note)

    async def run(self, *numbers: int) -> None:
        """Process numbers, one epoch."""
        await self.rig.open()
        for number in numbers:
            self.rig.put("numbers", b"k", b"%d" % number)
        self.rig.deliver()
        await self.rig.settle()
        self.rig.commit()

    @property
    def committed(self) -> tuple[list[str], list[str]]:
        """Notes in the table and in the topic."""
        rows = sorted(key.decode() for key, _ in self.rig.stores["notes"].scan())
        return rows, [value.decode() for topic, _, value, *_ in self.rig.log if value is not None]


async def test_S9_a_task_of_an_event_that_is_over_is_in_no_later_one() -> None:
    async def body(bench: Bench, number: int) -> None:
        if number == 1:
            bench.tasks.append(asyncio.create_task(bench.write_late("of the first")))
            await bench.write("first")
        else:
            bench.go.set()
            await bench.tasks[0]
            await bench.write("second")

    bench = Bench(body)
    await bench.run(1, 2)
    assert bench.committed == (["first", "second"], ["first", "second"])
    assert len(bench.errors) == 3
    assert all("a task that agent 'work' on numbers-0 started has none open" in each
               for each in bench.errors)  # fmt: skip
    await bench.rig.crash()


async def test_S9_a_task_of_a_try_that_failed_is_not_in_the_next_one() -> None:
    async def body(bench: Bench, number: int) -> None:
        if not bench.tasks:
            bench.tasks.append(asyncio.create_task(bench.write_late("of the first try")))
            raise ValueError(number)
        bench.go.set()
        await bench.tasks[0]
        await bench.write("second try")

    bench = Bench(body, on_error=fs.retry(3, backoff=0))
    await bench.run(1)
    assert bench.committed == (["second try"], ["second try"])
    assert len(bench.errors) == 3
    await bench.rig.crash()


async def in_a_group(bench: Bench, number: int) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(bench.write(f"{number}"))


async def gathered(bench: Bench, number: int) -> None:
    await asyncio.gather(bench.write(f"{number}"), asyncio.sleep(0))


async def timed(bench: Bench, number: int) -> None:
    await asyncio.wait_for(bench.write(f"{number}"), 20)


async def nested(bench: Bench, number: int) -> None:
    await asyncio.create_task(gathered(bench, number))


@pytest.mark.parametrize("body", [in_a_group, gathered, timed, nested])
async def test_S9_a_task_that_is_awaited_is_the_agent(body: Body) -> None:
    bench = Bench(body)
    await bench.run(1, 2, 3)
    assert bench.committed == (["1", "2", "3"], ["1", "2", "3"])
    await bench.rig.crash()


async def test_S9_a_task_of_a_list_belongs_to_it_until_it_is_over() -> None:
    app = fs.App("started")
    numbers = app.topic("numbers", key_type=str, value_type=int, partitions=1)
    sums = app.Table("sums", key_type=str, default=int)
    adding: list[asyncio.Task[None]] = []
    go = asyncio.Event()

    async def add(number: int) -> None:
        await go.wait()
        sums["all"] += number

    def start(number: int) -> int:
        adding.append(asyncio.create_task(add(number)))
        return number

    @app.agent(numbers)
    async def work(stream: fs.Stream[int]) -> None:
        async for _ in stream.map(start).take(2, within=60):
            go.set()
            await asyncio.gather(*adding)
            adding.clear()
            go.clear()

    rig = Rig(app)
    await rig.open()
    for number in (1, 2, 3, 4):
        rig.put("numbers", b"k", b"%d" % number)
    rig.deliver()
    await rig.settle()
    rig.commit()
    assert dict(rig.stores["sums"].scan()) == {b"all": b"10"}
    await rig.crash()


async def test_S9_workers_that_an_agent_started_before_its_first_event_are_in_each() -> None:
    app = fs.App("started")
    numbers = app.topic("numbers", key_type=str, value_type=int, partitions=1)
    sums = app.Table("sums", key_type=str, default=int)

    @app.agent(numbers)
    async def work(stream: fs.Stream[int]) -> None:
        queue: asyncio.Queue[int] = asyncio.Queue()

        async def add() -> None:
            while True:
                sums["all"] += await queue.get()
                queue.task_done()

        adding = asyncio.create_task(add())
        try:
            async for number in stream:
                queue.put_nowait(number)
                await queue.join()
        finally:
            adding.cancel()

    rig = Rig(app)
    await rig.open()
    for number in (1, 2, 3):
        rig.put("numbers", b"k", b"%d" % number)
    rig.deliver()
    await rig.settle()
    rig.commit()
    assert dict(rig.stores["sums"].scan()) == {b"all": b"6"}
    await rig.crash()


async def test_a_loop_keeps_the_factory_that_it_has() -> None:
    made: list[str] = []

    def make(loop: Any, coro: Any, **options: Any) -> Any:
        made.append(coro.__name__)
        return asyncio.Task(coro, loop=loop, **options)

    asyncio.get_running_loop().set_task_factory(make)
    bench = Bench(nested)
    await bench.run(1)
    assert made.count("write") == made.count("gathered") == 1
    assert bench.committed == (["1"], ["1"])
    await bench.rig.crash()


def test_S9_a_pull_with_a_deadline_is_the_agent_itself() -> None:
    app = fs.App("pulls")
    events = app.topic("events", key_type=str, value_type=int, partitions=1)
    out = app.topic("out", key_type=str, value_type=int, partitions=1)
    total = app.Table("total", value_type=int, default=int)

    @app.agent(events, sink=[out])
    async def add(stream: fs.Stream[int]) -> AsyncIterator[int]:
        shaped = stream.map(lambda value: value + total["a"])
        while True:
            value = await asyncio.wait_for(anext(shaped), 1000)
            total["a"] += value
            yield total["a"]

    with app.test_context() as context:
        for _ in range(3):
            context.topic(events).send(1, key="a", settle=False)
        context.settle()
        assert [record.value for record in context.topic(out)] == [1, 3, 7]
