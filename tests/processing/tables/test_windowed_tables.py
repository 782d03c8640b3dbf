"""Windowed tables in an agent: what belongs to the event's windows, and what is refused."""

from __future__ import annotations

import datetime
import operator
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

import flowstream as fs
from flowstream.transport.types import NewTopic
from tests.processing.conftest import Kit

Windowed = Any
"""A WindowedTable, also used as its type forbids."""


async def answers(
    kit: Kit, name: str, use: Callable[[fs.App], Callable[[str], object]], *at: float
) -> list[str]:
    """What an agent's function makes of events at these times, one answer each."""
    app = kit.app(name)
    words = app.topic(f"{name}-in", key_type=str, value_type=str, partitions=1)
    out = app.topic(f"{name}-out", value_type=str, partitions=1)
    answer = use(app)

    @app.agent(words, sink=[out])
    async def ask(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for value in stream:
            yield str(answer(value))

    await kit.admin.create_topics([NewTopic(words.name, 1), NewTopic(out.name, 1)])
    for number, seconds in enumerate(at):
        await words.send(key="k", value=str(number), timestamp=seconds)
    await kit.run_until(app, kit.count(out.name, len(at)))
    return [(value or b"").decode() for value in await kit.values(out.name)]


def message(act: Callable[[], object]) -> str:
    """The error that something raises."""
    with pytest.raises(Exception) as caught:
        act()
    return f"{type(caught.value).__name__}: {caught.value}"


async def test_in_and_iteration_are_of_the_windows_that_hold_the_event(kit: Kit, name: str) -> None:
    def use(app: fs.App) -> Callable[[str], object]:
        table: Windowed = app.Table("seen", key_type=int, default=int).hopping(10, 5, expires=100)

        def answer(value: str) -> object:
            if value in "01":
                table[int(value)] += 1
            return sorted(table), [key in table for key in (0, 1, 2, "0")], len([*table.items()])

        return answer

    assert await answers(kit, name, use, 100.0, 106.0, 111.0, 130.0) == [
        "([0], [True, False, False, False], 2)",
        "([0, 1], [True, True, False, False], 4)",
        "([1], [False, True, False, False], 4)",
        "([], [False, False, False, False], 4)",
    ]


async def test_windows_of_another_key_or_table_are_no_value(kit: Kit, name: str) -> None:
    def use(app: fs.App) -> Callable[[str], object]:
        one: Windowed = app.Table("one", default=int).tumbling(60)
        other: Windowed = app.Table("other", default=int).tumbling(60)

        def answer(value: str) -> object:
            del value
            one["a"] = 5
            one["a"] += 1
            one["a"] = one["a"]
            told = [
                message(lambda: one.__setitem__("b", one["a"])),
                message(lambda: one.__setitem__("a", other["a"])),
            ]
            one["b"] = one["a"].current()
            return [one["a"].current(), one["b"].current()], told

        return answer

    (told,) = await answers(kit, name, use, 1.0)
    assert told.startswith("([6, 6], ")
    assert told.count("TypeError: table 'one': WindowSet(") == 2


async def test_the_table_below_windows_is_not_used_by_itself(kit: Kit, name: str) -> None:
    uses: list[Callable[[Windowed], object]] = [
        lambda base: base["k"],
        lambda base: base.__setitem__("k", 1),
        lambda base: base.__delitem__("k"),
        lambda base: base.get("k"),
        lambda base: base.setdefault("k", 1),
        lambda base: base.pop("k", None),
        lambda base: base.update(k=1),
        lambda base: base.clear(),
        lambda base: "k" in base,
        list,
        len,
    ]

    def use(app: fs.App) -> Callable[[str], object]:
        base: Windowed = app.Table("seen", default=int)
        windowed: Windowed = base.tumbling(60, expires=60)

        def answer(value: str) -> object:
            del value
            windowed["k"] += 1
            told = {message(lambda act=act: act(base)) for act in uses}  # type: ignore[misc]
            return told, windowed["k"].current()

        return answer

    (told,) = await answers(kit, name, use, 1.0)
    assert told.startswith("({\"AppError: table 'seen' has windows: use what tumbling()")
    assert told.endswith('"}, 1)')


def test_every_operator_changes_each_window_that_holds_the_event() -> None:
    app = fs.App("operators")
    topic = app.topic("in", value_type=int, partitions=1)
    table: Windowed = app.Table("t", default=lambda: 13).hopping(10, 5)
    seen: dict[str, Any] = {}

    @app.agent(topic)
    async def change(stream: fs.Stream[int]) -> None:
        async for n in stream:
            table["+"] += n
            table["-"] -= n
            table["*"] *= n
            table["/"] /= n
            table["//"] //= n
            table["%"] %= n
            table["**"] **= n
            table["<<"] <<= n
            table[">>"] >>= n
            table["&"] &= n
            table["^"] ^= n
            table["|"] |= n
            assert table["f"].apply(operator.sub, 3).apply(lambda value: -value) is not None
            for key in ("+", "-", "*", "/", "//", "%", "**", "<<", ">>", "&", "^", "|", "f"):
                values = [value for _, value in table[key].windows()]
                assert values == [values[0]] * 2
                seen[key] = values[0]

    with app.test_context() as context:
        context.topic(topic).send(4, timestamp=7.0)
    assert seen == {
        "+": 17, "-": 9, "*": 52, "/": 3.25, "//": 3, "%": 1, "**": 28_561, "<<": 208, ">>": 0,
        "&": 4, "^": 9, "|": 13, "f": -10,
    }  # fmt: skip


def test_the_windows_of_a_key_are_no_value() -> None:
    app = fs.App("no-value")
    topic = app.topic("in", value_type=int, partitions=1)
    table: Any = app.Table("t", default=int).tumbling(10)
    uses: tuple[Callable[[Any], Any], ...] = (
        lambda w: w + 1, lambda w: 1 + w, lambda w: 2 * w, lambda w: w / 2, lambda w: w > 1,
        lambda w: w >= 1, lambda w: w == 1, lambda w: w != 1, bool, int, float, len, list, abs,
        lambda w: -w, lambda w: w["field"], lambda w: 1 in w, lambda w: max(w, 2), sum,
    )  # fmt: skip
    refused = []

    @app.agent(topic)
    async def use(stream: fs.Stream[int]) -> None:
        async for _ in stream:
            for each in uses:
                with pytest.raises(
                    TypeError, match=r"WindowSet\('t', 'a'\) is all windows of a key"
                ):
                    each(table["a"])
                refused.append(each)
            one = table["a"]
            assert one == one
            assert one != table["a"]
            assert f"{one}" == "WindowSet('t', 'a')"
            assert len({one, table["b"]}) == 2

    with app.test_context() as context:
        context.topic(topic).send(1, timestamp=7.0)
    assert len(refused) == len(uses)


def test_windows_are_read_at_another_events_time() -> None:
    app = fs.App("events")
    topic = app.topic("in", value_type=int, partitions=1)
    table: Windowed = app.Table("t", default=int).tumbling(10)
    events: list[fs.Event[int]] = []
    seen: list[tuple[int, ...]] = []

    @app.agent(topic)
    async def change(stream: fs.Stream[int]) -> None:
        async for event in stream.events():
            table["k"] += event.value
            events.append(event)
            first, of = events[0], table["k"]
            naive = datetime.datetime(1970, 1, 1, 0, 0, 35)
            seen.append((
                of.current(), of.current(first), of.value(), of.value(first), of.value(35.0),
                of.value(naive), of.delta(10), of.delta(10, first),
            ))  # fmt: skip

    with app.test_context() as context:
        for second in (35.0, 55.0, 45.0):
            context.topic(topic).send(round(second), timestamp=second)
    assert seen == [
        (35, 35, 35, 35, 35, 35, 0, 0),
        (55, 35, 55, 35, 35, 35, 0, 0),
        (45, 35, 45, 35, 35, 35, 35, 0),
    ]
