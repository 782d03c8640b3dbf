"""Dead letters that are sent back: the agent that had failed gets them, and nobody else does."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import flowstream as fs
from flowstream.processing.events.redriven import ADDRESS, address
from flowstream.testing import AppContext, Input, assert_exactly_once
from flowstream.testing.lives import STEPS
from flowstream.transport.admin import Admin
from flowstream.transport.types import NewTopic

Header = tuple[str, bytes | None]


class Everyone:
    """Agents of every kind on one topic, each with a topic that tells what it has had."""

    def __init__(self, path: Path) -> None:
        app = self.app = fs.App("everyone")
        words = self.words = self.topic("words")
        self.bad: set[tuple[str, str]] = set()
        """Who fails on what."""
        counts = self.counts = app.Table("counts", default=int, partitions=1)

        @app.agent(words, sink=[self.topic("plain-out")], on_error="dead_letter")
        async def plain(stream: fs.Stream[str]) -> AsyncIterator[str]:
            async for word in stream:
                self.check("plain", word)
                counts[word] += 1
                yield word

        @app.agent(words, sink=[self.topic("lists-out")], on_error="dead_letter")
        async def lists(stream: fs.Stream[str]) -> AsyncIterator[str]:
            async for batch in stream.take(3, within=5):
                for word in batch:
                    self.check("lists", word)
                    yield word

        @app.agent(words, sink=[self.topic("keyed-out")], on_error="dead_letter")
        async def keyed(stream: fs.Stream[str]) -> AsyncIterator[str]:
            async for word in stream.group_by(lambda word: word[-1], name="last", key_type=str):
                self.check("keyed", word)
                yield word

        @app.agent(words, sink=[self.topic("joined-out")], on_error="dead_letter")
        async def joined(stream: fs.Stream[str]) -> AsyncIterator[str]:
            async for pair in stream.join(self.topic("right"), within=1_000, grace=1_000):
                self.check("joined", pair.left)
                yield pair.left

        @app.agent(words, sink=[self.topic("parked-out")], on_error=fs.park(1, then="dead_letter"))
        async def parked(stream: fs.Stream[str]) -> AsyncIterator[str]:
            async for word in stream:
                self.check("parked", word)
                yield word

        @app.agent(words, sink=[app.topic("windows-out", value_type=int, partitions=1)])
        async def windows(stream: fs.Stream[str]) -> AsyncIterator[int]:
            async for result in stream.tumbling(10_000).count():
                yield result.value

        @app.outbox(words, to=fs.SQLite(path), on_error="dead_letter")
        def kept(db: Any, events: list[fs.Event[str]]) -> None:
            db.execute("CREATE TABLE IF NOT EXISTS words (word TEXT, headers INTEGER)")
            for event in events:
                self.check("kept", event.value)
                db.execute("INSERT INTO words VALUES (?, ?)", (event.value, len(event.headers)))

        self.kept = kept

    def topic(self, name: str) -> fs.Topic[str, str]:
        """One of texts."""
        return self.app.topic(name, key_type=str, value_type=str, partitions=1)

    def check(self, agent: str, word: str) -> None:
        """Fail, where it is to."""
        if (agent, word) in self.bad:
            raise ValueError(f"{agent} cannot do {word}")


FAILING = ("plain", "lists", "keyed", "joined", "parked", "kept")


@pytest.mark.parametrize("seed", range(6))
def test_S9_S11_each_agent_has_each_event_once_however_many_had_failed_on_it(
    seed: int, tmp_path: Path
) -> None:
    rng = random.Random(seed)
    everyone = Everyone(tmp_path / "words.db")
    words = [f"{number}{rng.choice('ab')}" for number in range(12)]
    everyone.bad = {(who, word) for who in FAILING for word in words if rng.random() < 0.3}
    with everyone.app.test_context() as context:
        context.topic("right").send("r", key="k", timestamp=500.0)
        for at, word in enumerate(words):
            settle = rng.random() < 0.5
            context.topic("words").send(
                word, key="k", timestamp=100.0 + at, headers={"h": b"1"}, settle=settle
            )
        context.advance(60)
        everyone.bad.clear()
        assert context.dead_letters
        while context.dead_letters.redrive():
            if rng.random() < 0.5:
                context.crash_at(rng.choice(STEPS), times=rng.randint(1, 3))
            context.advance(60)
        context.topic("words").send("end", key="k", timestamp=30_000.0)
        context.advance(60)

        once = Counter([*words])
        for who in ("plain", "lists", "keyed", "parked", "joined"):
            assert Counter(context.topic(f"{who}-out").values) - Counter(["end"]) == once, who
        assert context.topic("windows-out").values == [len(words)]
        assert dict(context.table(everyone.counts)) == {**once, "end": 1}
        rows = context.database(everyone.kept).execute("SELECT word, headers FROM words").fetchall()
        assert Counter(word for word, _ in rows) == once + Counter(["end"])
        # What they get is what it was: no copy that they make of its headers is addressed.
        assert {headers for word, headers in rows if word != "end"} == {1}


def two_on_a_topic() -> tuple[fs.App, list[Input | float]]:
    """An app whose topic holds what was sent back to one agent, and to another app."""
    app = fs.App("two")
    words = app.topic("words", key_type=str, value_type=str, partitions=1)
    out = app.topic("out", key_type=str, value_type=str, partitions=1)
    counts = app.Table("counts", default=int)

    @app.agent(words, sink=[out])
    async def first(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for word in stream:
            counts[f"first {word}"] += 1
            yield f"first {word}"

    @app.agent(words, on_error="dead_letter")
    async def second(stream: fs.Stream[str]) -> None:
        async for batch in stream.take_events(2, within=1):
            for event in batch:
                counts[f"second {event.value}"] += 1
                await out.send(key=event.key, value="second " + event.value, headers=event.headers)

    to_whom: list[list[Header]] = [
        [], [address("two", "first", "words")], [], [address("two", "second", "words")],
        [address("other", "first", "words")], [address("two", "nobody", "words")], [],
    ]  # fmt: skip
    inputs: list[Input | float] = [
        Input(words, f"{number}", key="k", timestamp=number, headers=headers)
        for number, headers in enumerate(to_whom)
    ]
    return app, [*inputs, 5.0]


def test_S9_killed_everywhere_what_was_sent_back_is_done_once() -> None:
    app, inputs = two_on_a_topic()
    report = assert_exactly_once(app, inputs)
    assert report.crashes > len(inputs)


def put(context: AppContext, inputs: list[Input | float]) -> None:
    """Put these in."""
    for each in inputs:
        if isinstance(each, Input):
            each.put(context, settle=False)
        else:
            context.advance(each)


def test_S11_what_is_for_an_agent_that_is_not_there_is_a_dead_letter_again() -> None:
    app, inputs = two_on_a_topic()
    app.agents["second"].policy = app.agents["first"].policy
    with app.test_context(workers=0) as context:
        # No agent makes dead letters now, so that their topic is known by being there.
        topic = NewTopic(app.dead_letters, 1)
        context.run(Admin(context.cluster).create_topics([topic]))
        context.start()
        put(context, inputs)
        assert sorted(context.topic("out").values) == [
            "first 0", "first 1", "first 2", "first 6",
            "second 0", "second 2", "second 3", "second 6",
        ]  # fmt: skip
        (lost,) = context.dead_letters
        assert (lost.value, lost.agent, lost.error) == (b"5", "nobody", "AgentUnknown")
        assert "--to nobody=NAME" in lost.cause


def test_an_outbox_alone_on_its_topic_tells_of_what_is_for_nobody(tmp_path: Path) -> None:
    app = fs.App("alone")
    words = app.topic("words", key_type=str, value_type=str, partitions=1)

    @app.outbox(words, to=fs.SQLite(tmp_path / "words.db"), on_error="dead_letter")
    def kept(db: Any, events: list[fs.Event[str]]) -> None:
        db.execute("CREATE TABLE IF NOT EXISTS words (word TEXT)")
        db.executemany("INSERT INTO words VALUES (?)", [(event.value,) for event in events])

    with app.test_context() as context:
        context.topic(words).send("a", key="k")
        gone = [address("alone", "old", "words")]
        context.topic(words).send("b", key="k", headers=gone)
        context.crash()
        context.topic(words).send("c", key="k")
        rows = context.database(kept).execute("SELECT word FROM words ORDER BY word").fetchall()
        assert rows == [("a",), ("c",)]
        assert [(each.value, each.agent) for each in context.dead_letters] == [(b"b", "old")]


@pytest.mark.parametrize("order", [None, "key"])
def test_S7_lanes_pass_by_what_is_for_others(order: Any) -> None:
    app = fs.App("lanes")
    words = app.topic("words", key_type=str, value_type=str, partitions=1)
    out = app.topic("out", key_type=str, value_type=str, partitions=1)

    @app.agent(words, sink=[out], concurrency=3, order=order)
    async def work(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for word in stream:
            yield word

    def inputs() -> list[Input | float]:
        whose = ["", "work", "", "", "work", ""]
        own = [[address("lanes", agent, "words")] if agent else [] for agent in whose]
        other = [address("other", "work", "words")]
        found: list[Input | float] = []
        for number, headers in enumerate(own):
            found.append(Input(words, f"x{number}", key=f"{number % 2}", headers=other))
            found.append(Input(words, f"{number}", key=f"{number % 2}", headers=headers))
        return found

    assert_exactly_once(app, inputs(), compare=("key", "value"))
    with app.test_context() as context:
        put(context, [*inputs(), 1.0])
        assert sorted(context.topic(out).values) == [f"{number}" for number in range(6)]


def test_a_copy_in_another_topic_is_for_everyone() -> None:
    app, _ = two_on_a_topic()
    with app.test_context() as context:
        copied = [address("two", "first", "elsewhere")]
        context.topic("words").send("a", key="k", headers=copied)
        context.advance(2)
        assert sorted(context.topic("out").values) == ["first a", "second a"]
        # Nor is a header that is not the first.
        own: list[Header] = [("h", b"1"), address("two", "first", "words")]
        context.topic("words").send("b", key="k", headers=own)
        context.advance(2)
        assert sorted(context.topic("out").values)[1::2] == ["first b", "second b"]


def test_what_is_passed_by_says_nothing_of_time() -> None:
    app = fs.App("timed")
    words = app.topic("words", key_type=str, value_type=str, partitions=1)
    out = app.topic("out", key_type=str, value_type=int, partitions=1)

    @app.agent(words, sink=[out])
    async def count(stream: fs.Stream[str]) -> AsyncIterator[int]:
        async for result in stream.tumbling(10).count():
            yield result.value

    with app.test_context() as context:
        context.topic(words).send("a", key="k", timestamp=1.0)
        others = [address("other", "count", "words")]
        context.topic(words).send("b", key="k", timestamp=100.0, headers=others)
        context.topic(words).send("c", key="k", timestamp=2.0)
        assert context.topic(out).values == []
        own = [address("timed", "count", "words")]
        context.topic(words).send("d", key="k", timestamp=3.0, headers=own)
        context.topic(words).send("e", key="k", timestamp=100.0)
        assert context.topic(out).values == [3]


def test_a_letter_that_fails_again_is_one_again_and_can_be_sent_back_again() -> None:
    app = fs.App("again")
    words = app.topic("words", key_type=str, value_type=str, partitions=1)
    left = [2]

    @app.agent(words, on_error="dead_letter")
    async def work(stream: fs.Stream[str]) -> None:
        async for word in stream:
            if left[0]:
                left[0] -= 1
                raise ValueError(word)

    with app.test_context() as context:
        context.topic(words).send("a", key="k", headers={"h": b"1"})
        assert [context.dead_letters.redrive() for _ in range(3)] == [1, 1, 0]
        assert [letter.headers for letter in context.dead_letters] == [(("h", b"1"),)] * 2
        told = [dict(record.headers).get(ADDRESS) for record in context.topic(words)]
        assert told == [None, b"again/work/words", b"again/work/words"]


@pytest.mark.parametrize("on_error", ["skip", fs.retry(2, backoff=0.01, then="skip")])
def test_S11_a_letter_of_what_is_for_nobody_that_does_not_fit_is_no_event(
    on_error: Any,
) -> None:
    app = fs.App("tight")
    words = app.topic("words", key_type=str, value_type=str, partitions=1)
    out = app.topic("out", value_type=str, partitions=1)
    config = {"max.message.bytes": "2000"}
    app.topic(app.dead_letters, key_type=bytes, value_type=bytes, partitions=1, config=config)

    @app.agent(words, sink=[out], on_error=on_error)
    async def work(stream: fs.Stream[str]) -> AsyncIterator[str]:
        async for word in stream:
            yield f"saw {word}"

    with app.test_context() as context:
        gone = [address("tight", "nobody", "words")]
        context.topic(words).send("x" * 3_000, key="k", headers=gone)
        context.topic(words).send("y", key="k")
        context.advance(1)
        assert context.topic(out).values == ["saw y"]
        (letter,) = context.dead_letters
        assert letter.value is None
        (record,) = context.topic(app.dead_letters)
        told = dict(record.headers)["flowstream.left-out"]
        assert told == b"the traceback, the value (3000 bytes)"
