"""`take` behind other operators: whose list a value is in, and what goes with a list that fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

import flowstream as fs


def topics(app: fs.App, *names: str) -> list[fs.Topic[str, str]]:
    """Topics of texts, of one partition."""
    return [app.topic(name, key_type=str, value_type=str, partitions=1) for name in names]


@pytest.mark.parametrize("failures", [0, 1])
def test_S7_S9_pairs_of_a_join_stay_their_own_events_in_a_list(failures: int) -> None:
    app = fs.App("takes")
    left, right, out = topics(app, "left", "right", "out")
    left_to_fail = [failures]

    @app.agent(left, sink=[out], on_error="retry")
    async def pairs(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for batch in stream.join(right, within=10).items().take(2, within=5):
            if len(batch) == 2 and left_to_fail[0]:
                left_to_fail[0] -= 1
                raise RuntimeError("once")
            for key, pair in batch:
                yield f"{key}: {pair.left} {pair.right}"

    with app.test_context() as context:
        context.topic(left).send("La", key="a", timestamp=100.0)
        context.topic(left).send("Lb", key="b", timestamp=100.0)
        context.topic(right).send("Ra", key="a", timestamp=101.0, settle=False)
        context.topic(right).send("Rb", key="b", timestamp=102.0, settle=False)
        context.advance(60)
        assert [record.value for record in context.topic(out)] == ["a: La Ra", "b: Lb Rb"]
        assert left_to_fail == [0]


def test_S12_a_row_that_is_written_while_its_result_is_held_is_told_once() -> None:
    app = fs.App("takes")
    events, out = topics(app, "events", "out")

    @app.agent(events, sink=[out])
    async def tell(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for batch in stream.session(10).count().take(10, within=20):
            for result in batch:
                yield f"{result.key} {result.start:g} {result.value}"

    with app.test_context() as context:
        context.topic(events).send("1", key="a", timestamp=1000.0)
        context.topic(events).send("2", key="b", timestamp=2000.0)
        context.advance(2)
        context.topic(events).send("3", key="a", timestamp=2001.0)
        context.advance(2)
        context.topic(events).send("4", key="c", timestamp=2002.0)
        context.advance(100)
        assert [record.value for record in context.topic(out)] == ["a 1000 1"]


def test_S12_who_met_nobody_is_told_once_though_its_key_gets_more_events() -> None:
    app = fs.App("takes")
    left, right, out = topics(app, "left", "right", "out")

    @app.agent(left, sink=[out])
    async def tell(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for batch in stream.join(right, within=10, how="left").take(10, within=20):
            for pair in batch:
                yield f"{pair.left} {pair.right}"

    with app.test_context() as context:
        context.topic(left).send("L1", key="a", timestamp=1000.0)
        context.topic(right).send("R", key="z", timestamp=2000.0)
        context.topic(left).send("Lb", key="b", timestamp=2000.0)
        for number in range(2, 5):
            context.advance(2)
            context.topic(left).send(f"L{number}", key="a", timestamp=1999.0 + number)
        context.advance(100)
        assert [record.value for record in context.topic(out)] == ["L1 None"]


def test_S7_values_of_one_record_end_their_list_so_that_units_end() -> None:
    app = fs.App("takes")
    events, out = topics(app, "events", "out")

    @app.agent(events, sink=[out], on_error="skip")
    async def tell(stream: fs.Stream[str]) -> AsyncIterator[str]:
        each = stream.flat_map(lambda value: [f"{value}1", f"{value}2", f"{value}3"])
        async for batch in each.take(2, within=1):
            if "b1" in batch:
                raise RuntimeError
            yield "+".join(batch)

    with app.test_context() as context:
        for value in "abc":
            context.topic(events).send(value, key="k", settle=False)
        context.advance(30)
        told = [record.value for record in context.topic(out)]
        assert told == ["a1+a2", "a3", "c1+c2", "c3"]


def test_V1_lists_that_never_meet_the_end_of_a_record_do_not_hold_up_the_commits() -> None:
    app = fs.App("takes")
    events, out = topics(app, "events", "out")

    @app.agent(events, sink=[out])
    async def tell(stream: fs.Stream[str]) -> AsyncIterator[str]:
        each = stream.flat_map(lambda value: [value] if value == "0" else [value, f"{value}'"])
        async for batch in each.take(2, within=1000):
            yield "+".join(batch)

    with app.test_context() as context:
        for number in range(9):
            context.topic(events).send(str(number), key="k", settle=False)
        context.advance(5)
        told = [str(record.value) for record in context.topic(out)]
        assert told == ["0+1", "1'", "2+2'", "3+3'", "4+4'", "5+5'", "6+6'", "7+7'", "8+8'"]


def test_S11_what_a_filter_kept_from_a_list_is_not_passed_over_with_it() -> None:
    app = fs.App("takes")
    events, out = topics(app, "events", "out")

    @app.agent(events, sink=[out], on_error="dead_letter")
    async def tell(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for batch in stream.filter(lambda value: value != "b").take(3, within=1):
            if "c" in batch:
                raise RuntimeError
            yield "+".join(batch)

    with app.test_context() as context:
        for value in "abcdbef":
            context.topic(events).send(value, key="k", settle=False)
        context.advance(30)
        assert [letter.value for letter in context.dead_letters] == [b"a", b"c", b"d"]
        assert [record.value for record in context.topic(out)] == ["e+f"]


@pytest.mark.parametrize("concurrency", [1, 2])
def test_V1_an_app_whose_agent_parks_can_be_run_again(concurrency: int) -> None:
    app = fs.App("takes")
    (events,) = topics(app, "events")
    seen: list[Any] = []

    @app.agent(events, on_error="park", concurrency=concurrency)
    async def read(stream: fs.Stream[str]) -> None:
        async for value in stream:
            seen.append(value)

    with app.test_context() as context:
        context.topic(events).send("1", key="a")
        context.crash()
        context.topic(events).send("2", key="a")
        assert seen[-1] == "2"


def test_V1_a_lane_whose_body_ends_with_each_event_may_meet_conflicts() -> None:
    app = fs.App("takes")
    events = app.topic("events", key_type=str, value_type=float, partitions=1)
    counts = app.Table("counts", value_type=int, default=int)

    @app.agent(events, concurrency=2)
    async def count(stream: fs.Stream[float]) -> None:
        async for pause in stream:
            before = counts["all"]
            await asyncio.sleep(pause)
            counts["all"] = before + 1
            break

    with app.test_context() as context:
        for pause in (0.02, 0.01, 0.02, 0.01):
            context.topic(events).send(pause, key=str(pause), settle=False)
        context.advance(5)
        assert context.table(counts)["all"] == 4
