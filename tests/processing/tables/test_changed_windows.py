"""Windows that are declared otherwise than those whose rows a table has (S10)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

import flowstream as fs
from flowstream.transport.types import NewTopic
from tests.processing.conftest import Kit

Declare = Callable[[fs.App, str], None]


def topics(app: fs.App, name: str) -> tuple[fs.Topic[str, int], fs.Topic[str, int]]:
    """What every app here reads and writes."""
    numbers, out = (
        app.topic(f"{name}-{each}", key_type=str, value_type=int, partitions=1)
        for each in ("in", "out")
    )
    return numbers, out


def by_table(window: Callable[[fs.Table[str, int]], Any]) -> Declare:
    """An agent that counts in windows of a table."""

    def declare(app: fs.App, name: str) -> None:
        counts = window(app.Table("counts", default=int))

        numbers, out = topics(app, name)

        @app.agent(numbers, sink=[out])
        async def count(stream: fs.Stream[int]) -> AsyncIterator[int]:
            async for key, number in stream.items():
                counts[key] += number
                yield number

    return declare


def by_stream(windows: Callable[[fs.Stream[int]], Any]) -> Declare:
    """An agent that counts in windows of its stream, and tells each change."""

    def declare(app: fs.App, name: str) -> None:
        numbers, out = topics(app, name)

        @app.agent(numbers, sink=[out])
        async def count(stream: fs.Stream[int]) -> AsyncIterator[int]:
            async for result in windows(stream).count():
                yield result.value

    return declare


async def create(kit: Kit, name: str) -> None:
    """Make the topics."""
    await kit.admin.create_topics([NewTopic(f"{name}-in", 1), NewTopic(f"{name}-out", 1)])


async def run(kit: Kit, name: str, declare: Declare, expected: int) -> None:
    """Run an app over one more event, until so many outputs are there."""
    app = kit.app(name)
    declare(app, name)
    await topics(app, name)[0].send(key="k", value=1, timestamp=60)
    await kit.run_until(app, kit.count(f"{name}-out", expected))


CHANGES = {
    "size": (
        by_table(lambda table: table.tumbling(60)),
        by_table(lambda table: table.tumbling(300)),
        "windows of 60000 ms that start every 60000 ms, and .* windows of 300000 ms",
    ),
    "step": (
        by_table(lambda table: table.hopping(60, 20, grace=5, expires=600)),
        by_table(lambda table: table.hopping(60, 30, grace=5, expires=600)),
        "start every 20000 ms, and .* start every 30000 ms",
    ),
    "none now": (
        by_table(lambda table: table.tumbling(60)),
        by_table(lambda table: table),
        "is declared without windows",
    ),
    "windows of a stream": (
        by_stream(lambda stream: stream.tumbling(60, emit="on_change")),
        by_stream(lambda stream: stream.tumbling(30, emit="on_change")),
        "windows of 60000 ms",
    ),
    "kind": (
        by_stream(lambda stream: stream.tumbling(60, emit="on_change")),
        by_stream(lambda stream: stream.session(60, emit="on_change")),
        "is declared with sessions",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_S10_rows_of_other_windows_are_refused(kit: Kit, name: str, change: str) -> None:
    # They have the same names where the starts agree: a window of five minutes began with the
    # count of one minute, and was told.
    before, after, told = CHANGES[change]
    await create(kit, name)
    await run(kit, name, before, 1)
    changed = kit.app(name)
    after(changed, name)
    with pytest.raises(fs.AppError, match=told) as caught:
        await fs.Worker(changed, kit.address).run()
    assert "flowstream reset" in str(caught.value)


async def test_S10_what_does_not_change_the_rows_may_change(kit: Kit, name: str) -> None:
    await create(kit, name)
    await run(kit, name, by_table(lambda table: table.tumbling(60)), 1)
    await run(kit, name, by_table(lambda table: table.tumbling(60, expires=600)), 2)
    await run(kit, name, by_table(lambda table: table.tumbling(60, grace=5, expires=900)), 3)


async def test_S10_a_key_may_look_like_the_row_that_tells_the_windows(kit: Kit, name: str) -> None:
    def declare(app: fs.App, name: str) -> None:
        totals = app.Table("totals", default=int)

        numbers, out = topics(app, name)

        @app.agent(numbers, sink=[out])
        async def count(stream: fs.Stream[int]) -> AsyncIterator[int]:
            async for number in stream:
                totals["@windows"] += number
                yield totals["@windows"]

    await create(kit, name)
    await run(kit, name, declare, 1)
    await run(kit, name, declare, 2)
    assert await kit.values(f"{name}-out") == [b"1", b"2"]


@pytest.mark.parametrize("text", ["sessions", "windows of 60 ms that start every 60 ms"])
async def test_S11_no_value_looks_like_the_row_that_tells_the_windows(
    kit: Kit, name: str, text: str
) -> None:
    # Whoever could send a key had the app refuse its own table at the next start.
    async def run(expected: int) -> None:
        app = kit.app(name)
        last = app.Table("last", key_type=str, value_type=str)
        texts = app.topic(f"{name}-in", key_type=str, value_type=str, partitions=1)

        @app.agent(texts, sink=[app.topic(f"{name}-out", value_type=str)])
        async def keep(stream: fs.Stream[str]) -> AsyncIterator[str]:
            async for key, value in stream.items():
                last[key] = value
                yield last[key]

        await texts.send(key="@windows", value=text)
        await kit.run_until(app, kit.count(f"{name}-out", expected))

    await create(kit, name)
    await run(1)
    await run(2)
