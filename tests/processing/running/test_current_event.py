"""`fs.current_event()` is the event that the agent's stream gives, whatever the agent reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import flowstream as fs


class Seen:
    """An app of two topics, and what its agent and a function that it calls see."""

    def __init__(self) -> None:
        self.app = fs.App("seen")
        self.left, self.right = (
            self.app.topic(name, key_type=str, value_type=int, partitions=1)
            for name in ("left", "right")
        )
        self.pairs: list[tuple[fs.Event[Any], fs.Event[Any] | None]] = []

    def reader(
        self, shape: Callable[[fs.Stream[Any]], fs.Stream[Any]] = lambda stream: stream
    ) -> Callable[[fs.Stream[Any]], Any]:
        async def read(stream: fs.Stream[Any]) -> None:
            async for event in shape(stream).events():
                self.pairs.append((event, fs.current_event()))

        return read

    def run(self) -> None:
        with self.app.test_context() as context:
            for number, at in enumerate((1, 2, 100, 300)):
                for topic in (self.right, self.left):
                    context.topic(topic).send(number, key="k", timestamp=1e9 + at)
            context.advance(60)
        assert self.pairs


def timers(seen: Seen) -> None:
    due = seen.app.Timers("due", key_type=str, value_type=int, time="processing")

    @seen.app.agent(seen.left)
    async def fill(stream: fs.Stream[int]) -> None:
        async for key, value in stream.items():
            due.set(key, value, after=5)

    seen.app.agent(due)(seen.reader())


def changes(seen: Seen) -> None:
    seen.app.agent(seen.app.table(seen.left).changes)(seen.reader())


def closed(seen: Seen) -> None:
    table = seen.app.Table("t", key_type=str, value_type=int, default=int).tumbling(10, grace=0)

    @seen.app.agent(seen.left)
    async def fill(stream: fs.Stream[int]) -> None:
        async for key, value in stream.items():
            table[key] += value

    seen.app.agent(table.closed)(seen.reader())


def windows(seen: Seen) -> None:
    seen.app.agent(seen.left)(seen.reader(lambda stream: stream.tumbling(10).sum()))


def as_of(seen: Seen) -> None:
    table = seen.app.table(seen.right, history=1000)
    seen.app.agent(seen.left)(seen.reader(lambda stream: stream.join(table, as_of=True)))


def tables(seen: Seen) -> None:
    left, right = seen.app.table(seen.left), seen.app.table(seen.right)
    seen.app.agent(seen.app.join(left, right))(seen.reader())


def foreign(seen: Seen) -> None:
    left, right = seen.app.table(seen.left), seen.app.table(seen.right)
    seen.app.agent(seen.app.join(left, right, on=lambda _: "k"))(seen.reader())


@pytest.mark.parametrize(
    "declare",
    [timers, changes, closed, windows, as_of, tables, foreign],
    ids=lambda it: it.__name__,
)
def test_S7_it_is_what_the_stream_gives(declare: Callable[[Seen], None]) -> None:
    seen = Seen()
    declare(seen)
    seen.run()
    for event, current in seen.pairs:
        assert current is not None
        assert current == event
        assert type(current.key) is str


def test_S7_a_parked_event_is_the_same_when_it_is_tried_again() -> None:
    seen = Seen()
    tries: list[tuple[Any, ...]] = []

    @seen.app.agent(seen.left, on_error="park")
    async def fail(stream: fs.Stream[int]) -> None:
        async for event in stream.events():
            seen.pairs.append((event, fs.current_event()))
            tries.append((event.key, event.value))
            if tries.count(("k", 0)) < 3 and event.value == 0:
                raise ValueError("not yet")

    seen.run()
    assert tries == [("k", 0), ("k", 0), ("k", 0), ("k", 1), ("k", 2), ("k", 3)]
    assert all(current == event for event, current in seen.pairs)


def test_S7_what_makes_a_new_key_sees_the_event_that_it_is_made_of() -> None:
    seen = Seen()
    told: list[tuple[Any, ...]] = []

    def by(value: int) -> str:
        event = fs.current_event()
        assert event is not None
        told.append((event.topic, event.key, event.value))
        return f"{event.key}{value}"

    seen.app.agent(seen.left)(seen.reader(lambda stream: stream.group_by(by, key_type=str)))
    seen.run()
    assert told == [("left", "k", number) for number in range(4)]
    assert [event.key for event, _ in seen.pairs] == ["k0", "k1", "k2", "k3"]
    assert all(current == event for event, current in seen.pairs)
