"""Tables drawn for a terminal (`as_ansitable`, as in Faust), from wherever a worker's code runs."""

from __future__ import annotations

import io
from typing import Any

import pytest

import flowstream as fs
from flowstream.processing.tables.drawing import drawn
from tests.processing.conftest import Kit


class Terminal(io.StringIO):
    """What a person looks at."""

    def isatty(self) -> bool:
        return True


def test_plain_borders_for_what_is_no_terminal() -> None:
    assert drawn("$$ tally $$", ("word", "count"), [("the", 3), ("[b]", {})], ascii_only=True) == (
        "  $$ Tally $$\n"
        "+--------------+\n"
        "| Word | Count |\n"
        "|------+-------|\n"
        "| the  | 3     |\n"
        "| [b]  | {}    |\n"
        "+--------------+"
    )


def test_lines_are_as_long_as_they_must_be() -> None:
    long = "x" * 500
    assert long in drawn("t", ("key", "value"), [(long, long)], ascii_only=False)
    assert drawn("a title that is longer", ("k", "v"), [], ascii_only=False).splitlines() == [
        "A Title That Is Longer", "┌───┬───┐", "│ K │ V │", "├───┼───┤", "└───┴───┘",
    ]  # fmt: skip


async def test_an_agent_draws_its_partition_and_a_task_all_that_is_committed_here(
    kit: Kit, name: str
) -> None:
    app = kit.app(name)
    words = app.topic(f"{name}-words", key_type=str, value_type=str, partitions=4)
    counts = app.Table("counts", default=int)
    seen: list[tuple[str, str]] = []
    rebalanced: list[str] = []
    drawings: list[str] = []

    @app.agent(words)
    async def count(stream: fs.Stream[str]) -> None:
        async for word in stream:
            counts[word] += 1
            seen.append((word, counts.as_ansitable("{table.name}!", key="word", value="n")))

    # With its changes read the table has rows of our own, which are nobody's keys.
    @app.agent(counts.changes)
    async def changed(stream: fs.Stream[Any]) -> None:
        async for _ in stream:
            pass

    @app.timer(0.02)
    async def draw() -> None:
        drawings.append(counts.as_ansitable(sort=True, target=Terminal()))

    @app.on_rebalance_complete.connect
    async def on_rebalance_complete(sender: fs.App, **kwargs: Any) -> None:
        rebalanced.append(counts.as_ansitable(sort=True, sortkey=lambda row: -row[1]))

    rows = ["│ a   │ 2     │", "│ b   │ 1     │", "│ c   │ 1     │"]
    await words.declare()
    for life in range(2):
        before = len(rebalanced)
        async with kit.running(app):
            if life == 0:
                for word in "baca":
                    await words.send(key=word, value=word)
            await kit.sees(lambda: bool(drawings) and drawings[-1].splitlines()[4:-1] == rows)
            # The signal comes behind the start of the last task, which the timer sees at once.
            await kit.sees(lambda before=before: len(rebalanced) > before)
        drawings.clear()
    heads = {tuple(text.splitlines()[:3]) for _, text in seen}
    assert heads == {("  Counts!", "+----------+", "| Word | N |")}
    assert all(f"| {word}    | " in text for word, text in seen)
    assert {len(text.splitlines()[4:-1]) for _, text in seen} <= {1, 2}
    assert rebalanced[0].splitlines()[4:-1] == []
    assert rebalanced[-1].splitlines()[4:-1][0] == "| a   | 2     |"


async def test_sets_and_windows_are_drawn_too(kit: Kit, name: str) -> None:
    app = kit.app(name)
    words = app.topic(f"{name}-words", key_type=str, value_type=str, partitions=1)
    sets = app.SetTable("sets", partitions=1)
    windowed = app.Table("windowed", default=int).tumbling(10, grace=1)
    drawings: list[list[str]] = []

    @app.agent(words)
    async def keep(stream: fs.Stream[str]) -> None:
        async for word in stream:
            sets["words"].add(word)
            windowed[word] += 1

    @app.agent(windowed.closed)
    async def closed(stream: fs.Stream[Any]) -> None:
        async for _ in stream:
            pass

    @app.timer(0.02)
    async def draw() -> None:
        drawings.append(
            [*sets.as_ansitable().splitlines()[4:-1], *windowed.as_ansitable().splitlines()[2:-1]]
        )

    await words.declare()
    async with kit.running(app):
        await words.send(key="w", value="w", timestamp=20.0)
        await kit.sees(
            lambda: (
                drawings[-1:]
                == [
                    [
                        "| words | {'w'} |",
                        "| Key | Window                    | Value |",
                        "|-----+---------------------------+-------|",
                        "| w   | 1970-01-01T00:00:20+00:00 | 1     |",
                    ]
                ]
            )
        )


def test_elsewhere_nobody_knows_which_rows() -> None:
    table = fs.App("shop").Table("counts", default=int)
    with pytest.raises(fs.NotInAgent, match="are seen inside an agent, and by the tasks, timers"):
        table.as_ansitable()
